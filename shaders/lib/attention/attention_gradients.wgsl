// Gradients of the tiled attention kernels, which are stored at the offsets in `dims`. The goal of a Spot says which it is. The
// importing kernel binds sink.
#import attention/attention_sink
const DQ: u32 = 0u;
const DK: u32 = 1u;
const DV: u32 = 2u;
fn store(spot: Spot, row: u32, c: u32, x: vec4f) {
    if (spot.goal == DQ) {
        if (row < dims.queries) {
            put((spot.batch * dims.queries + row) * dims.dq_row + spot.head * HEAD, c, x);
        }
    } else if (row < dims.keys) {
        let step = select(dims.dk_row, dims.dv_row, spot.goal == DV);
        let start = select(dims.dk_start, dims.dv_start, spot.goal == DV);
        put(start + (spot.batch * dims.keys + row) * step + spot.head * HEAD, c, x);
    }
}
