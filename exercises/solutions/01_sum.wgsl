// 1. sum: y = Σ x_i, by one workgroup. The first idea of every reduction: lanes add their share, then a tree adds the lanes.
//
// in      x (n) f32
// out     y (1) f32
// launch  1 workgroup of 64
// map     lane l adds x[l], x[l + 64], x[l + 128], …, so neighbors read neighbors; then 64 sums become 32, 16, … 1
// memory  64 floats of workgroup memory
// cost    n flop, 4 n bytes: bound by memory
// numeric a fixed order, so the same bits every time; a tree rounds less than one long sum

struct Dims { n: u32 }
@group(0) @binding(0) var<uniform> dims: Dims;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;

var<workgroup> lanes: array<f32, 64>;

@compute @workgroup_size(64)
fn sum(@builtin(local_invocation_index) lane: u32) {
    var own = 0.0;
    for (var i = lane; i < dims.n; i += 64u) {
        own += x[i];
    }
    lanes[lane] = own;
    workgroupBarrier(); // from here on a lane may read what others wrote
    for (var half = 32u; half > 0u; half /= 2u) {
        // HOLE: each lane below `half` adds the number that lies `half` above its own. The others must not write: their number may
        // be read at the same moment.
        if (lane < half) {
            lanes[lane] += lanes[lane + half];
        }
        // END
        workgroupBarrier();
    }
    if (lane == 0u) {
        y[0] = lanes[0];
    }
}
