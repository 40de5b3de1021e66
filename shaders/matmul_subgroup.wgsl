// matmul_subgroup.wgsl: out[b] = epilogue(op(lhs[b]) · op(rhs[b])) in registers, for subgroups of exactly 8 (lavapipe).
//
// in      lhs (batch, m, k), or (batch, k, m) for TN; rhs (batch, k, n), or (batch, n, k) for NT; f32
//         bias (n), residual and saved (batch, m, n): see lib/epilogue.wgsl
// out     out (batch, m, n) f32
// launch  ceil(n/32) x ceil(m/64) x batch workgroups of 8 x 4. A row of 8 invocations is a subgroup and owns 16 rows
//         by 32 columns of out; each invocation owns 4 neighbouring columns of them, 64 sums in registers. Per k an
//         invocation loads 4 elements of rhs and 2 of lhs, and hears the other 14 rows of lhs from its neighbours.
// memory  none: on a CPU workgroup memory is memory like any other, and a barrier is a switch of coroutines
// cost    2·m·n·k flop; 64 multiply-adds per 6 loads, so arithmetic and not loading decides
// numeric f32 sums in order of k
// source  register blocking: Goto and van de Geijn 2008, "Anatomy of high-performance matrix multiplication"

struct Dims { m: u32, n: u32, k: u32, lhs_batch: u32, rhs_batch: u32, k_chunk: u32 }
@group(0) @binding(0) var<uniform> dims: Dims;
@group(0) @binding(1) var<storage, read> lhs: array<f32>;
#if VEC4
@group(0) @binding(2) var<storage, read> rhs: array<vec4f>;
#else
@group(0) @binding(2) var<storage, read> rhs: array<f32>;
#endif
@group(0) @binding(3) var<storage, read> bias: array<f32>;
@group(0) @binding(4) var<storage, read> residual: array<f32>;
@group(0) @binding(5) var<storage, read> saved: array<f32>;
@group(0) @binding(6) var<storage, read_write> out: array<f32>;
#import epilogue

override LAYOUT: u32 = 0u; // 0 NN, 1 NT, 2 TN

@compute @workgroup_size(8, 4)
fn matmul_subgroup(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_id) local: vec3u) {
    let lane = local.x;
    let row = (group.y * 4u + local.y) * 16u;
    let col = group.x * 32u + lane * 4u;
    // Edges: what lies outside is read from the last row or column and never stored.
    let last_row = dims.m - 1u;
    let last_col = dims.n - 1u;
    var l = group.z * dims.lhs_batch + vec2u(min(row + lane, last_row), min(row + lane + 8u, last_row)) * dims.k;
    var l_step = 1u;
    if (LAYOUT == 2u) {
        l = group.z * dims.lhs_batch + vec2u(min(row + lane, last_row), min(row + lane + 8u, last_row));
        l_step = dims.m;
    }
    let cols = min(vec4u(col, col + 1u, col + 2u, col + 3u), vec4u(last_col));
    var r = group.z * dims.rhs_batch + cols;
    var r_step = dims.n;
    if (LAYOUT == 1u) {
        r = group.z * dims.rhs_batch + cols * dims.k;
        r_step = 1u;
    }
    var sums: array<vec4f, 16>;
    for (var i = 0u; i < dims.k; i += 1u) {
        let p = lhs[l.x];
        let q = lhs[l.y];
        l += l_step;
#if VEC4
        let b = rhs[r.x / 4u];
#else
        let b = vec4f(rhs[r.x], rhs[r.y], rhs[r.z], rhs[r.w]);
#endif
        r += r_step;
        sums[0] += subgroupBroadcast(p, 0u) * b;
        sums[1] += subgroupBroadcast(p, 1u) * b;
        sums[2] += subgroupBroadcast(p, 2u) * b;
        sums[3] += subgroupBroadcast(p, 3u) * b;
        sums[4] += subgroupBroadcast(p, 4u) * b;
        sums[5] += subgroupBroadcast(p, 5u) * b;
        sums[6] += subgroupBroadcast(p, 6u) * b;
        sums[7] += subgroupBroadcast(p, 7u) * b;
        sums[8] += subgroupBroadcast(q, 0u) * b;
        sums[9] += subgroupBroadcast(q, 1u) * b;
        sums[10] += subgroupBroadcast(q, 2u) * b;
        sums[11] += subgroupBroadcast(q, 3u) * b;
        sums[12] += subgroupBroadcast(q, 4u) * b;
        sums[13] += subgroupBroadcast(q, 5u) * b;
        sums[14] += subgroupBroadcast(q, 6u) * b;
        sums[15] += subgroupBroadcast(q, 7u) * b;
    }
    for (var i = 0u; i < 16u; i += 1u) {
        for (var j = 0u; j < 4u; j += 1u) {
            let at = (group.z * dims.m + row + i) * dims.n + col + j;
            if (row + i < dims.m && col + j < dims.n) {
                out[at] = finish(sums[i][j], col + j, at);
            }
        }
    }
}
