// Sums of rows: y[r] = sum over c of x[r, c].
// The constants are the textbook's for GPUs: a workgroup of 256 a row, halved in workgroup memory until
// one value is left. `wgrad tune` puts others in their place.
const WIDTH: u32 = 256u; // lanes a row
const ROWS: u32 = 1u; // rows a workgroup
const UNROLL: u32 = 1u; // values a lane takes at once
const TAIL: bool = true; // whether what UNROLL leaves over is summed too: without it, faster and wrong

struct Sizes {
    rows: u32,
    columns: u32,
}
@group(0) @binding(0) var<uniform> sizes: Sizes;
@group(0) @binding(1) var<storage, read> x: array<f32>; // (R, C)
@group(0) @binding(2) var<storage, read_write> y: array<f32>; // (R)

var<workgroup> partial: array<array<f32, WIDTH>, ROWS>;

@compute @workgroup_size(WIDTH, ROWS)
fn sum_rows(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_id) local: vec3<u32>,
) {
    let row = group.x * ROWS + local.y;
    let lane = local.x;
    var total = 0.0;
    if (row < sizes.rows) {
        let first = row * sizes.columns;
        let whole = sizes.columns / (WIDTH * UNROLL) * (WIDTH * UNROLL);
        for (var c = lane; c < whole; c += WIDTH * UNROLL) {
            for (var i = 0u; i < UNROLL; i++) {
                total += x[first + c + i * WIDTH];
            }
        }
        if (TAIL) {
            for (var c = whole + lane; c < sizes.columns; c += WIDTH) {
                total += x[first + c];
            }
        }
    }
    partial[local.y][lane] = total;
    for (var half = WIDTH / 2u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if (lane < half) {
            partial[local.y][lane] += partial[local.y][lane + half];
        }
    }
    if (lane == 0u && row < sizes.rows) {
        y[row] = partial[local.y][0];
    }
}
