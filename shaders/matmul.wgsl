// matmul.wgsl: out[b] = epilogue(op(lhs[b]) · op(rhs[b])), blocked in registers.
//
// in      lhs (batch, m, k), or (batch, k, m) for TN; rhs (batch, k, n), or (batch, n, k) for NT; each f32 or f16
//         bias (n), residual and saved (batch, m, n): see lib/epilogue.wgsl
// out     out (batch, m, n) f32, or f16 (OUT_HALF)
// launch  SUBGROUP: ceil(n/32) x ceil(m/64) x batch workgroups of 8 x 4, see lib/product_subgroup.wgsl
//         else:     ceil(n/64) x ceil(m/64) x batch workgroups of 16 x 16, see lib/product_tiled.wgsl
//         WIDE:     blocks of 128 x 128, see lib/product_wide.wgsl
// memory  SUBGROUP: none; else 8 KiB
// cost    2·m·n·k flop; lhs is read n/32 or n/64 times, rhs m/16 or m/64 times
// numeric f32 sums in order of k, also of f16; with ROUND they are rounded to f16 before anything else happens to them
// source  Goto and van de Geijn 2008; Volkov and Demmel 2008

struct Dims { m: u32, n: u32, k: u32, lhs_batch: u32, rhs_batch: u32, rhs_row: u32, k_start: u32, k_end: u32 }
@group(0) @binding(0) var<uniform> dims: Dims;
#import half
// By fours, LHS4: LHS_K4 (NN and NT, k a multiple of 4) or LHS_R4 (TN, m and k).
#if LHS_HALF4
@group(0) @binding(1) var<storage, read> lhs: array<vec2u>;
fn lhs_four(i: u32) -> vec4f { return unpack_four(lhs[i]); }
#elif LHS_HALF
@group(0) @binding(1) var<storage, read> lhs: array<u32>;
fn lhs_one(i: u32) -> f32 { return unpack_one(lhs[i / 2u], i); }
#elif LHS4
@group(0) @binding(1) var<storage, read> lhs: array<vec4f>;
fn lhs_four(i: u32) -> vec4f { return lhs[i]; }
#else
@group(0) @binding(1) var<storage, read> lhs: array<f32>;
fn lhs_one(i: u32) -> f32 { return lhs[i]; }
#endif
// By fours: K4 (NT, with LHS_K4), or RHS4 (NN and TN, n a multiple of 4).
#if RHS_HALF4
@group(0) @binding(2) var<storage, read> rhs: array<vec2u>;
fn rhs_four(i: u32) -> vec4f { return unpack_four(rhs[i]); }
#elif RHS_HALF
@group(0) @binding(2) var<storage, read> rhs: array<u32>;
fn rhs_one(i: u32) -> f32 { return unpack_one(rhs[i / 2u], i); }
#elif K4
@group(0) @binding(2) var<storage, read> rhs: array<vec4f>;
fn rhs_four(i: u32) -> vec4f { return rhs[i]; }
#elif RHS4
@group(0) @binding(2) var<storage, read> rhs: array<vec4f>;
fn rhs_four(i: u32) -> vec4f { return rhs[i]; }
#else
@group(0) @binding(2) var<storage, read> rhs: array<f32>;
fn rhs_one(i: u32) -> f32 { return rhs[i]; }
#endif
#import epilogue
@group(0) @binding(3) var<storage, read> bias: array<T>; // OUT4: n is a multiple of 4
@group(0) @binding(4) var<storage, read> residual: array<T>;
@group(0) @binding(5) var<storage, read> saved: array<T>;
#if OUT_HALF
@group(0) @binding(6) var<storage, read_write> out: array<vec2u>; // with OUT4, never with CONTINUE
fn before(at: u32) -> T { return T(); }
fn put(at: u32, v: T) { out[at] = pack_four(v); }
#else
@group(0) @binding(6) var<storage, read_write> out: array<T>;
fn before(at: u32) -> T { return out[at]; }
fn put(at: u32, v: T) { out[at] = v; }
#endif
#import product

override LAYOUT: u32 = 0u;   // 0 NN, 1 NT, 2 TN
override CONTINUE: u32 = 0u; // 1: an earlier dispatch has summed over k < k_start
override ROUND: u32 = 0u;    // 1: the product is rounded to f16
var<private> batch: u32;
var<private> first_col: u32;
var<private> rhs_now: u32; // where rhs_at reads next

fn skip(row: u32, rows: u32, col: u32) -> bool {
    return false;
}
fn columns(cols: vec4u) {
    first_col = cols.x;
}

#if LHS4
fn lhs4_at(row: u32, k: u32) -> vec4f {
    return lhs_four(batch * (dims.lhs_batch / 4u) + row * (dims.k / 4u) + k / 4u);
}
fn rows4_at(row: u32, k: u32) -> vec4f {
    return lhs_four((batch * dims.lhs_batch + k * dims.m + row) / 4u);
}
#else
fn lhs_at(row: u32, k: u32) -> f32 {
    if (LAYOUT == 2u) {
        return lhs_one(batch * dims.lhs_batch + k * dims.m + row);
    }
    return lhs_one(batch * dims.lhs_batch + row * dims.k + k);
}
#endif

#if K4
fn seek(k: u32) {}
fn advance() {}
fn rhs4_at(col: u32, k: u32) -> vec4f {
    return rhs_four(batch * (dims.rhs_batch / 4u) + col * (dims.k / 4u) + k / 4u);
}
#elif RHS4
// A pointer that moves is cheaper than a product for each k.
fn seek(k: u32) {
    rhs_now = (batch * dims.rhs_batch + k * dims.rhs_row + first_col) / 4u;
}
fn advance() {
    rhs_now += dims.rhs_row / 4u;
}
fn rhs_at(k: u32, cols: vec4u) -> vec4f {
    return rhs_four(rhs_now);
}
#else
fn seek(k: u32) {}
fn advance() {}
fn rhs_at(k: u32, cols: vec4u) -> vec4f {
    var at = batch * dims.rhs_batch + k * dims.n + cols;
    if (LAYOUT == 1u) {
        at = batch * dims.rhs_batch + cols * dims.k + k;
    }
    return vec4f(rhs_one(at.x), rhs_one(at.y), rhs_one(at.z), rhs_one(at.w));
}
#endif

#if OUT4
fn store(row: u32, col: u32, sums: vec4f) {
    let at = ((batch * dims.m + row) * dims.n + col) / 4u;
    var total = sums;
    if (CONTINUE == 1u) {
        total += before(at);
    }
    if (ROUND == 1u) {
        total = unpack_four(pack_four(total));
    }
    put(at, finish(total, col / 4u, at));
}
#else
fn store(row: u32, col: u32, sums: vec4f) {
    for (var j = 0u; j < min(4u, dims.n - col); j += 1u) {
        let at = (batch * dims.m + row) * dims.n + col + j;
        var total = sums[j];
        if (CONTINUE == 1u) {
            total += before(at);
        }
        if (ROUND == 1u) {
            total = unpack_one(pack_half(vec2f(total, 0.0)), 0u);
        }
        put(at, finish(total, col + j, at));
    }
}
#endif

@compute @workgroup_size(WIDTH, HEIGHT)
fn matmul(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_id) local: vec3u) {
    batch = group.z;
    product(group.xy, local.xy, dims.m, dims.n, dims.k_start, dims.k_end);
}
