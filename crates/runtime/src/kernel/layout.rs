//! Which bytes of a storage buffer hold members, and which only fill up: a `vec3<f32>` takes 16 bytes and writes 12.

use std::ops::Range;

use naga::{ArraySize, Handle, Module, Type, TypeInner};

/// Bytes that no kernel can write, in each element of a buffer's array.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Padding {
    /// The byte at which the array starts.
    pub start: usize,
    /// Bytes of an element.
    pub period: usize,
    /// The bytes of an element that belong to no member.
    pub gaps: Vec<Range<usize>>,
}

impl Padding {
    /// Whether the byte `at` of the buffer is padding.
    pub fn holds(&self, at: usize) -> bool {
        let Some(at) = at.checked_sub(self.start) else {
            return false;
        };
        let at = at % self.period;
        self.gaps.iter().any(|gap| gap.contains(&at))
    }
}

/// Elements of more bytes are taken to have none.
const LARGEST: usize = 1 << 16;

/// The padding of a buffer that is an array, or a struct that ends in one.
pub(super) fn padding(module: &Module, ty: Handle<Type>) -> Option<Padding> {
    let (start, base, stride) = match &module.types[ty].inner {
        TypeInner::Array { base, stride, .. } => (0, *base, *stride),
        TypeInner::Struct { members, .. } => {
            let last = members.last()?;
            match &module.types[last.ty].inner {
                TypeInner::Array { base, stride, .. } => (last.offset as usize, *base, *stride),
                _ => return None,
            }
        }
        _ => return None,
    };
    let period = stride as usize;
    if period == 0 || period > LARGEST {
        return None;
    }
    let mut covered = vec![false; period];
    cover(module, base, 0, &mut covered);
    let mut gaps: Vec<Range<usize>> = Vec::new();
    for at in (0..period).filter(|at| !covered[*at]) {
        match gaps.last_mut() {
            Some(gap) if gap.end == at => gap.end += 1,
            _ => gaps.push(at..at + 1),
        }
    }
    let padding = Padding {
        start,
        period,
        gaps,
    };
    (!padding.gaps.is_empty()).then_some(padding)
}

/// Marks the bytes of the scalars of a type that starts at byte `at`.
fn cover(module: &Module, ty: Handle<Type>, at: usize, covered: &mut [bool]) {
    let mut mark = |from: usize, bytes: usize| {
        let end = (from + bytes).min(covered.len());
        covered[from.min(end)..end].fill(true);
    };
    match &module.types[ty].inner {
        TypeInner::Scalar(scalar) | TypeInner::Atomic(scalar) => {
            mark(at, usize::from(scalar.width));
        }
        TypeInner::Vector { size, scalar } => {
            mark(at, *size as usize * usize::from(scalar.width));
        }
        TypeInner::Matrix {
            columns,
            rows,
            scalar,
        } => {
            let width = usize::from(scalar.width);
            let apart = (*rows as usize).next_power_of_two() * width;
            for column in 0..*columns as usize {
                mark(at + column * apart, *rows as usize * width);
            }
        }
        TypeInner::Array { base, size, stride } => {
            let n = match size {
                ArraySize::Constant(n) => n.get() as usize,
                _ => 0,
            };
            let stride = (*stride as usize).max(1);
            for i in 0..n.min(covered.len() / stride + 1) {
                cover(module, *base, at + i * stride, covered);
            }
        }
        TypeInner::Struct { members, .. } => {
            for member in members {
                cover(module, member.ty, at + member.offset as usize, covered);
            }
        }
        // Of another kind: nothing is known to be padding.
        _ => covered.fill(true),
    }
}

#[cfg(test)]
mod tests {
    use super::super::reflect::reflect;
    use super::*;

    fn of(element: &str) -> Option<Padding> {
        let text = format!(
            "struct A {{ a: vec3<f32>, n: u32 }} struct B {{ a: vec2<f32>, b: vec4<f32> }} struct C {{ a: vec3<f32> }}
             struct H {{ n: u32, d: array<vec3<f32>> }}
             @group(0) @binding(1) var<storage, read_write> y: {element};
             @compute @workgroup_size(1) fn f() {{ _ = &y; }}"
        );
        reflect(&text).unwrap().bindings[0].padding.clone()
    }

    #[test]
    fn gaps_are_what_no_member_covers() {
        let gap = |start, period, gap: Range<usize>| {
            Some(Padding {
                start,
                period,
                gaps: vec![gap],
            })
        };
        assert_eq!(of("array<vec3<f32>>"), gap(0, 16, 12..16));
        assert_eq!(of("array<vec3<u32>, 7>"), gap(0, 16, 12..16));
        assert_eq!(of("array<B>"), gap(0, 32, 8..16));
        assert_eq!(of("array<C>"), gap(0, 16, 12..16));
        assert_eq!(of("H"), gap(16, 16, 12..16));
        for whole in [
            "array<f32>",
            "array<vec4<f32>>",
            "array<vec2<u32>>",
            "array<A>",
            "array<mat4x4<f32>>",
            "array<mat2x2<f32>>",
        ] {
            assert_eq!(of(whole), None, "{whole}");
        }
        let columns = of("array<mat3x3<f32>>").unwrap();
        assert_eq!((columns.period, columns.gaps.len()), (48, 3));
        assert!(columns.holds(12) && columns.holds(48 + 31) && !columns.holds(16));
    }
}
