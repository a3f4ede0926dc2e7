//! Shapes that catch mistakes: size 1, odd sizes, one past a workgroup, several workgroups, scattered
//! memory.

use super::Layout;

type Shaped = (Vec<usize>, Layout);

/// For ops that treat elements alike.
pub fn pointwise() -> Vec<Shaped> {
    use Layout::{Contiguous, Expanded, Sliced, Transposed};
    vec![
        (vec![], Contiguous),
        (vec![1], Contiguous),
        (vec![257], Contiguous),
        (vec![3, 5], Transposed),
        (vec![33, 17], Sliced),
        (vec![4, 3, 10], Expanded),
        (vec![2, 3, 4, 5], Transposed),
    ]
}

/// For ops of two tensors that broadcast.
pub fn pairs() -> Vec<(Shaped, Shaped)> {
    use Layout::{Contiguous, Sliced, Transposed};
    let plain = |s: &[usize]| (s.to_vec(), Contiguous);
    vec![
        (plain(&[]), plain(&[])),
        (plain(&[257]), plain(&[257])),
        (plain(&[4, 5]), plain(&[5])),
        (plain(&[4, 1]), plain(&[3])),
        (plain(&[2, 3, 4]), plain(&[])),
        ((vec![6, 7], Transposed), plain(&[6, 7])),
        ((vec![6, 7], Sliced), (vec![6, 1], Contiguous)),
        ((vec![2, 1, 5], Contiguous), (vec![3, 5], Transposed)),
    ]
}

/// Rows along the last dimension, for softmax, norms and reductions.
pub fn rows() -> Vec<Shaped> {
    use Layout::{Contiguous, Expanded, Sliced, Transposed};
    vec![
        (vec![1, 1], Contiguous),
        (vec![3, 7], Contiguous),
        (vec![5, 64], Contiguous),
        (vec![2, 257], Contiguous),
        (vec![3, 1025], Contiguous),
        (vec![4, 33], Transposed),
        (vec![6, 40], Sliced),
        (vec![3, 2, 19], Expanded),
        (vec![2, 3, 4, 8], Transposed),
        (vec![300, 3], Contiguous),
    ]
}
