// The end of a matrix product whose inner dimension was cut into parts: adds the parts up, then applies the epilogue.
// math: as matmul, with the sum over parts p of a[p] for the product; ROW_SUMS: of b[p] for the sums of rows
// shapes: a (parts, M, N) in vectors with VEC4, b (parts, M); K is the number of parts; the rest as matmul
// launch: an element, with VEC4 four, an invocation, 64 a workgroup
// numerics: f32, in the order of the parts, rounded once to the type of y
// backward: as matmul
// reference: matmul
#import common/matmul
#import common/index

@compute @workgroup_size(64)
fn matmul_finish(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let i = linear_id(group, groups, local, 64u);
#ifdef VEC4
    let count = params.m * params.n / 4u;
    let col = i * 4u % params.n;
#else
    let count = params.m * params.n;
    let col = i % params.n;
#endif
    if (i >= count) {
        return;
    }
    var sum = a[i];
    for (var part = 1u; part < params.k; part++) {
        sum += a[part * count + i];
    }
#ifdef VEC4
    put(i, sum, shift_of(col));
#else
    put(i, sum, shift_of(col).x);
#endif
#ifdef ROW_SUMS
    // There are at least as many invocations as rows.
    if (i < params.m) {
        var row_sum = b[i];
        for (var part = 1u; part < params.k; part++) {
            row_sum += b[part * params.m + i];
        }
        put_row_sum(0u, i, row_sum);
    }
#endif
}
