// Walks a shape of up to 8 dimensions (outermost first, padded in front with sides of 1).

// The number of the invocation in a one-dimensional grid that may be folded into y.
fn linear_id(group: vec3<u32>, groups: vec3<u32>, local: u32, width: u32) -> u32 {
    return (group.x + group.y * groups.x) * width + local;
}

fn walk4(index: u32, shape: vec4<u32>, strides: vec4<u32>) -> u32 {
    let i3 = index / shape.w;
    let i2 = i3 / shape.z;
    let i1 = i2 / shape.y;
    return (index - i3 * shape.w) * strides.w + (i3 - i2 * shape.z) * strides.z
        + (i2 - i1 * shape.y) * strides.y + i1 * strides.x;
}

// The place of element `index` (row-major over the shape) under the given strides.
fn walk8(index: u32, outer: vec4<u32>, inner: vec4<u32>, outer_strides: vec4<u32>, inner_strides: vec4<u32>) -> u32 {
    let inner_count = inner.x * inner.y * inner.z * inner.w;
    let rest = index / inner_count;
    return walk4(index - rest * inner_count, inner, inner_strides) + walk4(rest, outer, outer_strides);
}
