//! Expressions, for all invocations of a workgroup at once.

use naga::{ArraySize, Expression, Handle, MathFunction, RelationalFunction, TypeInner};

use crate::group::Group;
use crate::memory::Touch;
use crate::types::Kind;
use crate::value::{Root, Value};
use crate::{Fault, Result};

impl Group<'_, '_> {
    /// Computes an expression whose operands are known. Only loads look at `mask`: what inactive invocations
    /// compute is never used.
    pub fn evaluate(&mut self, handle: Handle<Expression>, mask: &[bool]) -> Result<Value> {
        let function = self.top().function;
        match &function.expressions[handle] {
            Expression::Compose { components, .. } => {
                let mut parts = Vec::with_capacity(components.len());
                for part in components {
                    parts.push(self.value(*part)?);
                }
                self.room(parts.iter().map(|part| part.words.len()).sum())?;
                Ok(Value::join(parts.iter().copied()))
            }
            Expression::Access { base, index } => {
                let at = self.value(*index)?;
                match self.is_pointer(*base) {
                    true => self.step(*base, at, mask),
                    false => self.element(*base, at, mask),
                }
            }
            Expression::AccessIndex { base, index } => match self.is_pointer(*base) {
                true => self.step(*base, &Value::uniform(vec![*index]), mask),
                false => self.part(*base, *index as usize),
            },
            Expression::Splat { size, value } => {
                let value = self.value(*value)?;
                Ok(value.pick(std::iter::repeat_n(0, *size as usize)))
            }
            Expression::Swizzle {
                size,
                vector,
                pattern,
            } => {
                let picked = pattern[..*size as usize].iter().map(|c| *c as usize);
                Ok(self.value(*vector)?.pick(picked))
            }
            Expression::Load { pointer } => {
                let touch = match self.inner(*pointer) {
                    TypeInner::Pointer { base, .. }
                        if matches!(
                            self.program.module.types[*base].inner,
                            TypeInner::Atomic(_)
                        ) =>
                    {
                        Touch::Atomic
                    }
                    _ => Touch::Read,
                };
                self.load(*pointer, mask, touch)
            }
            Expression::ImageLoad {
                image, coordinate, ..
            } => self.texel(*image, *coordinate, mask),
            Expression::Unary { op, expr } => {
                let kind = self.kind(*expr)?;
                crate::arithmetic::unary(*op, kind, self.value(*expr)?)
            }
            Expression::Binary { op, left, right } => {
                let kind = self.kind(*left)?;
                for side in [*left, *right] {
                    if matches!(self.inner(side), TypeInner::Matrix { .. }) {
                        return Err(Fault::new("arithmetic of matrices is not emulated"));
                    }
                }
                let value =
                    crate::arithmetic::binary(*op, kind, self.value(*left)?, self.value(*right)?)?;
                self.count_operations(kind, value.slots(), 1, mask);
                Ok(value)
            }
            Expression::Select {
                condition,
                accept,
                reject,
            } => {
                let (yes, no) = (self.value(*accept)?, self.value(*reject)?);
                Ok(self.value(*condition)?.zip3(
                    yes,
                    no,
                    |c, yes, no| if c != 0 { yes } else { no },
                ))
            }
            Expression::Relational { fun, argument } => {
                let value = self.value(*argument)?;
                let over = |f: fn(u32, u32) -> u32| {
                    let first = value.pick(std::iter::once(0));
                    (1..value.slots())
                        .fold(first, |all, i| all.zip(&value.pick(std::iter::once(i)), f))
                };
                Ok(match fun {
                    RelationalFunction::All => over(|a, b| a & b),
                    RelationalFunction::Any => over(|a, b| a | b),
                    RelationalFunction::IsNan => {
                        value.map(|x| u32::from(f32::from_bits(x).is_nan()))
                    }
                    RelationalFunction::IsInf => {
                        value.map(|x| u32::from(f32::from_bits(x).is_infinite()))
                    }
                })
            }
            Expression::Math {
                fun,
                arg,
                arg1,
                arg2,
                arg3,
            } => {
                let kind = self.kind(*arg)?;
                let mut arguments = vec![self.value(*arg)?];
                for more in [arg1, arg2, arg3].into_iter().flatten() {
                    arguments.push(self.value(*more)?);
                }
                let value = crate::math::math(*fun, kind, &arguments)?;
                let (slots, each) = match fun {
                    MathFunction::Fma => (value.slots(), 2),
                    MathFunction::Dot => (arguments[0].slots(), 2),
                    _ => (value.slots(), 1),
                };
                self.count_operations(kind, slots, each, mask);
                Ok(value)
            }
            Expression::As {
                expr,
                kind: _,
                convert,
            } => {
                let (from, to) = (self.kind(*expr)?, self.kind(handle)?);
                crate::arithmetic::cast(from, to, convert.is_some(), self.value(*expr)?)
            }
            Expression::ArrayLength(pointer) => {
                let value = self.value(*pointer)?;
                let stride = match self.inner(*pointer) {
                    TypeInner::Pointer { base, .. } => match self.program.module.types[*base].inner
                    {
                        TypeInner::Array {
                            stride,
                            size: ArraySize::Dynamic,
                            ..
                        } => stride as usize,
                        _ => return Err(Fault::new("arrayLength of an array with a fixed length")),
                    },
                    _ => return Err(Fault::new("arrayLength of what is no pointer")),
                };
                Ok(Value::uniform(vec![
                    self.runtime_length(value, stride) as u32
                ]))
            }
            Expression::CooperativeLoad { data, .. } => self.cooperative_load(handle, data, mask),
            Expression::CooperativeMultiplyAdd { a, b, c } => {
                self.cooperative_multiply_add(*a, *b, *c, mask)
            }
            other => {
                let name = format!("{other:?}");
                let name = name.split([' ', '(', '{']).next().unwrap_or_default();
                Err(Fault::new(format!("the expression {name} is not emulated")))
            }
        }
    }

