// Transpose: y[c, r] = x[r, c].
// The constants are those of the textbook's kernel for GPUs: tiles through workgroup memory, so that
// neighbours read and write neighbours. `wgrad tune` puts others in their place.
const WG_X: u32 = 16u; // the workgroup
const WG_Y: u32 = 16u;
const EACH: u32 = 1u; // rows an invocation
const SHARED: bool = true; // through workgroup memory; else straight from x to y
const ALONG_Y: bool = false; // straight: neighbours write neighbours; else they read neighbours

struct Sizes {
    rows: u32,
    columns: u32,
}
@group(0) @binding(0) var<uniform> sizes: Sizes;
@group(0) @binding(1) var<storage, read> x: array<f32>; // (R, C)
@group(0) @binding(2) var<storage, read_write> y: array<f32>; // (C, R)

const TILE_Y: u32 = WG_Y * EACH;
// One column more than is used, against bank conflicts.
var<workgroup> tile: array<array<f32, WG_X + 1u>, TILE_Y>;

@compute @workgroup_size(WG_X, WG_Y)
fn transpose(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_id) local: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    if (SHARED) {
        let column = group.x * WG_X + local.x;
        for (var i = 0u; i < EACH; i++) {
            let inside = i * WG_Y + local.y;
            let row = group.y * TILE_Y + inside;
            if (row < sizes.rows && column < sizes.columns) {
                tile[inside][local.x] = x[row * sizes.columns + column];
            }
        }
        workgroupBarrier();
        for (var i = 0u; i < EACH; i++) {
            let at = i * WG_X * WG_Y + lane;
            let row = group.y * TILE_Y + at % TILE_Y;
            let column = group.x * WG_X + at / TILE_Y;
            if (row < sizes.rows && column < sizes.columns) {
                y[column * sizes.rows + row] = tile[at % TILE_Y][at / TILE_Y];
            }
        }
    } else {
        for (var i = 0u; i < EACH; i++) {
            let along_x = vec2(group.x * WG_X + local.x, group.y * TILE_Y + i * WG_Y + local.y);
            let along_y = vec2(group.x * WG_Y * EACH + i * WG_Y + local.y, group.y * WG_X + local.x);
            let at = select(along_x, along_y, ALONG_Y);
            if (at.y < sizes.rows && at.x < sizes.columns) {
                y[at.x * sizes.rows + at.y] = x[at.y * sizes.columns + at.x];
            }
        }
    }
}
