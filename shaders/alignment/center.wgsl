// center.wgsl: Xc = X − 1 meanᵀ: every column (feature) of a batch made to sum to 0. Of one layer (ONE), or of up to seven.
//
// in      x0..x6 (n, p) f32: activations of a layer each, one row per example; with ONE x0 alone
// out     out f32: the centered layers, each at its start
// launch  workgroups of SIZE: SIZE / LANES neighboring columns (VEC4: fours of columns, when p is a multiple of 4), LANES
//         invocations share a column and stride over its rows. 256 and 8 to 32; on software adapters 32 and 1, so that
//         all threads have work. A row of workgroups for each layer, as many as the widest needs
// memory  256 sums: 1 KiB, VEC4 4 KiB
// cost    3 flop and 12 bytes per element: bound by memory; of small layers by the launch, hence several at once
// numeric differences from the first row are summed, so a large common offset costs no digits; fixed order of sums
// source  definition

#if VEC4
alias T = vec4f;
#else
alias T = f32;
#endif

struct Dims { n: u32, layers: array<vec4u, 4> } // two layers each: p and start in units of T, then those of the next
@group(0) @binding(0) var<uniform> dims: Dims;
@group(0) @binding(1) var<storage, read> x0: array<T>;
@group(0) @binding(2) var<storage, read> x1: array<T>;
@group(0) @binding(3) var<storage, read> x2: array<T>;
@group(0) @binding(4) var<storage, read> x3: array<T>;
@group(0) @binding(5) var<storage, read> x4: array<T>;
@group(0) @binding(6) var<storage, read> x5: array<T>;
@group(0) @binding(7) var<storage, read> x6: array<T>;
@group(0) @binding(8) var<storage, read_write> out: array<T>;
#import grid

override SIZE: u32 = 256u;
override LANES: u32 = 1u;
var<workgroup> sums: array<T, 256>;

// Residues of rounding equal numbers (3 to 7 units in the last place of the mean) are set to zero: a constant activation has
// no direction, and CKA's gradient would magnify that rounding by 1 / |x − mean|.
fn centered(value: T, mean: T) -> T {
    let difference = value - mean;
    return select(difference, T(0.0), abs(difference) <= T(4e-7) * abs(mean));
}

fn load(layer: u32, i: u32) -> T {
#if ONE
    return x0[i];
#else
    switch layer {
        case 0u: { return x0[i]; }
        case 1u: { return x1[i]; }
        case 2u: { return x2[i]; }
        case 3u: { return x3[i]; }
        case 4u: { return x4[i]; }
        case 5u: { return x5[i]; }
        default: { return x6[i]; }
    }
#endif
}

@compute @workgroup_size(SIZE)
fn center(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
          @builtin(local_invocation_index) local: u32) {
    let width = SIZE / LANES;
#if ONE
    let layer = 0u;
    let column = linear_group(group, groups) * width + local % width;
#else
    let layer = group.y;
    let column = group.x * width + local % width;
#endif
    let two = dims.layers[layer / 2u];
    let p = select(two.x, two.z, layer % 2u == 1u);
    let start = select(two.y, two.w, layer % 2u == 1u);
    let at = min(column, p - 1u); // idle invocations redo the last column: barriers need all invocations
    let lane = local / width;
    let first = load(layer, at);
    var sum = T(0.0);
    for (var row = lane; row < dims.n; row += LANES) {
        sum += load(layer, row * p + at) - first;
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
    if (column < p) {
        for (var row = lane; row < dims.n; row += LANES) {
            out[start + row * p + at] = centered(load(layer, row * p + at), mean);
        }
    }
}
