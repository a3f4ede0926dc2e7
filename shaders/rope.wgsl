// Rotary positions: each pair of channels turned by an angle that grows with the position.
// math: (a, b) -> (a cos - b sin, b cos + a sin), the angle of pair c at position t from the table; a and b are
//   channels c and c + R / 2, with INTERLEAVED 2 c and 2 c + 1; channels from R on stay as they are
// shapes: x and y (B, H, T, D) in any strides of the first three, rows of D together; table (P, R): R / 2 cosines, then
//   R / 2 sines; positions (T) or (B, T)
// launch: one invocation for LANES pairs, or for 2 LANES channels behind them; with TEXELS x and the table are
//   textures, see texel
// numerics: computed in f32 from the table's values, rounded once; a position beyond the table takes its last row
// backward: rope with the sines negated (params.sign)
// reference: ops/rope/cases.rs
#import common/index
#import common/texel

struct Params {
    // Invocations; of a row; heads, positions; units of rotated channels; D / LANES; rows of the table that are bound.
    n: u32,
    units: u32,
    heads: u32,
    length: u32,
    turned: u32,
    width: u32,
    rows: u32,
    // Added to a position to find its row of the table.
    first: u32,
    sign: f32,
    table_offset: u32,
    positions_offset: u32,
    // (offset; steps of batch, head, position), in elements.
    x: vec4<u32>,
    y: vec4<u32>,
    // Steps of batch and position.
    positions: vec4<u32>,
}
@group(0) @binding(0) var<uniform> params: Params;
#ifdef TEXELS
@group(0) @binding(1) var x: texture_storage_2d<rgba32float, read>; // (B, H, T, D) strided, flat
@group(0) @binding(2) var table: texture_storage_2d<rgba32float, read>; // (P, R), flat
#else
@group(0) @binding(1) var<storage, read> x: array<S>; // (B, H, T, D) strided
@group(0) @binding(2) var<storage, read> table: array<E>; // (P, R)
#endif
@group(0) @binding(3) var<storage, read_write> y: array<S>; // (B, H, T, D) strided
#ifdef POSITIONS
@group(0) @binding(4) var<storage, read> positions: array<u32>; // (T) or (B, T)
#endif

fn load(i: u32) -> E {
#ifdef TEXELS
    return textureLoad(x, at_texel(i));
#else
    return E(x[i]);
#endif
}

fn angle(i: u32) -> E {
#ifdef TEXELS
    return textureLoad(table, at_texel(i));
#else
    return table[i];
#endif
}

fn place(steps: vec4<u32>, b: u32, h: u32, t: u32) -> u32 {
    return (steps.x + b * steps.y + h * steps.z + t * steps.w) / LANES;
}

// The row of the table for position t of batch b.
fn row_of(b: u32, t: u32) -> u32 {
#ifdef POSITIONS
    let at = positions[b * params.positions.x + t * params.positions.y + params.positions_offset];
#else
    let at = t;
#endif
    return min(min(at, params.rows - 1u) + params.first, params.rows - 1u);
}

@compute @workgroup_size(256)
fn rope(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let i = linear_id(group, groups, local, 256u);
    if (i >= params.n) {
        return;
    }
    let row = i / params.units;
    let unit = i - row * params.units;
    let t = row % params.length;
    let head = row / params.length;
    let b = head / params.heads;
    let h = head - b * params.heads;
    let source = place(params.x, b, h, t);
    let to = place(params.y, b, h, t);
    if (unit >= params.turned) {
        // Two vectors behind the rotated channels; of an odd number the last is written twice.
        let first = 2u * unit;
        let second = min(first + 1u, params.width - 1u);
        let u = load(source + first);
        let w = load(source + second);
        y[to + first] = S(u);
        y[to + second] = S(w);
        return;
    }
    let angles = row_of(b, t) * 2u * params.turned + params.table_offset / LANES + unit;
    let c = angle(angles);
    let s = angle(angles + params.turned) * params.sign;
#ifdef INTERLEAVED
    let first = 2u * unit;
    let second = first + 1u;
#else
    let first = unit;
    let second = unit + params.turned;
#endif
    let u = load(source + first);
    let w = load(source + second);
#ifdef CROSSED
    let a = vec4<f32>(u.x, u.z, w.x, w.z);
    let z = vec4<f32>(u.y, u.w, w.y, w.w);
    let p = a * c - z * s;
    let q = z * c + a * s;
    y[to + first] = S(vec4<f32>(p.x, q.x, p.y, q.y));
    y[to + second] = S(vec4<f32>(p.z, q.z, p.w, q.w));
#else
    y[to + first] = S(u * c - w * s);
    y[to + second] = S(w * c + u * s);
#endif
}
