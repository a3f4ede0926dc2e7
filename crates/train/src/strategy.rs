//! When something happens in a run: numbers of steps, and the strategies that `transformers` names.

use std::fmt;
use std::str::FromStr;

use anyhow::{Result, bail};

/// A number of optimizer steps, or a share of all steps of the run. As in `transformers`, a number below 1 is a share.
///
/// ```
/// use wgrad_train::Steps;
///
/// assert_eq!("500".parse::<Steps>()?, Steps::Count(500));
/// assert_eq!("0.1".parse::<Steps>()?.of(25), 3);
/// # anyhow::Ok(())
/// ```
#[derive(Clone, Copy, PartialEq)]
pub enum Steps {
    /// So many steps.
    Count(u64),
    /// A share of all steps, above 0 and below 1; the number of steps is rounded up.
    Share(f64),
}

impl Steps {
    /// The number of steps in a run of `total`.
    pub fn of(self, total: u64) -> u64 {
        match self {
            Steps::Count(steps) => steps,
            Steps::Share(share) => (total as f64 * share).ceil() as u64,
        }
    }

    /// Whether it is 0.
    pub fn is_zero(self) -> bool {
        self == Steps::Count(0)
    }
}

impl From<u64> for Steps {
    fn from(steps: u64) -> Self {
        Steps::Count(steps)
    }
}

impl FromStr for Steps {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        if let Ok(steps) = text.parse() {
            return Ok(Steps::Count(steps));
        }
        match text.parse::<f64>() {
            Ok(value) if value > 0.0 && value < 1.0 => Ok(Steps::Share(value)),
            // 500.0 and 1e3 are whole numbers too.
            Ok(value) if value >= 0.0 && value.fract() == 0.0 && value < 9e15 => {
                Ok(Steps::Count(value as u64))
            }
            _ => bail!(
                "`{text}` is no number of steps; give a whole number, or a share of all steps below 1"
            ),
        }
    }
}

impl fmt::Display for Steps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Steps::Count(steps) => steps.fmt(f),
            Steps::Share(share) => share.fmt(f),
        }
    }
}

/// As on the command line, for reports of all arguments.
impl fmt::Debug for Steps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// When a run evaluates, saves or logs; named as in `transformers`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Strategy {
    /// `no`
    Never,
    /// `steps`
    Steps,
    /// `epoch`
    Epoch,
    /// `best`: when an evaluation is better than all before; for checkpoints only.
    Best,
}

impl Strategy {
    const ALL: [(Strategy, &'static str); 4] = [
        (Strategy::Never, "no"),
        (Strategy::Steps, "steps"),
        (Strategy::Epoch, "epoch"),
        (Strategy::Best, "best"),
    ];
}

impl FromStr for Strategy {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        match Self::ALL.iter().find(|(_, name)| *name == text) {
            Some((strategy, _)) => Ok(*strategy),
            None => bail!("there is no strategy `{text}`; known are no, steps, epoch and best"),
        }
    }
}

impl fmt::Display for Strategy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named = Self::ALL.iter().find(|(strategy, _)| strategy == self);
        f.write_str(named.map_or("", |(_, name)| name))
    }
}

/// As on the command line, for reports of all arguments.
impl fmt::Debug for Strategy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A strategy with its number of steps filled in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Every {
    Never,
    Steps(u64),
    Epoch,
}

impl Every {
    pub(crate) fn new(strategy: Strategy, steps: u64) -> Self {
        match strategy {
            Strategy::Never | Strategy::Best => Every::Never,
            Strategy::Steps => Every::Steps(steps.max(1)),
            Strategy::Epoch => Every::Epoch,
        }
    }

    /// Whether it is time after `step` optimizer steps, which may have ended an epoch.
    pub(crate) fn is_due(self, step: u64, epoch_ends: bool) -> bool {
        match self {
            Every::Never => false,
            Every::Steps(steps) => step.is_multiple_of(steps),
            Every::Epoch => epoch_ends,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_whole_numbers_or_shares() {
        for (text, total, expected) in [
            ("0", 10, 0),
            ("7", 10, 7),
            ("500.0", 10, 500),
            ("1e3", 10, 1000),
            ("0.1", 10, 1),
            ("0.1", 25, 3),
            ("0.999", 3, 3),
        ] {
            let steps: Steps = text.parse().unwrap();
            assert_eq!(steps.of(total), expected, "{text}");
            assert_eq!(steps.to_string().parse::<Steps>().unwrap(), steps);
        }
        for text in ["-1", "1.5", "x", "", "nan", "inf"] {
            let line = text.parse::<Steps>().unwrap_err().to_string();
            assert!(line.contains("share of all steps"), "{line}");
        }
    }

    #[test]
    fn strategies_have_their_names() {
        for (strategy, name) in Strategy::ALL {
            assert_eq!(name.parse::<Strategy>().unwrap(), strategy);
            assert_eq!(strategy.to_string(), name);
        }
        assert!("never".parse::<Strategy>().is_err());
        assert!(Every::new(Strategy::Steps, 3).is_due(6, false));
        assert!(!Every::new(Strategy::Steps, 3).is_due(7, true));
        assert!(Every::new(Strategy::Epoch, 3).is_due(7, true));
        assert!(!Every::new(Strategy::Best, 3).is_due(3, true));
    }
}
