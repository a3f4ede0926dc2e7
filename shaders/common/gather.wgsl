// How the kernels of gather read the index: its parameters are `shape`, `index_strides`, `index_offset` and `side`.
#import common/index

// The position of entry `i` of `shape` in the memory of `index`.
fn entry_at(i: u32) -> u32 {
    return walk8(i, params.shape[0], params.shape[1], params.index_strides[0], params.index_strides[1])
        + params.index_offset;
}

// The element of x along the dimension that the entry at `at` picks. Indices beyond the dimension pick the last one.
fn picked(at: u32) -> u32 {
    return min(index[at], params.side - 1u);
}
