//! One workgroup under way: its memory, its call stack, its place in the grid.

use std::time::Instant;

use naga::valid::FunctionInfo;
use naga::{AddressSpace, Binding, BuiltIn, Expression, Function, Handle, TypeInner};

use crate::counts::Tally;
use crate::memory::{Buffer, Shared, Who};
use crate::types::Kind;
use crate::value::{Root, Value};
use crate::{Fault, Program, Result};

/// Which invocations take part.
pub(crate) type Mask = Vec<bool>;

pub(crate) fn any(mask: &[bool]) -> bool {
    mask.contains(&true)
}

/// A loop or a switch under way, and who has left it or its turn.
pub(crate) struct Flow {
    pub is_loop: bool,
    pub broke: Mask,
    pub continued: Mask,
}

/// A function under way.
pub(crate) struct Frame<'p> {
    pub function: &'p Function,
    pub info: &'p FunctionInfo,
    pub values: Vec<Option<Value>>,
    pub locals: Vec<Value>,
    pub arguments: Vec<Value>,
    pub flows: Vec<Flow>,
    pub result: Option<Value>,
    /// Words that its values and variables take.
    pub words: usize,
}

pub(crate) struct Group<'p, 'm> {
    pub program: &'p Program,
    pub buffers: &'m mut [Option<Buffer>],
    pub shared: Vec<Option<Shared>>,
    pub private: Vec<Value>,
    pub frames: Vec<Frame<'p>>,
    pub lanes: usize,
    /// Barriers passed, for workgroup memory and for buffers.
    pub shared_epoch: u32,
    pub storage_epoch: u32,
    pub position: Position,
    pub tally: &'m mut Option<Tally>,
    end: Option<Instant>,
    /// Words that the memory and the values of the workgroup take.
    pub words: usize,
}

/// A workgroup's place in the grid, and how many ran before it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Position {
    pub id: [u32; 3],
    pub grid: [u32; 3],
    pub number: u32,
}

/// Function calls deeper than this end the run; WGSL forbids recursion.
const DEPTH: usize = 64;
/// Words that a scalar of workgroup memory takes, with the record of who touched it.
const SHARED: usize = 14;

impl<'p, 'm> Group<'p, 'm> {
    pub fn new(
        program: &'p Program,
        buffers: &'m mut [Option<Buffer>],
        tally: &'m mut Option<Tally>,
        lanes: usize,
        position: Position,
        end: Option<Instant>,
    ) -> Result<Self> {
        let mut group = Group {
            program,
            buffers,
            shared: Vec::new(),
            private: Vec::new(),
            frames: Vec::new(),
            lanes,
            shared_epoch: 0,
            storage_epoch: 0,
            position,
            tally,
            end,
            words: 0,
        };
        for (_, variable) in program.module.global_variables.iter() {
            let slots = program.types.slots(variable.ty);
            let each = match variable.space {
                AddressSpace::WorkGroup => SHARED,
                AddressSpace::Private => lanes,
                _ => 0,
            };
            group.take(slots, each, variable.name.as_deref())?;
            let shared = (variable.space == AddressSpace::WorkGroup).then(|| {
                let name = variable.name.clone().unwrap_or_default();
                Shared::new(name, slots, program.machine.checked)
            });
            group.shared.push(shared);
            let private = match (variable.space, variable.init) {
                (AddressSpace::Private, Some(init)) => group.constant(init)?.spread(lanes),
                (AddressSpace::Private, None) => Value::zeros(slots, lanes),
                _ => Value::default(),
            };
            group.private.push(private);
        }
        Ok(group)
    }

    /// Ends a run that takes too long.
    pub fn look_at_the_clock(&self) -> Result<()> {
        match self.end.is_some_and(|end| Instant::now() > end) {
            true => Err(Fault::new("it took too long, and was watched in part")),
            false => Ok(()),
        }
    }

    /// Runs the entry point from its first statement to its last.
    pub fn run(&mut self) -> Result<()> {
        let program = self.program;
        let entry = &program.module.entry_points[0];
        let mut arguments = Vec::new();
        for argument in &entry.function.arguments {
            arguments.push(
                match (&argument.binding, &program.module.types[argument.ty].inner) {
                    (Some(Binding::BuiltIn(builtin)), _) => self.builtin(*builtin)?,
                    (_, TypeInner::Struct { members, .. }) => {
                        let mut parts = Vec::new();
                        for member in members {
                            match member.binding {
                                Some(Binding::BuiltIn(builtin)) => {
                                    parts.push(self.builtin(builtin)?)
                                }
                                _ => return Err(Fault::new("an input that is no built-in value")),
                            }
                        }
                        Value::join(parts.iter())
                    }
                    _ => return Err(Fault::new("an input that is no built-in value")),
                },
            );
        }
        self.look_at_the_clock()?;
        let everyone = vec![true; self.lanes];
        let info = program.info.get_entry_point(0);
        self.enter(&entry.function, info, arguments, &everyone)?;
        Ok(())
    }

