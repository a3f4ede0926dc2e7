// Matrix product of any layout, one output an invocation: the simple version the others must equal.
// math: y = act(alpha * a b + bias); act is GELU or nothing
// shapes: a (batch, M, K), b (batch, K, N), any strides, up to 4 batch dimensions; bias (N); y contiguous
// launch: 16 x 16 outputs a workgroup, grid (N / 16, M / 16, batch)
// numerics: f32 sums in order of k, rounded once to the type of y
// backward: matrix products with a or b transposed
// reference: HostArray::matmul
#import common/matmul

@compute @workgroup_size(16, 16)
fn matmul(@builtin(global_invocation_id) id: vec3<u32>) {
    if (id.x >= params.n || id.y >= params.m) {
        return;
    }
    let a0 = params.a_offset + batch_start(id.z, params.a_batch) + id.y * params.a_row;
    let b0 = params.b_offset + batch_start(id.z, params.b_batch) + id.x * params.b_col;
    var sum = 0.0;
    for (var k = 0u; k < params.k; k++) {
        sum += f32(a[a0 + k * params.a_col]) * f32(b[b0 + k * params.b_row]);
    }
    var value = params.alpha * sum;
    let at = (id.z * params.m + id.y) * params.n + id.x;
#ifdef BIAS
    value += f32(bias[params.bias_offset + id.x]);
#endif
#ifdef GELU
    pre[at] = T(value);
    value = gelu(value);
#endif
    y[at] = T(value);
}
