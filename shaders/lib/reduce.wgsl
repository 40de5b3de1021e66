// Sums and maxima over LANES invocations of a 256-wide workgroup that lie `spacing` apart. LANES is a power of two up to
// 256; with LANES = 1 (software adapters, where a barrier costs more than it gains) nothing is shared.
// The order is fixed, so the result has the same bits every time: a tree in workgroup memory, two barriers and log2(LANES)
// more; SHUFFLE, for neighbors (spacing = 1): a butterfly within each subgroup of SHUFFLE_SIZE, whose sums meet in
// workgroup memory, two barriers or, where a subgroup holds all lanes, none.
#import number
override LANES: u32 = 1u;
var<workgroup> shared_lanes: array<f32, 256>;

fn lane_of(local: u32, spacing: u32) -> u32 {
    return (local / spacing) % LANES;
}
fn lane_sum(local: u32, spacing: u32, value: f32) -> f32 {
    return over_lanes(local, spacing, value, false);
}
fn lane_max(local: u32, spacing: u32, value: f32) -> f32 {
    return over_lanes(local, spacing, value, true);
}
fn joined(x: f32, y: f32, greater: bool) -> f32 {
    if (greater) {
        return nan_max(x, y);
    }
    return x + y;
}
fn over_lanes(local: u32, spacing: u32, value: f32, greater: bool) -> f32 {
    if (LANES == 1u) {
        return value;
    }
#if SHUFFLE
    if (spacing == 1u) {
        return over_neighbors(local, value, greater);
    }
#endif
    let lane = lane_of(local, spacing);
    shared_lanes[local] = value;
    workgroupBarrier();
    for (var half = LANES / 2u; half > 0u; half /= 2u) {
        if (lane < half) {
            shared_lanes[local] = joined(shared_lanes[local], shared_lanes[local + half * spacing], greater);
        }
        workgroupBarrier();
    }
    let result = shared_lanes[local - lane * spacing];
    workgroupBarrier();
    return result;
}
#if SHUFFLE
override SHUFFLE_SIZE: u32 = 8u;

fn over_neighbors(local: u32, value: f32, greater: bool) -> f32 {
    var own = value;
    for (var half = min(LANES, SHUFFLE_SIZE) / 2u; half > 0u; half /= 2u) {
        own = joined(own, subgroupShuffleXor(own, half), greater);
    }
    if (LANES <= SHUFFLE_SIZE) {
        return own;
    }
    if (local % SHUFFLE_SIZE == 0u) {
        shared_lanes[local / SHUFFLE_SIZE] = own;
    }
    workgroupBarrier();
    let first = (local - local % LANES) / SHUFFLE_SIZE;
    var result = shared_lanes[first];
    for (var i = 1u; i < LANES / SHUFFLE_SIZE; i += 1u) {
        result = joined(result, shared_lanes[first + i], greater);
    }
    workgroupBarrier();
    return result;
}
#endif