    /// Runs a function for the invocations of `mask` and returns what it returns.
    pub fn enter(
        &mut self,
        function: &'p Function,
        info: &'p FunctionInfo,
        arguments: Vec<Value>,
        mask: &[bool],
    ) -> Result<Option<Value>> {
        if self.frames.len() >= DEPTH {
            return Err(Fault::new(format!("calls are nested deeper than {DEPTH}")));
        }
        self.look_at_the_clock()?;
        let lanes = self.lanes;
        let before = self.words;
        let given: usize = arguments.iter().map(|value| value.words.len()).sum();
        self.take(given, 1, function.name.as_deref())?;
        for (_, local) in function.local_variables.iter() {
            let slots = self.program.types.slots(local.ty);
            self.take(slots, lanes, local.name.as_deref())?;
        }
        self.frames.push(Frame {
            function,
            info,
            values: vec![None; function.expressions.len()],
            locals: Vec::new(),
            arguments,
            flows: Vec::new(),
            result: None,
            words: self.words - before,
        });
        let depth = self.frames.len() - 1;
        // Expressions without work: literals, arguments, names of variables.
        for (handle, expression) in function.expressions.iter() {
            let value = match expression {
                Expression::Literal(literal) => Some(literal_value(*literal)?),
                Expression::Constant(constant) => {
                    Some(self.constant(self.program.module.constants[*constant].init)?)
                }
                Expression::ZeroValue(ty) => {
                    let slots = self.program.types.slots(*ty);
                    self.room(slots)?;
                    Some(Value::zeros(slots, 1))
                }
                Expression::FunctionArgument(i) => {
                    Some(self.frames[depth].arguments[*i as usize].clone())
                }
                Expression::GlobalVariable(variable) => Some(self.global(*variable)),
                Expression::LocalVariable(variable) => {
                    Some(Value::uniform(vec![0]).at_root(Root::Local {
                        frame: depth,
                        variable: variable.index(),
                    }))
                }
                Expression::Override(_) => {
                    return Err(Fault::new(
                        "pipeline-overridable constants are not emulated",
                    ));
                }
                _ => None,
            };
            if let Some(value) = value {
                self.set(handle, value);
            }
        }
        for (_, local) in function.local_variables.iter() {
            let slots = self.program.types.slots(local.ty);
            let value = match local.init {
                Some(init) => self.value_or_eval(init, mask)?.spread(lanes),
                None => Value::zeros(slots, lanes),
            };
            self.frames[depth].locals.push(value);
        }
        let mut active = mask.to_vec();
        self.block(&function.body, &mut active)?;
        let frame = self.frames.pop();
        self.words -= frame.as_ref().map_or(0, |frame| frame.words);
        Ok(frame.and_then(|frame| frame.result))
    }

    /// A local variable's first value: a constant expression, which no statement emits.
    fn value_or_eval(&mut self, handle: Handle<Expression>, mask: &[bool]) -> Result<Value> {
        if self.top().values[handle.index()].is_none() {
            let parts: Vec<Handle<Expression>> = match &self.top().function.expressions[handle] {
                Expression::Compose { components, .. } => components.clone(),
                Expression::Splat { value, .. } => vec![*value],
                _ => Vec::new(),
            };
            for part in parts {
                let value = self.value_or_eval(part, mask)?;
                self.set(part, value);
            }
            let value = self.evaluate(handle, mask)?;
            self.set(handle, value);
        }
        Ok(self.value(handle)?.clone())
    }

    fn global(&self, handle: Handle<naga::GlobalVariable>) -> Value {
        let index = handle.index();
        let root = match self.program.module.global_variables[handle].space {
            AddressSpace::WorkGroup => Root::Shared(index),
            AddressSpace::Private => Root::Private(index),
            _ => Root::Buffer(index),
        };
        Value::uniform(vec![0]).at_root(root)
    }

