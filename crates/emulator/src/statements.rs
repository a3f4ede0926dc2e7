//! Statements, with a mask of the invocations that run them.

use naga::{Barrier, Block, Expression, Handle, Statement, SwitchValue};

use crate::counts::Counts;
use crate::group::{Flow, Group, Mask, any};
use crate::memory::Touch;
use crate::value::Value;
use crate::{Fault, Result};

/// Turns of one loop after which a kernel counts as endless.
const TURNS: u32 = 1 << 24;

impl<'p> Group<'p, '_> {
    /// Runs a block; invocations that leave it early are taken out of `mask`.
    pub fn block(&mut self, block: &'p Block, mask: &mut Mask) -> Result<()> {
        for (statement, span) in block.span_iter() {
            if !any(mask) {
                return Ok(());
            }
            if let Some(tally) = self.tally {
                tally.go_to(*span);
            }
            let done = self.statement(statement, mask);
            done.and_then(|()| self.look_at_the_memory())
                .map_err(|mut fault| {
                    if fault.line.is_none() {
                        fault.line = self.program.line(*span);
                    }
                    fault
                })?;
        }
        Ok(())
    }

    fn statement(&mut self, statement: &'p Statement, mask: &mut Mask) -> Result<()> {
        match statement {
            Statement::Emit(range) => {
                for handle in range.clone() {
                    let span = self.top().function.expressions.get_span(handle);
                    if let Some(tally) = self.tally {
                        tally.go_to(span);
                    }
                    let value = self.evaluate(handle, mask).map_err(|mut fault| {
                        if fault.line.is_none() {
                            fault.line = self.program.line(span);
                        }
                        fault
                    })?;
                    self.set(handle, value);
                }
            }
            Statement::Block(block) => self.block(block, mask)?,
            Statement::If {
                condition,
                accept,
                reject,
            } => {
                let condition = self.value(*condition)?;
                let mut yes: Mask = (0..mask.len())
                    .map(|i| mask[i] && condition.at(0, i) != 0)
                    .collect();
                let mut no: Mask = (0..mask.len()).map(|i| mask[i] && !yes[i]).collect();
                self.block(accept, &mut yes)?;
                self.block(reject, &mut no)?;
                *mask = yes.iter().zip(&no).map(|(yes, no)| *yes || *no).collect();
            }
            Statement::Switch { selector, cases } => {
                let selector = self.value(*selector)?.spread(self.lanes);
                self.switch(&selector, cases, mask)?;
            }
            Statement::Loop {
                body,
                continuing,
                break_if,
            } => self.turns(body, continuing, *break_if, mask)?,
            Statement::Break => {
                if let Some(flow) = self.top_mut().flows.last_mut() {
                    move_to(mask, &mut flow.broke);
                }
            }
            Statement::Continue => {
                let flows = &mut self.top_mut().flows;
                if let Some(at) = flows.iter().rposition(|flow| flow.is_loop) {
                    move_to(mask, &mut flows[at].continued);
                }
            }
            Statement::Return { value } => {
                if let Some(value) = value {
                    let value = self.value(*value)?.clone();
                    self.return_value(&value, mask);
                }
                mask.fill(false);
            }
            Statement::ControlBarrier(flags) => self.barrier(*flags, mask)?,
            Statement::MemoryBarrier(_) => {}
            Statement::Store { pointer, value } => self.store(*pointer, *value, mask)?,
            Statement::Atomic {
                pointer,
                fun,
                value,
                result,
            } => self.atomic(*pointer, fun, *value, *result, mask)?,
            Statement::WorkGroupUniformLoad { pointer, result } => {
                self.barrier(Barrier::WORK_GROUP, mask)?;
                let value = self.load(*pointer, mask, Touch::Read)?;
                self.barrier(Barrier::WORK_GROUP, mask)?;
                self.set(*result, value);
            }
            Statement::Call {
                function,
                arguments,
                result,
            } => {
                let mut values = Vec::new();
                for argument in arguments {
                    values.push(self.value(*argument)?.clone());
                }
                let program = self.program;
                let callee = &program.module.functions[*function];
                let returned = self.enter(callee, &program.info[*function], values, mask)?;
                if let (Some(handle), Some(value)) = (result, returned) {
                    self.set(*handle, value);
                }
            }
            Statement::SubgroupBallot { result, predicate } => {
                self.ballot(*result, *predicate, mask)?
            }
            Statement::SubgroupGather {
                mode,
                argument,
                result,
            } => self.gather(mode, *argument, *result, mask)?,
            Statement::SubgroupCollectiveOperation {
                op,
                collective_op,
                argument,
                result,
            } => self.collective(*op, *collective_op, *argument, *result, mask)?,
            Statement::CooperativeStore { target, data } => {
                self.cooperative_store(*target, data, mask)?
            }
            other => {
                let name = format!("{other:?}");
                let name = name.split([' ', '(', '{']).next().unwrap_or_default();
                return Err(Fault::new(format!("the statement {name} is not emulated")));
            }
        }
        Ok(())
    }

    fn return_value(&mut self, value: &Value, mask: &[bool]) {
        let lanes = self.lanes;
        let frame = self.top_mut();
        // The common case: all of them return the same expression at once.
        let Some(old) = frame.result.take() else {
            frame.result = Some(value.clone());
            return;
        };
        let merged = Value::from_fn(value.slots(), lanes, |slot, lane| match mask[lane] {
            true => value.at(slot, lane),
            false => old.at(slot, lane),
        });
        frame.result = Some(merged.at_root(value.root));
    }

    fn turns(
        &mut self,
        body: &'p Block,
        continuing: &'p Block,
        break_if: Option<Handle<Expression>>,
        mask: &mut Mask,
    ) -> Result<()> {
        let mut active = mask.clone();
        let mut left = vec![false; mask.len()];
        for turn in 0.. {
            if !any(&active) {
                break;
            }
            if turn == TURNS {
                return Err(Fault::broken(format!(
                    "a loop has not ended after {TURNS} turns"
                )));
            }
            self.look_at_the_clock()?;
            self.top_mut().flows.push(Flow {
                is_loop: true,
                broke: vec![false; active.len()],
                continued: vec![false; active.len()],
            });
            self.block(body, &mut active)?;
            if let Some(flow) = self.top_mut().flows.pop() {
                merge(&mut left, &flow.broke);
                merge(&mut active, &flow.continued);
            }
            self.block(continuing, &mut active)?;
            if let Some(condition) = break_if
                && any(&active)
            {
                let condition = self.value(condition)?.spread(self.lanes);
                for (lane, active) in active.iter_mut().enumerate() {
                    if *active && condition.at(0, lane) != 0 {
                        *active = false;
                        left[lane] = true;
                    }
                }
            }
        }
        *mask = left;
        Ok(())
    }

    fn switch(
        &mut self,
        selector: &Value,
        cases: &'p [naga::SwitchCase],
        mask: &mut Mask,
    ) -> Result<()> {
        let lanes = self.lanes;
        let word = |value: &SwitchValue| match value {
            SwitchValue::I32(x) => Some(*x as u32),
            SwitchValue::U32(x) => Some(*x),
            SwitchValue::Default => None,
        };
        let named: Vec<u32> = cases.iter().filter_map(|case| word(&case.value)).collect();
        self.top_mut().flows.push(Flow {
            is_loop: false,
            broke: vec![false; lanes],
            continued: vec![false; lanes],
        });
        let mut done = vec![false; lanes];
        let mut active = vec![false; lanes];
        for case in cases {
            for lane in 0..lanes {
                let chosen = match word(&case.value) {
                    Some(value) => selector.at(0, lane) == value,
                    None => !named.contains(&selector.at(0, lane)),
                };
                active[lane] |= mask[lane] && chosen;
            }
            self.block(&case.body, &mut active)?;
            if !case.fall_through {
                merge(&mut done, &active);
                active.fill(false);
            }
        }
        merge(&mut done, &active);
        if let Some(flow) = self.top_mut().flows.pop() {
            merge(&mut done, &flow.broke);
        }
        *mask = done;
        Ok(())
    }

    /// A barrier that all invocations of the workgroup must reach together, or all of each subgroup.
    fn barrier(&mut self, flags: Barrier, mask: &[bool]) -> Result<()> {
        let subgroup = flags.contains(Barrier::SUB_GROUP);
        let side = match subgroup {
            true => self.program.machine.subgroup_size as usize,
            false => self.lanes,
        };
        for (number, part) in mask.chunks(side).enumerate() {
            let missing = part.iter().position(|active| !active);
            if let Some(missing) = missing.filter(|_| any(part) || !subgroup) {
                let missing = number * side + missing;
                let name = if subgroup {
                    "subgroupBarrier"
                } else {
                    "barrier"
                };
                return Err(Fault::broken(format!(
                    "{name} in divergent control flow: invocation {missing} does not reach it, others do"
                )));
            }
        }
        if let Some(tally) = self.tally.as_mut().filter(|_| !subgroup) {
            tally.add(Counts {
                barriers: 1,
                ..Counts::default()
            });
        }
        // Execution of a subgroup is ordered by its barrier, memory is not.
        self.shared_epoch += u32::from(flags.contains(Barrier::WORK_GROUP));
        self.storage_epoch += u32::from(flags.contains(Barrier::STORAGE));
        Ok(())
    }
}

fn merge(into: &mut [bool], from: &[bool]) {
    for (into, from) in into.iter_mut().zip(from) {
        *into |= *from;
    }
}

fn move_to(mask: &mut [bool], into: &mut [bool]) {
    merge(into, mask);
    mask.fill(false);
}
