//! Reductions that take vectors of 4 elements: along the rows that are reduced, or across columns that are kept.

use super::kind::Kind;
use crate::dtype::DType;
use crate::ops::rows::rows_in_texels;
use crate::shape::{MAX_RANK, Walk};
use crate::tensor::Tensor;

/// Where the four elements of a vector go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fours {
    /// Nowhere: elements are taken one by one.
    No,
    /// Into one value.
    Rows,
    /// Into four neighbouring values.
    Columns,
}

/// How `x`, its first element at `lead` of what is bound, is reduced over `walk` for each place of `kept`; `columns` if
/// neighbouring places of `kept` are neighbours in memory. Changes both walks to steps of whole vectors. The second
/// result says whether the vectors are read from a texture.
pub(super) fn fours(
    x: &Tensor,
    lead: usize,
    columns: bool,
    kept: &mut Walk,
    walk: &mut Walk,
) -> (Fours, bool) {
    let no = (Fours::No, false);
    let texels = rows_in_texels(x);
    let software = x.device().adapter().is_software();
    // Columns in fours leave a GPU fewer invocations; without textures the software adapter gains nothing.
    let pays = texels || (!software && !columns);
    if !pays || !x.dtype().is_float() || !lead.is_multiple_of(4) {
        return no;
    }
    let (inner, outer) = match columns {
        true => (&*kept, &*walk),
        false => (&*walk, &*kept),
    };
    let (Some(inner), Some(outer)) = (in_vectors(inner, true), in_vectors(outer, false)) else {
        return no;
    };
    match columns {
        true => {
            (*kept, *walk) = (inner, outer);
            (Fours::Columns, texels)
        }
        false => {
            (*walk, *kept) = (inner, outer);
            (Fours::Rows, texels)
        }
    }
}

/// The walk in steps of vectors, if all its steps are whole ones; `along` if its last dimension runs along the vectors.
fn in_vectors(walk: &Walk, along: bool) -> Option<Walk> {
    let mut walk = walk.clone();
    let last = MAX_RANK - 1;
    let strides = walk.strides.first_mut()?;
    if along {
        if strides[last] != 1 || !walk.shape[last].is_multiple_of(4) {
            return None;
        }
        // Divided with the others below.
        strides[last] = 4;
        walk.shape[last] /= 4;
    }
    if !strides.iter().all(|s| s.is_multiple_of(4)) {
        return None;
    }
    for stride in strides {
        *stride /= 4;
    }
    Some(walk)
}

impl Fours {
    /// The WGSL type that values are combined in.
    pub fn compute(self, compute: DType) -> String {
        match self {
            Fours::No => compute.to_string(),
            _ => format!("vec4<{compute}>"),
        }
    }

    /// The four values of a vector in one, as WGSL.
    pub fn fold(kind: Kind) -> &'static str {
        match kind {
            Kind::Sum => "(v.x + v.y) + (v.z + v.w)",
            Kind::Max => "maximum(maximum(v.x, v.y), maximum(v.z, v.w))",
            Kind::Min => "minimum(minimum(v.x, v.y), minimum(v.z, v.w))",
        }
    }
}
