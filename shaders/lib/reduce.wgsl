// Sums and maxima over LANES invocations of a 256-wide workgroup that lie `spacing` apart.
// The tree has a fixed shape, so the result has the same bits every time. LANES is a power of two up to 256; with
// LANES = 1 (software adapters, where a barrier costs more than it gains) nothing is shared.
override LANES: u32 = 1u;
var<workgroup> shared_lanes: array<f32, 256>;

fn lane_of(local: u32, spacing: u32) -> u32 {
    return (local / spacing) % LANES;
}
fn lane_sum(local: u32, spacing: u32, value: f32) -> f32 {
    if (LANES == 1u) {
        return value;
    }
    let lane = lane_of(local, spacing);
    shared_lanes[local] = value;
    workgroupBarrier();
    for (var half = LANES / 2u; half > 0u; half /= 2u) {
        if (lane < half) {
            shared_lanes[local] += shared_lanes[local + half * spacing];
        }
        workgroupBarrier();
    }
    let total = shared_lanes[local - lane * spacing];
    workgroupBarrier();
    return total;
}
// The greater of two numbers, NaN if either is.
fn nan_max(x: f32, y: f32) -> f32 {
    return select(select(y, x, x > y), x, !(x == x));
}
fn lane_max(local: u32, spacing: u32, value: f32) -> f32 {
    if (LANES == 1u) {
        return value;
    }
    let lane = lane_of(local, spacing);
    shared_lanes[local] = value;
    workgroupBarrier();
    for (var half = LANES / 2u; half > 0u; half /= 2u) {
        if (lane < half) {
            shared_lanes[local] = nan_max(shared_lanes[local], shared_lanes[local + half * spacing]);
        }
        workgroupBarrier();
    }
    let greatest = shared_lanes[local - lane * spacing];
    workgroupBarrier();
    return greatest;
}
