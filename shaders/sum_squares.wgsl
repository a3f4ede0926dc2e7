// Sums of squares of pieces of one gradient: the first stage of the norm of all gradients.
// math: partial[j] = sum of x² over elements 16384 j to 16384 (j + 1) - 1
// shapes: x contiguous of N elements; with VECTORS four at a time, N and the offset multiples of 4; with TEXTURE
//   four to a texel, no offset; partials from `at` on, ceil(N / 16384) of them
// launch: 16384 elements a workgroup of WIDTH
// numerics: f32; every invocation adds its own in order (with VECTORS in four sums, so that their loads are under way
//   at once), then a fixed tree: the same bits every time; overwrites
// backward: none
// reference: grad_norm_reference in ops/optim/references.rs
#import common/index
#import common/reduce
#import common/texel

#ifdef VECTORS
const WIDTH: u32 = 256u;
#else
const WIDTH: u32 = 64u;
#endif

struct Params {
    n: u32,
    x_offset: u32,
    at: u32,
}
@group(0) @binding(0) var<uniform> params: Params;
#ifdef TEXTURE
@group(0) @binding(1) var x: texture_storage_2d<rgba32float, read>; // (N), flat
#else
#ifdef VECTORS
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>; // (N / 4)
#else
@group(0) @binding(1) var<storage, read> x: array<f32>; // (N)
#endif
#endif
@group(0) @binding(2) var<storage, read_write> partials: array<f32>; // (G)

@compute @workgroup_size(WIDTH)
fn sum_squares(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let first = linear_id(group, groups, 0u, 16384u);
    let end = min(params.n, first + 16384u);
    var sum = 0.0;
#ifdef VECTORS
#repeat j 4
    var s{j} = vec4<f32>();
#endrepeat
    for (var i = first / 4u + local; i < end / 4u; i += 4u * WIDTH) {
#repeat j 4
        let at{j} = i + {j}u * WIDTH;
        let v{j} = select(vec4<f32>(), x[params.x_offset / 4u + min(at{j}, end / 4u - 1u)], at{j} < end / 4u);
#endrepeat
#repeat j 4
        s{j} += v{j} * v{j};
#endrepeat
    }
    let squares = (s0 + s1) + (s2 + s3);
    sum = (squares.x + squares.y) + (squares.z + squares.w);
#else
#ifdef TEXTURE
    var squares = vec4<f32>();
    for (var i = first / 4u + local; i < end / 4u; i += 64u) {
        let value = textureLoad(x, at_texel(i));
        squares += value * value;
    }
    sum = (squares.x + squares.y) + (squares.z + squares.w);
#else
    for (var i = first + local; i < end; i += 64u) {
        let value = x[params.x_offset + i];
        sum += value * value;
    }
#endif
#endif
    let total = row_sum(sum, local);
    if (local == 0u && first < params.n) {
        partials[params.at + first / 16384u] = total;
    }
}
