// cka.wgsl: CKA of two centered Gram matrices, and what its gradient needs.
//   c = <K, L> / (|K| |L|), computed on K' = K k⁻ and L' = L l⁻ with k⁻ = 1 / max|K|, l⁻ = 1 / max|L|
//
// in      k, l (entries, n, n) f32: Gram matrices, centered as the measure requires (gram.wgsl,
//         center_gram.wgsl)
// out     stats (entries, 8) f32: c, k⁻, l⁻, u = 1/(|K'||L'|), c/|K'|², c/|L'|², 1 if a matrix is zero, 0
//         dc/dK = k⁻ (u L' − (c/|K'|²) K'), see cka_grad.wgsl
//         PARTIAL: 5 words for each workgroup instead, see lib/alignment/cka.wgsl; cka_combine.wgsl joins them
// launch  for each entry (grid's z) workgroups of 256 that own `chunk` elements each; invocation i takes elements i,
//         i + 256, … of them, VEC4: by fours
// memory  1 KiB: one partial result per invocation
// cost    6·n² flop, 8·n² bytes; the elements are read twice, the second time from cache
// numeric a zero matrix (constant layer) gives c = 0 and a zero gradient; NaN in, NaN out
// source  Kornblith et al. 2019, arXiv:1905.00414, section 3; the gradient is derived in docs/alignment.md

#import grid
#import reduce
#import alignment/cka

struct Dims { elements: u32, chunk: u32, groups: u32 } // of an entry, in units of T
@group(0) @binding(0) var<uniform> dims: Dims;
#if VEC4
alias T = vec4f; // n² is a multiple of 4
fn sum_of(x: T) -> f32 {
    return (x.x + x.y) + (x.z + x.w);
}
fn greatest_of(x: T) -> f32 {
    return nan_max(nan_max(x.x, x.y), nan_max(x.z, x.w));
}
fn greater_of(x: T, y: T) -> T {
    return T(nan_max(x.x, y.x), nan_max(x.y, y.y), nan_max(x.z, y.z), nan_max(x.w, y.w));
}
#else
alias T = f32;
fn sum_of(x: T) -> f32 {
    return x;
}
fn greatest_of(x: T) -> f32 {
    return x;
}
fn greater_of(x: T, y: T) -> T {
    return nan_max(x, y);
}
#endif
@group(0) @binding(1) var<storage, read> k: array<T>;
@group(0) @binding(2) var<storage, read> l: array<T>;
@group(0) @binding(3) var<storage, read_write> stats: array<f32>;

override PARTIAL: u32 = 0u;

@compute @workgroup_size(256)
fn cka(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
       @builtin(local_invocation_index) local: u32) {
    let number = linear_group(group, groups);
    let first = group.z * dims.elements;
    let start = first + min(number * dims.chunk, dims.elements);
    let end = first + min((number + 1u) * dims.chunk, dims.elements);
    var k_max = T();
    var l_max = T();
    for (var i = start + local; i < end; i += 256u) {
        k_max = greater_of(k_max, abs(k[i]));
        l_max = greater_of(l_max, abs(l[i]));
    }
    var sums: Sums;
    sums.k_max = lane_max(local, 1u, greatest_of(k_max));
    sums.l_max = lane_max(local, 1u, greatest_of(l_max));
    // A zero chunk stays zero.
    let k_scale = select(1.0 / sums.k_max, 0.0, sums.k_max == 0.0);
    let l_scale = select(1.0 / sums.l_max, 0.0, sums.l_max == 0.0);
    var kk = T();
    var ll = T();
    var kl = T();
    for (var i = start + local; i < end; i += 256u) {
        let p = k[i] * k_scale;
        let q = l[i] * l_scale;
        kk += p * p;
        ll += q * q;
        kl += p * q;
    }
    sums.kk = lane_sum(local, 1u, sum_of(kk));
    sums.ll = lane_sum(local, 1u, sum_of(ll));
    sums.kl = lane_sum(local, 1u, sum_of(kl));
    if (local != 0u || number >= dims.groups) {
        return;
    }
    if (PARTIAL == 1u) {
        let at = (group.z * dims.groups + number) * 5u;
        stats[at] = sums.k_max;
        stats[at + 1u] = sums.l_max;
        stats[at + 2u] = sums.kk;
        stats[at + 3u] = sums.ll;
        stats[at + 4u] = sums.kl;
        return;
    }
    var result = finish_cka(sums);
    for (var i = 0u; i < 8u; i += 1u) {
        stats[8u * group.z + i] = result[i];
    }
}
