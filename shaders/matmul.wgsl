// Matrix product of any layout, one output an invocation: the simple version, which the other kernels must equal.
// math: y = act(alpha * a b + bias) + residual; act is GELU, nothing, or with GELU_BACKWARD a product with
//   GELU'(pre);
//   with ROW_SUMS also the sums of the rows of a, which are a bias's gradient
// shapes: a (batch, M, K), b (batch, K, N), any strides, up to 4 batch dimensions; bias (N); y contiguous
// launch: 16 x 16 outputs a workgroup, grid (N / 16, M / 16, batch)
// numerics: f32 sums in order of k, rounded once to the type of y
// backward: matrix products with a or b transposed
// reference: HostArray::matmul
#import common/matmul

@compute @workgroup_size(16, 16)
fn matmul(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_id) local: vec3<u32>,
) {
    let across = tiles_of(16u, 16u).x;
    let number = tile_number(group, groups);
    let batch = params.first_batch + group.z;
    let col = number % across * 16u + local.x;
    let row = number / across * 16u + local.y;
    if (col >= params.n || row >= params.m) {
        return;
    }
    let a0 = params.a_offset + batch_start(batch, params.a_batch) + row * params.a_row;
    let b0 = params.b_offset + batch_start(batch, params.b_batch) + col * params.b_col;
    var sum = 0.0;
#ifdef ROW_SUMS
    var row_sum = 0.0;
#endif
    for (var k = 0u; k < params.k; k++) {
        let value = f32(a[a0 + k * params.a_col]);
        sum += value * f32(b[b0 + k * params.b_row]);
#ifdef ROW_SUMS
        row_sum += value;
#endif
    }
#ifdef ROW_SUMS
    if (col == 0u) {
        put_row_sum(batch, row, row_sum);
    }
#endif
#ifdef BIAS
    let shift = bias_at(col);
#else
    let shift = 0.0;
#endif
    put((batch * params.m + row) * params.n + col, sum, shift);
}
