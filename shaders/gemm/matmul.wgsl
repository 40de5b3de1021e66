// matmul.wgsl: out[b] = epilogue(op(lhs[b]) · op(rhs[b])), blocked in registers.
//
// in      lhs (batch, m, k), or (batch, k, m) for TN; rhs (batch, k, n), or (batch, n, k) for NT; each f32 or f16
//         bias (n), residual and saved (batch, m, n): see lib/gemm/epilogue.wgsl
// out     out (batch, m, n) f32, or f16 (OUT_HALF)
// launch  SUBGROUP: ceil(n/32) x ceil(m/64) x batch workgroups of 8 x 4, see lib/gemm/product_subgroup.wgsl; TALL: of 8 x 2
//         BLOCK:    ceil(n/COLUMNS) x ceil(m/ROWS) x batch workgroups, see lib/gemm/product_block.wgsl
//         COOPERATIVE: the same, see lib/gemm/product_cooperative.wgsl
// memory  SUBGROUP, TALL: none; BLOCK: its two tiles
// cost    2·m·n·k flop; lhs is read n/32 (SUBGROUP, TALL) or n/COLUMNS times, rhs m/16 (SUBGROUP), m/32 (TALL) or m/ROWS times
// numeric f32 sums in order of k, also of f16; with ROUND they are rounded to f16 before the epilogue
// source  Goto and van de Geijn 2008; Volkov and Demmel 2008

#import gemm/extensions
struct Dims {
    m: u32, n: u32, k: u32, lhs_batch: u32, rhs_batch: u32, rhs_row: u32, k_start: u32, k_end: u32,
    batches: u32, part: u32 // a part of k for a workgroup of its own
}
@group(0) @binding(0) var<uniform> dims: Dims;
#import half
// By fours, LHS4: LHS_K4 (NN and NT, k a multiple of 4) or LHS_R4 (TN, m and k).
#if NATIVE
@group(0) @binding(1) var<storage, read> lhs: array<vec4<f16>>;
#elif LHS_HALF4
@group(0) @binding(1) var<storage, read> lhs: array<vec2u>;
#elif LHS_HALF
@group(0) @binding(1) var<storage, read> lhs: array<u32>;
#elif LHS4
@group(0) @binding(1) var<storage, read> lhs: array<vec4f>;
#else
@group(0) @binding(1) var<storage, read> lhs: array<f32>;
#endif
// By fours: K4 (NT, with LHS_K4), or RHS4 (NN and TN, n a multiple of 4).
#if NATIVE
@group(0) @binding(2) var<storage, read> rhs: array<vec4<f16>>;
#elif RHS_HALF4
@group(0) @binding(2) var<storage, read> rhs: array<vec2u>;
#elif RHS_HALF
@group(0) @binding(2) var<storage, read> rhs: array<u32>;
#elif K4
@group(0) @binding(2) var<storage, read> rhs: array<vec4f>;
#elif RHS4
@group(0) @binding(2) var<storage, read> rhs: array<vec4f>;
#else
@group(0) @binding(2) var<storage, read> rhs: array<f32>;
#endif
#import gemm/epilogue
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
#import gemm/product

override LAYOUT: u32 = 0u;   // 0 NN, 1 NT, 2 TN
override CONTINUE: u32 = 0u; // 1: an earlier dispatch has summed over k < k_start
override ROUND: u32 = 0u;    // 1: the product is rounded to f16
var<private> batch: u32;
var<private> matrix: u32; // of out: [part][batch]
#import gemm/matmul_sides

fn skip(row: u32, rows: u32, col: u32) -> bool {
    return false;
}

#if OUT4
fn store(row: u32, col: u32, sums: vec4f) {
    let at = ((matrix * dims.m + row) * dims.n + col) / 4u;
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
#unroll j 4
    if (col + $ju < dims.n) {
        let at = (matrix * dims.m + row) * dims.n + col + $ju;
        var total = sums[$j];
        if (CONTINUE == 1u) {
            total += before(at);
        }
        if (ROUND == 1u) {
            total = unpack_one(pack_half(vec2f(total, 0.0)), 0u);
        }
        put(at, finish(total, col + $ju, at));
    }
#end
}
#endif

@compute @workgroup_size(WIDTH, HEIGHT)
fn matmul(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
          @builtin(local_invocation_id) local: vec3u) {
    batch = group.z % dims.batches;
    matrix = group.z;
    let k = dims.k_start + group.z / dims.batches * dims.part;
#if NEAR
    product(near(group.xy, groups.xy), local.xy, dims.m, dims.n, k, min(k + dims.part, dims.k_end));
#else
    product(group.xy, local.xy, dims.m, dims.n, k, min(k + dims.part, dims.k_end));
#endif
}
