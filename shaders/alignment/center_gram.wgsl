// center_gram.wgsl: a Gram matrix K, centered in one of three ways. C is K, or with OFFSET K − K_12, r are
// the row sums of C from center_gram_sums.wgsl and t is their sum; ' means without the diagonal.
//   0 double       C_ij − r_i/n − r_j/n + t/n²                                             every row sums to 0
//   1 unbiased     C_ij − r'_i/(n−2) − r'_j/(n−2) + t'/((n−1)(n−2)), 0 on the diagonal     every row sums to 0
//   2 off-diagonal C_ij − t'/(n(n−1)), 0 on the diagonal                                   everything sums to 0
// All three are orthogonal projections, so each is its own gradient.
//
// in      k (entries, n, n) f32, symmetric; sums (entries, n) f32: r, or r'
// out     out (entries, n, n) f32
// launch  for each entry (grid's z) workgroups of 256; each adds up t, then strides over the elements with all others
// memory  1 KiB
// cost    5 flop and 8 bytes per element: bound by memory
// numeric f32; K of centered activations has r = 0 up to rounding, and loses nothing here
// source  0: Gretton et al. 2005; 1: Song et al. 2012 (JMLR 13), Szekely and Rizzo 2014, "U-centering";
//         2: Pearson correlation of dissimilarities, Kriegeskorte et al. 2008

#import grid
#import reduce

struct Dims { n: u32 }
@group(0) @binding(0) var<uniform> dims: Dims;
@group(0) @binding(1) var<storage, read> k: array<f32>;
@group(0) @binding(2) var<storage, read> sums: array<f32>;
@group(0) @binding(3) var<storage, read_write> out: array<f32>;

override CENTERING: u32 = 0u;
override OFFSET: u32 = 0u;
var<private> matrix: u32; // of this entry in k and out
var<private> vector: u32; // and in sums

@compute @workgroup_size(256)
fn center_gram(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
               @builtin(local_invocation_index) local: u32) {
    matrix = group.z * dims.n * dims.n;
    vector = group.z * dims.n;
    var total = 0.0;
    for (var i = local; i < dims.n; i += 256u) {
        total += sums[vector + i];
    }
    total = lane_sum(local, 1u, total);
    let n = f32(dims.n);
    let offset = select(0.0, k[matrix + min(1u, dims.n * dims.n - 1u)], OFFSET == 1u);
    for (var at = linear_index(group, groups, local); at < dims.n * dims.n; at += 256u * groups.x * groups.y) {
        let row = at / dims.n;
        let column = at % dims.n;
        var value = k[matrix + at] - offset;
        if (CENTERING == 0u) {
            value = (value - sums[vector + row] / n) - (sums[vector + column] / n - total / n / n);
        } else if (row == column) {
            value = 0.0;
        } else if (CENTERING == 1u) {
            value = (value - sums[vector + row] / (n - 2.0)) - (sums[vector + column] - total / (n - 1.0)) / (n - 2.0);
        } else {
            value -= total / n / (n - 1.0);
        }
        // Residues of rounding equal numbers are set to zero: equal examples have no structure.
        out[matrix + at] = select(value, 0.0, abs(value) <= 4e-7 * abs(k[matrix + at]));
    }
}
