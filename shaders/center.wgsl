// center.wgsl: Xc = X − 1 meanᵀ: every column (feature) of a batch made to sum to 0.
//
// in      x (n, p) f32: activations of one layer, one row per example
// out     out (n, p) f32
// launch  workgroups of SIZE: SIZE / LANES neighbouring columns (VEC4: fours of columns, when p is a multiple of 4), LANES
//         invocations share a column and stride over its rows. 256 and 8; on software adapters 32 and 1, so that all
//         threads have work
// memory  256 sums: 1 KiB, VEC4 4 KiB
// cost    3 flop and 12 bytes per element: bound by memory
// numeric differences from the first row are summed, so a large common offset costs no digits; fixed order of sums
// source  definition

#if VEC4
alias T = vec4f;
#else
alias T = f32;
#endif

struct Dims { n: u32, p: u32 } // p in units of T
@group(0) @binding(0) var<uniform> dims: Dims;
@group(0) @binding(1) var<storage, read> x: array<T>;
@group(0) @binding(2) var<storage, read_write> out: array<T>;
#import grid

override SIZE: u32 = 256u;
override LANES: u32 = 1u;
var<workgroup> sums: array<T, 256>;

// What is left of equal numbers by rounding (4 units in the last place of the mean) is zero: a constant activation has
// no direction, and CKA's gradient would blow that rounding up by 1 / |x − mean|.
fn centered(value: T, mean: T) -> T {
    let difference = value - mean;
    return select(difference, T(0.0), abs(difference) <= T(4e-7) * abs(mean));
}

@compute @workgroup_size(SIZE)
fn center(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
          @builtin(local_invocation_index) local: u32) {
    let width = SIZE / LANES;
    let column = linear_group(group, groups) * width + local % width;
    let at = min(column, dims.p - 1u); // idle invocations redo the last column: barriers need everyone
    let lane = local / width;
    let first = x[at];
    var sum = T(0.0);
    for (var row = lane; row < dims.n; row += LANES) {
        sum += x[row * dims.p + at] - first;
    }
    if (LANES > 1u) {
        sums[local] = sum;
        workgroupBarrier();
        sum = T(0.0);
        for (var i = 0u; i < LANES; i += 1u) {
            sum += sums[i * width + local % width];
        }
    }
    let mean = first + sum / T(f32(dims.n));
    if (column < dims.p) {
        for (var row = lane; row < dims.n; row += LANES) {
            out[row * dims.p + at] = centered(x[row * dims.p + at], mean);
        }
    }
}