    /// The value of a constant expression of the module.
    pub fn constant(&self, handle: Handle<Expression>) -> Result<Value> {
        let module = &self.program.module;
        Ok(match &module.global_expressions[handle] {
            Expression::Literal(literal) => literal_value(*literal)?,
            Expression::Constant(constant) => self.constant(module.constants[*constant].init)?,
            Expression::ZeroValue(ty) => {
                let slots = self.program.types.slots(*ty);
                self.room(slots)?;
                Value::zeros(slots, 1)
            }
            Expression::Splat { size, value } => {
                let value = self.constant(*value)?;
                value.pick(std::iter::repeat_n(0, *size as usize))
            }
            Expression::Compose { components, .. } => {
                let mut parts = Vec::new();
                for part in components {
                    parts.push(self.constant(*part)?);
                }
                Value::join(parts.iter())
            }
            _ => return Err(Fault::new("a constant that is not emulated")),
        })
    }

    fn builtin(&self, builtin: BuiltIn) -> Result<Value> {
        let size = self.program.module.entry_points[0].workgroup_size;
        let subgroup = self.program.machine.subgroup_size;
        let lanes = self.lanes;
        let local = |lane: usize, side: usize| {
            let lane = lane as u32;
            [
                lane % size[0],
                lane / size[0] % size[1],
                lane / size[0] / size[1],
            ][side]
        };
        Ok(match builtin {
            BuiltIn::LocalInvocationId => Value::from_fn(3, lanes, |side, lane| local(lane, side)),
            BuiltIn::GlobalInvocationId => Value::from_fn(3, lanes, |side, lane| {
                self.position.id[side] * size[side] + local(lane, side)
            }),
            BuiltIn::LocalInvocationIndex => Value::from_fn(1, lanes, |_, lane| lane as u32),
            BuiltIn::WorkGroupId => Value::uniform(self.position.id.to_vec()),
            BuiltIn::NumWorkGroups => Value::uniform(self.position.grid.to_vec()),
            BuiltIn::WorkGroupSize => Value::uniform(size.to_vec()),
            BuiltIn::SubgroupSize => Value::uniform(vec![subgroup]),
            BuiltIn::NumSubgroups => Value::uniform(vec![(lanes as u32).div_ceil(subgroup)]),
            BuiltIn::SubgroupId => Value::from_fn(1, lanes, |_, lane| lane as u32 / subgroup),
            BuiltIn::SubgroupInvocationId => {
                Value::from_fn(1, lanes, |_, lane| lane as u32 % subgroup)
            }
            other => {
                return Err(Fault::new(format!(
                    "the built-in value {other:?} is not emulated"
                )));
            }
        })
    }

    pub fn top(&self) -> &Frame<'p> {
        &self.frames[self.frames.len() - 1]
    }

    pub fn top_mut(&mut self) -> &mut Frame<'p> {
        let last = self.frames.len() - 1;
        &mut self.frames[last]
    }

    pub fn value(&self, handle: Handle<Expression>) -> Result<&Value> {
        self.top().values[handle.index()]
            .as_ref()
            .ok_or_else(|| Fault::new("an expression is used before it is computed"))
    }

    /// The type of an expression of the function under way.
    pub fn inner(&self, handle: Handle<Expression>) -> &'p TypeInner {
        self.top().info[handle]
            .ty
            .inner_with(&self.program.module.types)
    }

    /// The kind of scalar that an expression is made of.
    pub fn kind(&self, handle: Handle<Expression>) -> Result<Kind> {
        match self.inner(handle) {
            TypeInner::CooperativeMatrix { scalar, .. } => Kind::of(*scalar),
            other => {
                let scalar = other.scalar();
                Kind::of(
                    scalar.ok_or_else(|| {
                        Fault::new("this operation is not emulated for such a type")
                    })?,
                )
            }
        }
    }

    /// An invocation as memory sees it.
    pub fn who(&self, root: Root, lane: usize) -> Who {
        Who {
            group: self.position.number,
            lane: lane as u32,
            epoch: match root {
                Root::Shared(_) => self.shared_epoch,
                _ => self.storage_epoch,
            },
        }
    }
}

pub(crate) fn literal_value(literal: naga::Literal) -> Result<Value> {
    use naga::Literal as L;
    let word = match literal {
        L::F32(x) => x.to_bits(),
        L::F16(x) => x.to_f32().to_bits(),
        L::U32(x) => x,
        L::I32(x) => x as u32,
        L::Bool(x) => u32::from(x),
        L::AbstractInt(x) => x as u32,
        L::AbstractFloat(x) => (x as f32).to_bits(),
        other => return Err(Fault::new(format!("the literal {other:?} is not emulated"))),
    };
    Ok(Value::uniform(vec![word]))
}
