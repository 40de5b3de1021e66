// cka_features_combine.wgsl: joins the partial sums of cka_features.wgsl:  max|A| = max over g of a_g,
//   |A'|² = Σ aa_g (a_g / max|A|)², …
//
// in      partial (groups, 6) f32: a_max, b_max, t_max, aa, bb, tt of each workgroup
// out     stats (8) f32, see cka_features.wgsl
// launch  one workgroup of 256; invocation i takes partials i, i + 256, …
// memory  1 KiB
// cost    24 bytes per partial
// numeric each partial is scaled by its own maximum; rescaling divides by the greatest, so nothing overflows
// source  the rescaling is that of Milakov and Gimelshein 2018, arXiv:1805.02867

#import reduce
#import alignment/cka_features

struct Dims { groups: u32 }
@group(0) @binding(0) var<uniform> dims: Dims;
@group(0) @binding(1) var<storage, read> partial: array<f32>;
@group(0) @binding(2) var<storage, read_write> stats: array<f32>;

@compute @workgroup_size(256)
fn cka_features_combine(@builtin(local_invocation_index) local: u32) {
    var sums: Sums;
    for (var i = local; i < dims.groups; i += 256u) {
        sums.a_max = nan_max(sums.a_max, partial[6u * i]);
        sums.b_max = nan_max(sums.b_max, partial[6u * i + 1u]);
        sums.t_max = nan_max(sums.t_max, partial[6u * i + 2u]);
    }
    sums.a_max = lane_max(local, 1u, sums.a_max);
    sums.b_max = lane_max(local, 1u, sums.b_max);
    sums.t_max = lane_max(local, 1u, sums.t_max);
    let scale = vec3f(scale_of(sums.a_max), scale_of(sums.b_max), scale_of(sums.t_max));
    for (var i = local; i < dims.groups; i += 256u) {
        let r = vec3f(partial[6u * i], partial[6u * i + 1u], partial[6u * i + 2u]) * scale;
        sums.aa += r.x * r.x * partial[6u * i + 3u];
        sums.bb += r.y * r.y * partial[6u * i + 4u];
        sums.tt += r.z * r.z * partial[6u * i + 5u];
    }
    sums.aa = lane_sum(local, 1u, sums.aa);
    sums.bb = lane_sum(local, 1u, sums.bb);
    sums.tt = lane_sum(local, 1u, sums.tt);
    if (local == 0u) {
        var result = finish_cka(sums);
        for (var i = 0u; i < 8u; i += 1u) {
            stats[i] = result[i];
        }
    }
}
