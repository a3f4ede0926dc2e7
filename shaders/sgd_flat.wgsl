// One step of stochastic gradient descent on many parameters that lie side by side, in place: sgd for all
// of them; flag MOMENTUM for heavy-ball momentum, with NESTEROV for Nesterov's.
// math: as sgd, weight_decay from the fourth scalar of a parameter's row
// shapes: p, gradient, buffer of 64 B elements, in blocks of 64; the table (B) from `first` on; scalars
//   (P, 4): lr, keep, take, weight_decay; clip holds the norm of all gradients and the coefficient
// launch: 64 blocks a workgroup; with TEXTURE everything is read from textures, for the software adapter
// numerics: f32; what changes from step to step comes from table, scalars and clip, so a recorded launch
//   stays valid; overwrites p and buffer and reads each once; skipped blocks are not touched
// backward: none
// reference: sgd
#import common/flat

struct Params {
    blocks: u32,
    first: u32,
    momentum: f32,
}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> table: array<u32>; // (all blocks)
@group(0) @binding(2) var<storage, read> scalars: array<vec4<f32>>; // (P)
@group(0) @binding(3) var<storage, read> clip: array<f32>; // (2)
@group(0) @binding(4) var<storage, read_write> p: array<vec4<f32>>; // (16 B)
#ifdef MOMENTUM
@group(0) @binding(5) var<storage, read_write> buffer: array<vec4<f32>>; // (16 B)
#ifdef TEXTURE
@group(0) @binding(6) var gradient: texture_storage_2d<rgba32float, read>; // (16 B)
@group(0) @binding(7) var p_old: texture_storage_2d<rgba32float, read>; // (16 B), p before
@group(0) @binding(8) var buffer_old: texture_storage_2d<rgba32float, read>; // (16 B), buffer before
#else
@group(0) @binding(6) var<storage, read> gradient: array<vec4<f32>>; // (16 B)
#endif
#else
#ifdef TEXTURE
@group(0) @binding(5) var gradient: texture_storage_2d<rgba32float, read>; // (16 B)
@group(0) @binding(6) var p_old: texture_storage_2d<rgba32float, read>; // (16 B), p before
#else
@group(0) @binding(5) var<storage, read> gradient: array<vec4<f32>>; // (16 B)
#endif
#endif

fn update(i: u32, row: vec4<f32>, coefficient: f32) {
#ifdef TEXTURE
    let at = at_texel(i);
    let old = textureLoad(p_old, at);
    let slope = textureLoad(gradient, at);
#else
    let old = p[i];
    let slope = gradient[i];
#endif
    let g = coefficient * slope + row.w * old;
#ifdef MOMENTUM
#ifdef TEXTURE
    let average = row.y * textureLoad(buffer_old, at) + row.z * g;
#else
    let average = row.y * buffer[i] + row.z * g;
#endif
    buffer[i] = average;
#ifdef NESTEROV
    p[i] = old - row.x * (g + params.momentum * average);
#else
    p[i] = old - row.x * average;
#endif
#else
    p[i] = old - row.x * g;
#endif
}

@compute @workgroup_size(LANES)
fn sgd_flat(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    update_all(group, groups, lane);
}
