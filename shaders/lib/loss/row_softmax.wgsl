// A row of x and the numbers of its softmax, for kernels in which LANES neighboring invocations stride over a row. The importing
// kernel binds x, and its dims have rows and n.
#import reduce
const LOWEST: f32 = -3.4028234e38;

struct Row {
    number: u32,
    lane: u32,     // of the invocation, which has elements lane, lane + LANES and so on
    n: u32,        // elements
    start: u32,    // the first of them in x
    greatest: f32,
    total: f32,    // sum of exp(x - greatest)
}

// The row of an invocation. Rows that do not exist are empty; their invocations stay for the barriers.
fn softmax_row(group: u32, local: u32) -> Row {
    let number = group * (256u / LANES) + local / LANES;
    let lane = lane_of(local, 1u);
    let n = select(0u, dims.n, number < dims.rows);
    let start = number * dims.n;
    var greatest = LOWEST;
    for (var i = lane; i < n; i += LANES) {
        greatest = nan_max(greatest, x[start + i]);
    }
    greatest = lane_max(local, 1u, greatest);
    var total = 0.0;
    for (var i = lane; i < n; i += LANES) {
        total += exp(x[start + i] - greatest);
    }
    return Row(number, lane, n, start, greatest, lane_sum(local, 1u, total));
}
