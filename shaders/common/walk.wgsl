// Walks a shape whose number of dimensions, RANK, is known when the kernel is compiled, with fewer divisions.
#import common/index

// The place of element `index` (row-major over the shape) under the given strides.
fn walk(index: u32, outer: vec4<u32>, inner: vec4<u32>, outer_strides: vec4<u32>, inner_strides: vec4<u32>) -> u32 {
    if (RANK == 1u) {
        return index * inner_strides.w;
    }
    if (RANK == 2u) {
        let row = index / inner.w;
        return (index - row * inner.w) * inner_strides.w + row * inner_strides.z;
    }
    if (RANK == 4u) {
        return walk4(index, inner, inner_strides);
    }
    return walk8(index, outer, inner, outer_strides, inner_strides);
}
