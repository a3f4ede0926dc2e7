// One value from all lanes that share a row: WIDTH invocations of a workgroup, in a fixed order. Every
// lane gets the result. With SUBGROUP8 a row is a workgroup of one subgroup of 8 lanes. NaN wins a row_max.
#import common/special

#ifdef SUBGROUP8
fn row_sum(value: f32, lane: u32) -> f32 {
    var v = value;
    v = v + subgroupShuffleXor(v, 1u);
    v = v + subgroupShuffleXor(v, 2u);
    return v + subgroupShuffleXor(v, 4u);
}

fn row_max(value: f32, lane: u32) -> f32 {
    var v = value;
    v = maximum(v, subgroupShuffleXor(v, 1u));
    v = maximum(v, subgroupShuffleXor(v, 2u));
    return max(v, subgroupShuffleXor(v, 4u));
}
#else
var<workgroup> wg_lanes: array<f32, WIDTH>;

fn row_sum(value: f32, lane: u32) -> f32 {
    // The first barrier: every invocation has read the result of an earlier call.
    workgroupBarrier();
    wg_lanes[lane] = value;
    workgroupBarrier();
    for (var width = WIDTH / 2u; width > 0u; width = width / 2u) {
        if (lane < width) {
            wg_lanes[lane] = wg_lanes[lane] + wg_lanes[lane + width];
        }
        workgroupBarrier();
    }
    return wg_lanes[0];
}

fn row_max(value: f32, lane: u32) -> f32 {
    workgroupBarrier();
    wg_lanes[lane] = value;
    workgroupBarrier();
    for (var width = WIDTH / 2u; width > 0u; width = width / 2u) {
        if (lane < width) {
            wg_lanes[lane] = maximum(wg_lanes[lane], wg_lanes[lane + width]);
        }
        workgroupBarrier();
    }
    return wg_lanes[0];
}
#endif
