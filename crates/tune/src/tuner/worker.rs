//! A worker process: its request loop, and the handle that the parent process holds.

use std::io::{self, BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};

use super::job::{Job, Machine, Phase, Reply, Request};
use super::runner::Runner;

/// Answers the requests of `lines` on `output`, one JSON value a line, until they end.
///
/// # Errors
/// A line that is not a request, or a parent process that has ended.
pub fn serve(
    lines: impl Iterator<Item = io::Result<String>>,
    mut output: impl Write,
) -> Result<()> {
    let mut runner: Option<Runner> = None;
    for line in lines {
        let request: Request = serde_json::from_str(&line?).context("not a request to a worker")?;
        let mut gone = None;
        let mut phase = |at: Phase| {
            gone = gone.take().or(send(&mut output, &Reply::Phase(at)).err());
        };
        let reply = answer(&mut runner, request, &mut phase);
        if let Some(error) = gone {
            return Err(error);
        }
        let reply = reply.unwrap_or_else(|e| Reply::Failed(format!("{e:#}")));
        send(&mut output, &reply)?;
    }
    Ok(())
}

fn send(output: &mut impl Write, reply: &Reply) -> Result<()> {
    let mut line = serde_json::to_string(reply)?;
    line.push('\n');
    output.write_all(line.as_bytes())?;
    Ok(output.flush()?)
}

fn answer(
    runner: &mut Option<Runner>,
    request: Request,
    phase: &mut dyn FnMut(Phase),
) -> Result<Reply> {
    if let Request::Open(job) = request {
        let opened = Runner::open(*job)?;
        let machine = opened.machine()?;
        *runner = Some(opened);
        return Ok(Reply::Opened(machine));
    }
    let runner = runner
        .as_mut()
        .ok_or_else(|| anyhow!("the worker has no job yet"))?;
    match request {
        Request::Open(_) => Err(anyhow!("the worker has a job already")),
        Request::Try {
            values,
            size,
            incumbent,
            watch,
        } => {
            let outcome = runner.attempt(&values, size, incumbent.as_ref(), watch, phase)?;
            Ok(Reply::Tried(Box::new(outcome)))
        }
        Request::Compare {
            values,
            against,
            size,
        } => runner.compare(&values, &against, size),
        Request::Peak => runner.peak(),
    }
}

/// How to start a worker: a program that calls [`serve`] on its standard input and output.
#[derive(Debug, Clone)]
pub struct WorkerCommand {
    /// The program to start.
    pub program: PathBuf,
    /// The arguments that make it call [`serve`].
    pub arguments: Vec<String>,
}

/// Why a worker did not answer.
#[derive(Debug)]
pub enum Lost {
    /// No answer came within the limit; the process was killed.
    TimedOut(Phase),
    /// The process ended by itself.
    Died(Phase, String),
    /// The worker answered that the request is invalid.
    Failed(String),
}

impl Lost {
    /// What happened, in a few words.
    pub fn describe(&self) -> String {
        let doing = |phase: &Phase| match phase {
            Phase::Prepare => "the references were computed",
            Phase::Compile => "it was compiled",
            Phase::Check => "it was checked",
            Phase::Time => "it was timed",
            Phase::Watch => "it ran on an emulated GPU",
        };
        match self {
            Lost::TimedOut(at) => format!("no answer within the time limit while {}", doing(at)),
            Lost::Died(at, how) => format!("the worker ended while {} ({how})", doing(at)),
            Lost::Failed(message) => message.clone(),
        }
    }
}

/// How a worker ended, what it said last, and what a user can do.
fn death(status: &str, said: &str) -> String {
    let said: String = said.chars().take(300).collect();
    let said = match said.is_empty() {
        true => String::new(),
        false => format!(", its last words: {said}"),
    };
    let advice = match status {
        s if s.contains("101") => "a defect in wgrad; please report it with the kernel",
        s if s.contains("signal: 9") => {
            "something killed it, perhaps for want of memory; try smaller sizes"
        }
        s if s.contains("signal") => {
            "the driver crashed; try --checked, another --adapter, or leave out the values it dies of"
        }
        _ => "run it again; if it ends again, report it with the kernel",
    };
    format!("{status}{said}; {advice}")
}

/// The time limit for filling buffers and computing references.
const PREPARING: Duration = Duration::from_secs(120);

/// A worker process. Dropping this kills it.
pub struct Worker {
    child: Child,
    input: Option<ChildStdin>,
    lines: Receiver<String>,
    /// Gives the last line of its standard error once it has ended.
    said: Option<JoinHandle<String>>,
}

