// cka_combine.wgsl: joins the partial sums of cka.wgsl:  max|K| = max over g of k_g,  |K'|² = Σ kk_g (k_g / max|K|)², …
//
// in      partial (entries, groups, 5) f32: k_max, l_max, kk, ll, kl of each workgroup
// out     stats (entries, 8) f32, see cka.wgsl
// launch  one workgroup of 256 for each entry (grid's z); invocation i takes partials i, i + 256, …
// memory  1 KiB
// cost    20 bytes per partial
// numeric each partial is scaled by its own maximum; rescaling divides by the greatest, so nothing overflows
// source  the rescaling is that of Milakov and Gimelshein 2018, arXiv:1805.02867

#import reduce
#import alignment/cka

struct Dims { groups: u32 }
@group(0) @binding(0) var<uniform> dims: Dims;
@group(0) @binding(1) var<storage, read> partial: array<f32>;
@group(0) @binding(2) var<storage, read_write> stats: array<f32>;

@compute @workgroup_size(256)
fn cka_combine(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) local: u32) {
    let first = 5u * dims.groups * group.z;
    var sums: Sums;
    for (var i = local; i < dims.groups; i += 256u) {
        sums.k_max = nan_max(sums.k_max, partial[first + 5u * i]);
        sums.l_max = nan_max(sums.l_max, partial[first + 5u * i + 1u]);
    }
    sums.k_max = lane_max(local, 1u, sums.k_max);
    sums.l_max = lane_max(local, 1u, sums.l_max);
    let k_scale = select(1.0 / sums.k_max, 0.0, sums.k_max == 0.0);
    let l_scale = select(1.0 / sums.l_max, 0.0, sums.l_max == 0.0);
    for (var i = local; i < dims.groups; i += 256u) {
        let p = partial[first + 5u * i] * k_scale;
        let q = partial[first + 5u * i + 1u] * l_scale;
        sums.kk += p * p * partial[first + 5u * i + 2u];
        sums.ll += q * q * partial[first + 5u * i + 3u];
        sums.kl += p * q * partial[first + 5u * i + 4u];
    }
    sums.kk = lane_sum(local, 1u, sums.kk);
    sums.ll = lane_sum(local, 1u, sums.ll);
    sums.kl = lane_sum(local, 1u, sums.kl);
    if (local == 0u) {
        var result = finish_cka(sums);
        for (var i = 0u; i < 8u; i += 1u) {
            stats[8u * group.z + i] = result[i];
        }
    }
}
