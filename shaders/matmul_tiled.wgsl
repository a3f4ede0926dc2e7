// Matrix product for GPUs: tiles of both operands in workgroup memory, 4 x 4 outputs an invocation.
// math: as matmul
// shapes: as matmul
// launch: 64 x 64 outputs a workgroup of 256, grid (N / 64, M / 64, batch)
// numerics: as matmul
// backward: as matmul
// reference: matmul
#import common/matmul

var<workgroup> wg_a: array<array<f32, 68>, 16>; // (K, M), padded against bank conflicts
var<workgroup> wg_b: array<array<f32, 68>, 16>; // (K, N)

@compute @workgroup_size(256)
fn matmul_tiled(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let row0 = group.y * 64u;
    let col0 = group.x * 64u;
    let a0 = params.a_offset + batch_start(group.z, params.a_batch);
    let b0 = params.b_offset + batch_start(group.z, params.b_batch);
    let tx = local % 16u;
    let ty = local / 16u;
    var c0 = vec4<f32>();
    var c1 = vec4<f32>();
    var c2 = vec4<f32>();
    var c3 = vec4<f32>();
    // Neighbouring invocations load along the dimension that lies contiguous.
    let a_along_k = params.a_col == 1u;
    let b_along_k = params.b_row == 1u;
    for (var k0 = 0u; k0 < params.k; k0 += 16u) {
        for (var i = 0u; i < 4u; i++) {
            let e = local + i * 256u;
            let ak = select(e / 64u, e % 16u, a_along_k);
            let am = select(e % 64u, e / 16u, a_along_k);
            var av = 0.0;
            if (row0 + am < params.m && k0 + ak < params.k) {
                av = f32(a[a0 + (row0 + am) * params.a_row + (k0 + ak) * params.a_col]);
            }
            wg_a[ak][am] = av;
            let bk = select(e / 64u, e % 16u, b_along_k);
            let bn = select(e % 64u, e / 16u, b_along_k);
            var bv = 0.0;
            if (col0 + bn < params.n && k0 + bk < params.k) {
                bv = f32(b[b0 + (k0 + bk) * params.b_row + (col0 + bn) * params.b_col]);
            }
            wg_b[bk][bn] = bv;
        }
        workgroupBarrier();
        for (var k = 0u; k < 16u; k++) {
            let v = vec4<f32>(wg_b[k][tx * 4u], wg_b[k][tx * 4u + 1u], wg_b[k][tx * 4u + 2u], wg_b[k][tx * 4u + 3u]);
            c0 += wg_a[k][ty * 4u] * v;
            c1 += wg_a[k][ty * 4u + 1u] * v;
            c2 += wg_a[k][ty * 4u + 2u] * v;
            c3 += wg_a[k][ty * 4u + 3u] * v;
        }
        workgroupBarrier();
    }
    store(group.z, row0 + ty * 4u, col0 + tx * 4u, c0);
    store(group.z, row0 + ty * 4u + 1u, col0 + tx * 4u, c1);
    store(group.z, row0 + ty * 4u + 2u, col0 + tx * 4u, c2);
    store(group.z, row0 + ty * 4u + 3u, col0 + tx * 4u, c3);
}

fn store(batch: u32, row: u32, col: u32, sums: vec4<f32>) {
    if (row >= params.m) {
        return;
    }
    for (var j = 0u; j < 4u; j++) {
        if (col + j < params.n) {
            var value = params.alpha * sums[j];
            let at = (batch * params.m + row) * params.n + col + j;
#ifdef BIAS
            value += f32(bias[params.bias_offset + col + j]);
#endif
#ifdef GELU
            pre[at] = T(value);
            value = gelu(value);
#endif
            y[at] = T(value);
        }
    }
}
