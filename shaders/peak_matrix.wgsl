// Multiplies small matrices in the adapter's matrix units: how fast they compute.
// math: y = the sum of 8 chains of c = a b + c, ROUNDS long, with a = b = x
// shapes: x (SIDE, SIDE), y (groups, SIDE, SIDE)
// launch: groups along x only, WIDTH invocations (one subgroup) each; 8 * 2 * SIDE^3 * ROUNDS operations a group
// numerics: products of the type of x, sums in f32
// backward: none, it is for measuring only
// reference: 8 * ROUNDS * x x

@group(0) @binding(1) var<storage, read> x: array<H>; // (SIDE, SIDE)
@group(0) @binding(2) var<storage, read_write> y: array<f32>; // (groups, SIDE, SIDE)

@compute @workgroup_size(WIDTH)
fn peak_matrix(@builtin(workgroup_id) group: vec3<u32>) {
    let a = coopLoad<MatrixA>(&x[0], SIDE);
    let b = coopLoad<MatrixB>(&x[0], SIDE);
    var c0: MatrixC;
    var c1: MatrixC;
    var c2: MatrixC;
    var c3: MatrixC;
    var c4: MatrixC;
    var c5: MatrixC;
    var c6: MatrixC;
    var c7: MatrixC;
    for (var round = 0u; round < ROUNDS; round++) {
        c0 = coopMultiplyAdd(a, b, c0);
        c1 = coopMultiplyAdd(a, b, c1);
        c2 = coopMultiplyAdd(a, b, c2);
        c3 = coopMultiplyAdd(a, b, c3);
        c4 = coopMultiplyAdd(a, b, c4);
        c5 = coopMultiplyAdd(a, b, c5);
        c6 = coopMultiplyAdd(a, b, c6);
        c7 = coopMultiplyAdd(a, b, c7);
    }
    let sum = ((c0 + c1) + (c2 + c3)) + ((c4 + c5) + (c6 + c7));
    coopStore(sum, &y[group.x * SIDE * SIDE], SIDE);
}
