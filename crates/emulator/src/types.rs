//! How types lie in memory: in slots of one scalar each, and in bytes where a buffer holds them.

use naga::{ArraySize, Handle, Module, Scalar, ScalarKind, Type, TypeInner};

use crate::{Fault, Result};

/// The scalars that are emulated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    F32,
    F16,
    U32,
    I32,
    Bool,
}

impl Kind {
    pub fn of(scalar: Scalar) -> Result<Kind> {
        match (scalar.kind, scalar.width) {
            (ScalarKind::Float, 4) => Ok(Kind::F32),
            (ScalarKind::Float, 2) => Ok(Kind::F16),
            (ScalarKind::Uint, 4) => Ok(Kind::U32),
            (ScalarKind::Sint, 4) => Ok(Kind::I32),
            (ScalarKind::Bool, _) => Ok(Kind::Bool),
            (kind, width) => Err(Fault::new(format!(
                "{kind:?} of {} bits is not emulated",
                u32::from(width) * 8
            ))),
        }
    }

    pub fn bytes(self) -> usize {
        if self == Kind::F16 { 2 } else { 4 }
    }
}

/// One scalar of a type, and its offset from the start of the type.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Leaf {
    pub byte: u32,
    pub kind: Kind,
}

/// An array or struct with more scalars than this is never held as one value.
const LEAVES: usize = 1 << 16;

/// All types of a module.
#[derive(Debug)]
pub(crate) struct Types {
    slots: Vec<usize>,
    leaves: Vec<Vec<Leaf>>,
    /// Of each global variable, whether it holds scalars of 16 bits.
    narrow: Vec<bool>,
}

impl Types {
    pub fn new(module: &Module, subgroup_size: u32) -> Result<Types> {
        let mut types = Types {
            slots: Vec::new(),
            leaves: Vec::new(),
            narrow: Vec::new(),
        };
        // A type's parts come before it in the arena.
        let mut narrow = Vec::new();
        for (_, ty) in module.types.iter() {
            let (slots, leaves, small) = match &ty.inner {
                TypeInner::Scalar(scalar) | TypeInner::Atomic(scalar) => flat(1, *scalar)?,
                TypeInner::Vector { size, scalar } => flat(*size as usize, *scalar)?,
                TypeInner::CooperativeMatrix {
                    columns,
                    rows,
                    scalar,
                    ..
                } => {
                    let elements = *columns as u32 * *rows as u32;
                    let slots = elements.div_ceil(subgroup_size) as usize;
                    flat(slots, *scalar)?
                }
                TypeInner::Array { base, size, stride } => {
                    let n = match size {
                        ArraySize::Constant(n) => n.get() as usize,
                        ArraySize::Dynamic => 0,
                        ArraySize::Pending(_) => {
                            return Err(Fault::new("arrays sized by overrides are not emulated"));
                        }
                    };
                    let part = &types.leaves[base.index()];
                    let slots = n.saturating_mul(types.slots[base.index()]);
                    let leaves = if slots > LEAVES { 0 } else { n };
                    let leaves = (0..leaves as u32).flat_map(|i| {
                        part.iter()
                            .map(move |leaf| leaf.after(i.saturating_mul(*stride)))
                    });
                    (slots, leaves.collect(), narrow[base.index()])
                }
                TypeInner::Struct { members, .. } => {
                    let mut leaves = Vec::new();
                    let (mut slots, mut small) = (0, false);
                    for member in members {
                        slots = types.slots[member.ty.index()].saturating_add(slots);
                        small |= narrow[member.ty.index()];
                        let part = &types.leaves[member.ty.index()];
                        if leaves.len() + part.len() <= LEAVES {
                            leaves.extend(part.iter().map(|leaf| leaf.after(member.offset)));
                        }
                    }
                    (slots, leaves, small)
                }
                TypeInner::Pointer { .. } | TypeInner::ValuePointer { .. } => {
                    (1, Vec::new(), false)
                }
                TypeInner::Image { .. } => (0, Vec::new(), false),
                other => {
                    let name = format!("{other:?}");
                    let name = name
                        .split([' ', '('])
                        .next()
                        .unwrap_or_default()
                        .to_lowercase();
                    return Err(Fault::new(format!("the type {name} is not emulated")));
                }
            };
            types.slots.push(slots);
            types.leaves.push(leaves);
            narrow.push(small);
        }
        let globals = module.global_variables.iter();
        types.narrow = globals.map(|(_, v)| narrow[v.ty.index()]).collect();
        Ok(types)
    }

    /// Scalars that one invocation holds of a value of this type; 0 for an array without a fixed length.
    pub fn slots(&self, ty: Handle<Type>) -> usize {
        self.slots[ty.index()]
    }

    /// Where they lie in a buffer.
    pub fn leaves(&self, ty: Handle<Type>) -> &[Leaf] {
        &self.leaves[ty.index()]
    }

    pub fn narrow(&self, global: usize) -> bool {
        self.narrow[global]
    }
}

impl Leaf {
    fn after(self, bytes: u32) -> Leaf {
        Leaf {
            byte: self.byte.saturating_add(bytes),
            kind: self.kind,
        }
    }
}

/// `slots` scalars in a row.
pub(crate) fn row(slots: usize, kind: Kind) -> Vec<Leaf> {
    let leaf = |i: usize| Leaf {
        byte: (i * kind.bytes()) as u32,
        kind,
    };
    (0..slots).map(leaf).collect()
}

fn flat(slots: usize, scalar: Scalar) -> Result<(usize, Vec<Leaf>, bool)> {
    let kind = Kind::of(scalar)?;
    Ok((slots, row(slots, kind), kind == Kind::F16))
}
