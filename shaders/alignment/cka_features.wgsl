// cka_features.wgsl: linear CKA of two layers from products of their features, and what its gradient needs:
//   c = |T|² / (|A| |B|),  A = XᵀX, B = YᵀY, T = YᵀX of centered activations; computed on A' = A a⁻, B' = B b⁻, T' = T t⁻
//   with a⁻ = 1 / max|A| and so on
//
// in      a (p, p), b (q, q), t (q, p) f32
// out     stats (8) f32: c, a⁻, b⁻, w = a⁻ b⁻ / (t⁻ |A'| |B'|), c/|A'|², c/|B'|², 1 if A or B is zero, t⁻
//         dc/dX = 2 (w Y T' − (c/|A'|²) a⁻ X A'), see cka_features_grad.wgsl
//         PARTIAL: 6 words for each workgroup instead, see lib/alignment/cka_features.wgsl; cka_features_combine.wgsl joins them
// launch  workgroups of 256 that own a part of each matrix; invocation i takes elements i, i + 256, … of it
// memory  1 KiB: one partial result per invocation
// cost    2 flop and 4 bytes per element of each matrix; elements are read twice, the second time from cache
// numeric a zero A or B (constant layer) gives c = 0 and a zero gradient, as does T = 0; NaN in, NaN out
// source  Kornblith et al. 2019, arXiv:1905.00414, section 3; the gradient is derived in docs/alignment.md

#import grid
#import reduce
#import alignment/cka_features

struct Dims { a: u32, b: u32, t: u32, a_chunk: u32, b_chunk: u32, t_chunk: u32, groups: u32 } // elements; of a workgroup
@group(0) @binding(0) var<uniform> dims: Dims;
@group(0) @binding(1) var<storage, read> a: array<f32>;
@group(0) @binding(2) var<storage, read> b: array<f32>;
@group(0) @binding(3) var<storage, read> t: array<f32>;
@group(0) @binding(4) var<storage, read_write> stats: array<f32>;

override PARTIAL: u32 = 0u;

// The part of a matrix that workgroup `number` owns.
fn part(number: u32, chunk: u32, elements: u32) -> vec2u {
    return min(vec2u(number, number + 1u) * chunk, vec2u(elements));
}

@compute @workgroup_size(256)
fn cka_features(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
                @builtin(local_invocation_index) local: u32) {
    let number = linear_group(group, groups);
    let in_a = part(number, dims.a_chunk, dims.a);
    let in_b = part(number, dims.b_chunk, dims.b);
    let in_t = part(number, dims.t_chunk, dims.t);
    var sums: Sums;
    for (var i = in_a.x + local; i < in_a.y; i += 256u) {
        sums.a_max = nan_max(sums.a_max, abs(a[i]));
    }
    for (var i = in_b.x + local; i < in_b.y; i += 256u) {
        sums.b_max = nan_max(sums.b_max, abs(b[i]));
    }
    for (var i = in_t.x + local; i < in_t.y; i += 256u) {
        sums.t_max = nan_max(sums.t_max, abs(t[i]));
    }
    sums.a_max = lane_max(local, 1u, sums.a_max);
    sums.b_max = lane_max(local, 1u, sums.b_max);
    sums.t_max = lane_max(local, 1u, sums.t_max);
    let scale = vec3f(scale_of(sums.a_max), scale_of(sums.b_max), scale_of(sums.t_max));
    for (var i = in_a.x + local; i < in_a.y; i += 256u) {
        let v = a[i] * scale.x;
        sums.aa += v * v;
    }
    for (var i = in_b.x + local; i < in_b.y; i += 256u) {
        let v = b[i] * scale.y;
        sums.bb += v * v;
    }
    for (var i = in_t.x + local; i < in_t.y; i += 256u) {
        let v = t[i] * scale.z;
        sums.tt += v * v;
    }
    sums.aa = lane_sum(local, 1u, sums.aa);
    sums.bb = lane_sum(local, 1u, sums.bb);
    sums.tt = lane_sum(local, 1u, sums.tt);
    if (local != 0u || number >= dims.groups) {
        return;
    }
    if (PARTIAL == 1u) {
        let words = array<f32, 6>(sums.a_max, sums.b_max, sums.t_max, sums.aa, sums.bb, sums.tt);
        for (var i = 0u; i < 6u; i += 1u) {
            stats[number * 6u + i] = words[i];
        }
        return;
    }
    var result = finish_cka(sums);
    for (var i = 0u; i < 8u; i += 1u) {
        stats[i] = result[i];
    }
}