impl Worker {
    /// Starts a worker and opens `job` in it.
    pub fn start(command: &WorkerCommand, job: &Job, limit: Duration) -> Result<(Worker, Machine)> {
        let mut child = Command::new(&command.program)
            .args(&command.arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("{} cannot be started", command.program.display()))?;
        let output = child
            .stdout
            .take()
            .ok_or_else(|| anyhow!("a worker without an output"))?;
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        let said = child.stderr.take().map(|stderr| {
            std::thread::spawn(move || {
                let lines = BufReader::new(stderr).lines().map_while(Result::ok);
                let full = |line: &String| !line.trim().is_empty();
                lines.filter(full).last().unwrap_or_default()
            })
        });
        let input = child.stdin.take();
        let mut worker = Worker {
            child,
            input,
            lines,
            said,
        };
        match worker.ask(&Request::Open(Box::new(job.clone())), limit) {
            Ok(Reply::Opened(machine)) => Ok((worker, machine)),
            Ok(_) => Err(anyhow!("the worker gave an answer of another kind")),
            Err(Lost::Failed(message)) => Err(anyhow!(message)),
            Err(Lost::Died(_, how)) => Err(anyhow!(
                "the worker ended while it opened the device ({how})"
            )),
            Err(Lost::TimedOut(_)) => Err(anyhow!(
                "the device could not be opened within {} s",
                limit.as_secs()
            )),
        }
    }

    /// Sends `request` and waits for its answer, `limit` at most.
    pub fn ask(&mut self, request: &Request, limit: Duration) -> Result<Reply, Lost> {
        let mut phase = Phase::Compile;
        let sent = serde_json::to_string(request)
            .map_err(anyhow::Error::from)
            .and_then(|mut line| {
                line.push('\n');
                let input = self.input.as_mut().ok_or_else(|| anyhow!("closed"))?;
                input.write_all(line.as_bytes())?;
                Ok(input.flush()?)
            });
        if sent.is_err() {
            return Err(self.died(phase));
        }
        let mut end = Instant::now() + limit;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok(line) => match serde_json::from_str(&line) {
                    Ok(Reply::Phase(next)) => {
                        // Time to prepare data for all candidates does not count against this one. Nor does the emulator's time,
                        // which has its own limit.
                        if matches!(next, Phase::Prepare | Phase::Watch) {
                            end = Instant::now() + PREPARING;
                        } else if phase == Phase::Prepare {
                            end = Instant::now() + limit;
                        }
                        phase = next;
                    }
                    Ok(Reply::Failed(message)) => return Err(Lost::Failed(message)),
                    Ok(reply) => return Ok(reply),
                    // A driver that prints to the standard output.
                    Err(_) => {}
                },
                Err(RecvTimeoutError::Timeout) => {
                    let _ = self.child.kill();
                    return Err(Lost::TimedOut(phase));
                }
                Err(RecvTimeoutError::Disconnected) => return Err(self.died(phase)),
            }
        }
    }

    fn died(&mut self, phase: Phase) -> Lost {
        let _ = self.child.kill();
        let how = match self.child.wait() {
            Ok(status) => {
                let said = self.said.take().and_then(|said| said.join().ok());
                death(&status.to_string(), &said.unwrap_or_default())
            }
            Err(error) => error.to_string(),
        };
        Lost::Died(phase, how)
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[cfg(unix)]
#[cfg(test)]
mod tests {
    use super::*;
    use crate::tuner::builtin;
    use crate::tuner::expr::Scope;

    /// A worker whose driver does `what` while the candidate is checked.
    fn ask(what: &str) -> Lost {
        let machine = "{\"adapter\":\"\",\"driver\":\"\",\"backend\":\"\",\"device_type\":\"\",\"bytes\":[],\"flops\":[]}";
        let script = format!(
            "read line; echo '{{\"Opened\":{machine}}}'; read line; echo noise; echo '{{\"Phase\":\"Check\"}}'; {what}"
        );
        let command = WorkerCommand {
            program: "sh".into(),
            arguments: vec!["-c".into(), script],
        };
        let job = builtin::job("softmax").unwrap();
        let (mut worker, _) = Worker::start(&command, &job, Duration::from_secs(20)).unwrap();
        let request = Request::Try {
            values: Scope::new(),
            size: 0,
            incumbent: None,
            watch: false,
        };
        worker
            .ask(&request, Duration::from_millis(700))
            .unwrap_err()
    }

    #[test]
    fn a_dead_a_hanging_and_a_refusing_worker_give_different_errors() {
        let died = ask("kill -SEGV $$");
        assert!(
            matches!(&died, Lost::Died(Phase::Check, how) if how.contains("11")),
            "{died:?}"
        );
        let line = died.describe();
        assert!(
            line.contains("while it was checked") && line.contains("--checked"),
            "{line}"
        );
        let line = ask("echo 'error: a slice' >&2; exit 101").describe();
        assert!(
            line.contains("a slice") && line.contains("a defect in wgrad"),
            "{line}"
        );
        let line = ask("kill -KILL $$").describe();
        assert!(line.contains("want of memory"), "{line}");
        let hung = ask("exec sleep 60");
        assert!(matches!(hung, Lost::TimedOut(Phase::Check)), "{hung:?}");
        let failed = ask("echo '{\"Failed\":\"no such buffer\"}'; read line");
        assert!(
            matches!(&failed, Lost::Failed(message) if message == "no such buffer"),
            "{failed:?}"
        );
    }

    #[test]
    fn the_worker_loop_answers_each_request() {
        let mut output = Vec::new();
        serve("\"Peak\"\n".as_bytes().lines(), &mut output).unwrap();
        let text = String::from_utf8(output).unwrap();
        assert_eq!(text, "{\"Failed\":\"the worker has no job yet\"}\n");
        let error = serve("nonsense\n".as_bytes().lines(), Vec::new()).unwrap_err();
        assert!(error.to_string().contains("not a request"));
    }
}
