// The common part of all matrix products: parameters, tensors, batches and the epilogue. With GELU its input is stored
// in `pre` for the backward pass; GELU_BACKWARD multiplies by the derivative at `pre`; RESIDUAL is added last.
// T is a scalar, with VEC4 a vector of four. With TEXELS (and VEC4) residual and `pre` are read as textures.
#import common/math
#import common/texel

struct Params {
    m: u32,
    n: u32,
    k: u32,
    alpha: f32,
    a_offset: u32,
    a_row: u32,
    a_col: u32,
    b_offset: u32,
    b_row: u32,
    b_col: u32,
    bias_offset: u32,
    residual_offset: u32,
    // The batch of the first layer of the grid, which has 65,535 at most.
    first_batch: u32,
    batch: vec4<u32>,
    a_batch: vec4<u32>,
    b_batch: vec4<u32>,
}
@group(0) @binding(0) var<uniform> params: Params;
#ifdef TEXTURE
@group(0) @binding(1) var a: texture_storage_2d<rgba32float, read>; // (batch, M, K) or (batch, K, M), flat
@group(0) @binding(2) var b: texture_storage_2d<rgba32float, read>; // (batch, K, N) or (batch, N, K), flat
#else
@group(0) @binding(1) var<storage, read> a: array<TA>; // (batch, M, K) strided
@group(0) @binding(2) var<storage, read> b: array<TB>; // (batch, K, N) strided
#endif
@group(0) @binding(3) var<storage, read_write> y: array<T>; // (batch, M, N)
#ifdef BIAS
@group(0) @binding(4) var<storage, read> bias: array<S>; // (N)
#ifdef GELU
@group(0) @binding(5) var<storage, read_write> pre: array<T>; // (batch, M, N)
#endif
#endif
#ifdef GELU_BACKWARD
#ifdef TEXELS
@group(0) @binding(4) var pre: texture_storage_2d<rgba32float, read>; // (batch, M, N), flat
#else
@group(0) @binding(4) var<storage, read> pre: array<T>; // (batch, M, N)
#endif
#endif
#ifdef ROW_SUMS
@group(0) @binding(4) var<storage, read_write> row_sums: array<R>; // (batch, M)
#endif
#ifdef RESIDUAL
#ifdef TEXELS
@group(0) @binding(AT_RESIDUAL) var residual: texture_storage_2d<rgba32float, read>; // (batch, M, N), flat
#else
@group(0) @binding(AT_RESIDUAL) var<storage, read> residual: array<T>; // (batch, M, N)
#endif
#endif

// The number of a workgroup's tile. Where there are more tiles than a grid has places along a side, it has other sides
// and a few workgroups too many: their tiles lie below the last row, where nothing is read or stored.
fn tile_number(group: vec3<u32>, groups: vec3<u32>) -> u32 {
    return group.y * groups.x + group.x;
}

// How many tiles of `rows` x `columns` outputs there are: across and down.
fn tiles_of(rows: u32, columns: u32) -> vec2<u32> {
    return vec2<u32>((params.n + columns - 1u) / columns, (params.m + rows - 1u) / rows);
}

// Tile `at` (column, row) in bands of 8 rows of tiles, column after column: workgroups that run one after the other, or
// side by side, share what they read of both operands, so it stays in the cache.
fn tile_in_bands(at: u32, tiles: vec2<u32>) -> vec2<u32> {
    if (at >= tiles.x * tiles.y) {
        return vec2<u32>(0u, tiles.y);
    }
    let band = at / (8u * tiles.x);
    let inside = at - band * 8u * tiles.x;
    let high = min(tiles.y - band * 8u, 8u);
    let col = inside / high;
    return vec2<u32>(col, band * 8u + inside - col * high);
}

// The start of batch `i` in a tensor with these batch strides.
fn batch_start(i: u32, strides: vec4<u32>) -> u32 {
    let i2 = i / params.batch.w;
    let i1 = i2 / params.batch.z;
    let i0 = i1 / params.batch.y;
    return (i - i2 * params.batch.w) * strides.w + (i2 - i1 * params.batch.z) * strides.z
        + (i1 - i0 * params.batch.y) * strides.y + i0 * strides.x;
}

#ifdef BIAS
fn bias_at(col: u32) -> f32 {
    return f32(bias[params.bias_offset + min(col, params.n - 1u)]);
}
#endif

// What is added to four columns: loaded once for all rows of an invocation.
fn shift_of(col: u32) -> vec4<f32> {
#ifdef BIAS
    return vec4<f32>(bias_at(col), bias_at(col + 1u), bias_at(col + 2u), bias_at(col + 3u));
#else
    return vec4<f32>();
#endif
}

#ifdef VEC4
#ifdef RESIDUAL
fn residual_at(i: u32) -> vec4<f32> {
#ifdef TEXELS
    return textureLoad(residual, at_texel(i));
#else
    return vec4<f32>(residual[i]);
#endif
}
#endif

#ifdef GELU_BACKWARD
fn pre_at(i: u32) -> vec4<f32> {
#ifdef TEXELS
    return textureLoad(pre, at_texel(i));
#else
    return vec4<f32>(pre[i]);
#endif
}
#endif
#endif

// Finishes one element, or with VEC4 four neighbours, and stores it as element `i` of y.
#ifdef VEC4
fn put(i: u32, sum: vec4<f32>, shift: vec4<f32>) {
    var value = params.alpha * sum + shift;
#ifdef GELU
    pre[i] = T(value);
    value = vec4<f32>(gelu(value.x), gelu(value.y), gelu(value.z), gelu(value.w));
#endif
#ifdef RESIDUAL
    value += residual_at(i + params.residual_offset / 4u);
#endif
#ifdef GELU_BACKWARD
    let x = pre_at(i);
    value *= vec4<f32>(gelu_derivative(x.x), gelu_derivative(x.y), gelu_derivative(x.z), gelu_derivative(x.w));
#endif
    y[i] = T(value);
}
#else
fn put(i: u32, sum: f32, shift: f32) {
    var value = params.alpha * sum + shift;
#ifdef GELU
    pre[i] = T(value);
    value = gelu(value);
#endif
#ifdef RESIDUAL
    value += f32(residual[i + params.residual_offset]);
#endif
#ifdef GELU_BACKWARD
    value *= gelu_derivative(f32(pre[i]));
#endif
    y[i] = T(value);
}
#endif

// Four columns of a row; what lies beyond the edge is dropped.
fn put_four(batch: u32, row: u32, col: u32, sums: vec4<f32>, shift: vec4<f32>) {
    if (row >= params.m) {
        return;
    }
    let at = (batch * params.m + row) * params.n + col;
#ifdef VEC4
    if (col < params.n) {
        put(at / 4u, sums, shift);
    }
#else
    for (var j = 0u; j < 4u; j++) {
        if (col + j < params.n) {
            put(at + j, sums[j], shift[j]);
        }
    }
#endif
}

#ifdef ROW_SUMS
fn put_row_sum(batch: u32, row: u32, sum: f32) {
    if (row < params.m) {
        row_sums[batch * params.m + row] = R(sum);
    }
}
#endif
