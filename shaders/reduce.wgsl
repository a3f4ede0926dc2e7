// One pass of a reduction over some dimensions.
// math: y[o, c] = scale * combine over r = c, c + chunks, c + 2 chunks, ... of x[o, r], with lines
//   `fn combine(a: COMPUTE, b: COMPUTE) -> COMPUTE` and `fn identity() -> COMPUTE` put in front
// shapes: x any strides; its kept dimensions walk as one index o, its reduced ones as r
// launch: one invocation a value of y; with COLUMNS neighbours take neighbouring o and y is (G, K).
//   With TREE one workgroup a value of y, r in blocks of WIDTH, and `fn across(v: f32, lane: u32)`. x may be in vectors
//   of 4: along r, which FOLD combines at the end, or along o, and then y is too; with TEXELS x is a texture
// numerics: combined in COMPUTE (f32 for floats) in a fixed order, rounded once to the type of y
// backward: expand for sum and mean, ops/reduce.rs for max and min
// reference: ops/reduce.rs
#import common/chunks
#import common/special
#import common/texel
#ifdef TREE
#import common/reduce
#endif

struct Params {
    outputs: u32,
    chunks: u32,
    length: u32,
    offset: u32,
    scale: f32,
    kept_shape: array<vec4<u32>, 2>,
    kept_strides: array<vec4<u32>, 2>,
    shape: array<vec4<u32>, 2>,
    strides: array<vec4<u32>, 2>,
}
@group(0) @binding(0) var<uniform> params: Params;
#ifdef TEXELS
@group(0) @binding(1) var x: texture_storage_2d<rgba32float, read>; // (K, R) strided, flat
#else
@group(0) @binding(1) var<storage, read> x: array<S>; // (K, R) strided
#endif
@group(0) @binding(2) var<storage, read_write> y: array<T>; // (K, G), or (G, K) with COLUMNS

fn fetch(i: u32) -> COMPUTE {
#ifdef TEXELS
    return textureLoad(x, at_texel(i));
#else
    return COMPUTE(x[i]);
#endif
}

fn load(base: u32, r: u32) -> COMPUTE {
#ifdef LINEAR
    return fetch(base + r * params.strides[1].w);
#else
    return fetch(base + walk8(r, params.shape[0], params.shape[1], params.strides[0], params.strides[1]));
#endif
}

@compute @workgroup_size(WIDTH)
fn reduce(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
#ifdef TREE
    let id = linear_id(group, groups, 0u, 1u);
#else
    let id = linear_id(group, groups, local, WIDTH);
#endif
    if (id >= params.outputs * params.chunks) {
        return;
    }
    let place = output_chunk(id);
    let c = place.y;
    let base = start_of(place.x);
#ifdef TREE
    var r = c * WIDTH + local;
    let step = params.chunks * WIDTH;
#else
    var r = c;
    let step = params.chunks;
#endif
    // Four sums at once: their loads do not wait for each other, and rounding errors are smaller.
    var a0 = identity();
    var a1 = identity();
    var a2 = identity();
    var a3 = identity();
    for (; r + 3u * step < params.length; r += 4u * step) {
        a0 = combine(a0, load(base, r));
        a1 = combine(a1, load(base, r + step));
        a2 = combine(a2, load(base, r + 2u * step));
        a3 = combine(a3, load(base, r + 3u * step));
    }
    for (; r < params.length; r += step) {
        a0 = combine(a0, load(base, r));
    }
    let all = combine(combine(a0, a1), combine(a2, a3));
#ifdef FOLD
    var total = fold(all);
#else
    var total = all;
#endif
#ifdef TREE
    total = across(total, local);
    if (local > 0u) {
        return;
    }
#endif
#ifdef SCALED
    total = total * params.scale;
#endif
    y[id] = T(total);
}