    fn is_pointer(&self, handle: Handle<Expression>) -> bool {
        matches!(
            self.inner(handle),
            TypeInner::Pointer { .. } | TypeInner::ValuePointer { .. }
        )
    }

    /// How many slots an element of this value has, and how many elements there are.
    fn elements(&self, base: Handle<Expression>) -> Result<(usize, usize)> {
        match self.inner(base) {
            TypeInner::Vector { size, .. } => Ok((1, *size as usize)),
            TypeInner::Matrix { columns, rows, .. } => Ok((*rows as usize, *columns as usize)),
            TypeInner::Array {
                base,
                size: ArraySize::Constant(n),
                ..
            } => Ok((self.program.types.slots(*base), n.get() as usize)),
            _ => Err(Fault::new("indexing such a value is not emulated")),
        }
    }

    /// A component of a value, by a number known when the kernel was written.
    fn part(&self, base: Handle<Expression>, index: usize) -> Result<Value> {
        let value = self.value(base)?;
        let types = &self.program.types;
        let (start, slots) = match self.inner(base) {
            TypeInner::Struct { members, .. } => {
                let start = members[..index].iter().map(|m| types.slots(m.ty)).sum();
                (start, types.slots(members[index].ty))
            }
            _ => {
                let (slots, _) = self.elements(base)?;
                (index * slots, slots)
            }
        };
        Ok(value.pick(start..start + slots))
    }

    /// An element of a value, by a computed number.
    fn element(&self, base: Handle<Expression>, index: &Value, mask: &[bool]) -> Result<Value> {
        let value = self.value(base)?;
        let (slots, count) = self.elements(base)?;
        for (lane, _) in mask.iter().enumerate().filter(|(_, active)| **active) {
            let i = index.at(0, lane);
            if i as usize >= count && !self.program.machine.checked {
                return Err(Fault::broken(format!(
                    "out of bounds: invocation {lane} takes element {i} of {count}"
                )));
            }
        }
        Ok(Value::from_fn(slots, self.lanes, |slot, lane| {
            let i = (index.at(0, lane) as usize).min(count - 1);
            value.at(i * slots + slot, lane)
        }))
    }

    /// A texel of a texture that is flat memory.
    fn texel(
        &mut self,
        image: Handle<Expression>,
        coordinate: Handle<Expression>,
        mask: &[bool],
    ) -> Result<Value> {
        let Root::Buffer(index) = self.value(image)?.root else {
            return Err(Fault::new("a texel of what is no texture"));
        };
        let at = self.value(coordinate)?.clone();
        let buffer = self.buffers[index].as_ref();
        let row = buffer.and_then(|buffer| buffer.texels());
        let row = row
            .ok_or_else(|| Fault::new("a texture other than rgba32float texels is not emulated"))?;
        let mut value = Value::zeros(4, self.lanes);
        for (slot, leaf) in crate::types::row(4, Kind::F32).iter().enumerate() {
            for lane in (0..self.lanes).filter(|lane| mask[*lane]) {
                let (x, y) = (at.at(0, lane), at.at(1, lane));
                if x >= row && !self.program.machine.checked {
                    let name = self.name_of(Root::Buffer(index));
                    return Err(Fault::broken(format!(
                        "out of bounds: invocation {lane} takes texel ({x}, {y}) of `{name}`, {row} wide"
                    )));
                }
                let byte = (y * row + x) * 16;
                let word = self.read(Root::Buffer(index), byte, slot, leaf, lane, Touch::Read)?;
                value.words[slot * self.lanes + lane] = word;
            }
        }
        Ok(value)
    }
}
