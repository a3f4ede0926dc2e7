// One step of AdamW or Adam on many parameters that lie side by side, in place: adamw for all of them.
// math: as adamw, l2 from the fourth scalar of a parameter's row
// shapes: p, gradient, m, v of 64 B elements, in blocks of 64; the table (B) from `first` on; scalars (P, 4):
//   step_size, correction, decay, l2; clip holds the norm of all gradients and the coefficient
// launch: 64 blocks a workgroup; with TEXTURE everything is read from textures, for the software adapter
// numerics: f32; what changes from step to step comes from table, scalars and clip, so a recorded launch
//   stays valid; overwrites p, m, v and reads each once; skipped blocks are not touched
// backward: none
// reference: adamw
#import common/flat

struct Params {
    blocks: u32,
    first: u32,
    one_minus_beta1: f32,
    beta2: f32,
    one_minus_beta2: f32,
    eps: f32,
}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> table: array<u32>; // (all blocks)
@group(0) @binding(2) var<storage, read> scalars: array<vec4<f32>>; // (P)
@group(0) @binding(3) var<storage, read> clip: array<f32>; // (2)
@group(0) @binding(4) var<storage, read_write> p: array<vec4<f32>>; // (16 B)
@group(0) @binding(5) var<storage, read_write> m: array<vec4<f32>>; // (16 B)
@group(0) @binding(6) var<storage, read_write> v: array<vec4<f32>>; // (16 B)
#ifdef TEXTURE
@group(0) @binding(7) var gradient: texture_storage_2d<rgba32float, read>; // (16 B)
@group(0) @binding(8) var p_old: texture_storage_2d<rgba32float, read>; // (16 B), p before
@group(0) @binding(9) var m_old: texture_storage_2d<rgba32float, read>; // (16 B), m before
@group(0) @binding(10) var v_old: texture_storage_2d<rgba32float, read>; // (16 B), v before
#else
@group(0) @binding(7) var<storage, read> gradient: array<vec4<f32>>; // (16 B)
#endif

fn update(i: u32, row: vec4<f32>, coefficient: f32) {
#ifdef TEXTURE
    let at = at_texel(i);
    let old = textureLoad(p_old, at);
    let average = textureLoad(m_old, at);
    let square = textureLoad(v_old, at);
    let slope = textureLoad(gradient, at);
#else
    let old = p[i];
    let average = m[i];
    let square = v[i];
    let slope = gradient[i];
#endif
    let g = coefficient * slope + row.w * old;
    let m_new = average + params.one_minus_beta1 * (g - average);
    let v_new = params.beta2 * square + params.one_minus_beta2 * (g * g);
    p[i] = row.z * old - row.x * (m_new / (sqrt(v_new) / row.y + params.eps));
    m[i] = m_new;
    v[i] = v_new;
}

@compute @workgroup_size(LANES)
fn adamw_flat(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    update_all(group, groups, lane);
}
