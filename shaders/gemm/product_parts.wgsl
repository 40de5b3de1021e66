// product_parts.wgsl: out = epilogue(Σ over parts of partial[part]): the second pass of a product whose inner axis was cut up.
//
// in      partial (parts, rows, n) f32: sums of a product kernel over each part of k
//         bias (n), residual and saved (rows, n): see lib/gemm/epilogue.wgsl
// out     out (rows, n) f32, or f16 (OUT_HALF)
// launch  one invocation per element of out, or four of them (OUT4)
// memory  none
// cost    parts additions and 4·(parts + 1) bytes per element
// numeric four sums of every fourth part, each in order, then these in order: two runs give the same bits
// source  ours; "split-K"

#import grid
#import half

struct Dims { size: u32, n: u32, parts: u32 } // in units of T
@group(0) @binding(0) var<uniform> dims: Dims;
#import gemm/epilogue
@group(0) @binding(1) var<storage, read> partial: array<T>;
@group(0) @binding(2) var<storage, read> bias: array<T>;
@group(0) @binding(3) var<storage, read> residual: array<T>;
@group(0) @binding(4) var<storage, read> saved: array<T>;
#if OUT_HALF
@group(0) @binding(5) var<storage, read_write> out: array<vec2u>; // with OUT4
#else
@group(0) @binding(5) var<storage, read_write> out: array<T>;
#endif
override ROUND: u32 = 0u; // 1: the product is rounded to f16

#if OUT4
fn rounded(v: vec4f) -> vec4f { return unpack_four(pack_four(v)); }
#else
fn rounded(v: f32) -> f32 { return unpack_one(pack_half(vec2f(v, 0.0)), 0u); }
#endif

@compute @workgroup_size(256)
fn product_parts(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
                 @builtin(local_invocation_index) local: u32) {
    let i = linear_index(group, groups, local);
    if (i >= dims.size) {
        return;
    }
    var a = T();
    var b = T();
    var c = T();
    var d = T();
    var part = 0u;
    for (; part + 4u <= dims.parts; part += 4u) {
        let at = part * dims.size + i;
        a += partial[at];
        b += partial[at + dims.size];
        c += partial[at + 2u * dims.size];
        d += partial[at + 3u * dims.size];
    }
    for (; part < dims.parts; part += 1u) {
        a += partial[part * dims.size + i];
    }
    var total = (a + b) + (c + d);
    if (ROUND == 1u) {
        total = rounded(total);
    }
    let result = finish(total, i % dims.n, i);
#if OUT_HALF
    out[i] = pack_four(result);
#else
    out[i] = result;
#endif
}
