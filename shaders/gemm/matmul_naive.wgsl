// matmul_naive.wgsl: out[b] = epilogue(op(lhs[b]) · op(rhs[b])), one invocation per element. The simplest kernel, and the baseline.
//
// in      lhs (batch, m, k), or (batch, k, m) for TN; rhs (batch, k, n), or (batch, n, k) for NT; f32
//         bias (n), residual and saved (batch, m, n): see lib/gemm/epilogue.wgsl
// out     out (batch, m, n) f32
// launch  ceil(n/16) x ceil(m/16) x batch workgroups of 16 x 16
// memory  none
// cost    2·m·n·k flop; every row of lhs is read n times and every column of rhs m times: bound by memory
// numeric f32 sums in order of k
// source  definition

struct Dims { m: u32, n: u32, k: u32, lhs_batch: u32, rhs_batch: u32 }
@group(0) @binding(0) var<uniform> dims: Dims;
@group(0) @binding(1) var<storage, read> lhs: array<f32>;
@group(0) @binding(2) var<storage, read> rhs: array<f32>;
@group(0) @binding(3) var<storage, read> bias: array<f32>;
@group(0) @binding(4) var<storage, read> residual: array<f32>;
@group(0) @binding(5) var<storage, read> saved: array<f32>;
@group(0) @binding(6) var<storage, read_write> out: array<f32>;
#import gemm/epilogue

override LAYOUT: u32 = 0u; // 0 NN, 1 NT, 2 TN

@compute @workgroup_size(16, 16)
fn matmul_naive(@builtin(global_invocation_id) id: vec3u) {
    let col = id.x;
    let row = id.y;
    if (row >= dims.m || col >= dims.n) {
        return;
    }
    var l = id.z * dims.lhs_batch + row * dims.k; // position of (row, 0), and the step to (row, 1)
    var l_step = 1u;
    if (LAYOUT == 2u) {
        l = id.z * dims.lhs_batch + row;
        l_step = dims.m;
    }
    var r = id.z * dims.rhs_batch + col; // position of (0, col), and the step to (1, col)
    var r_step = dims.n;
    if (LAYOUT == 1u) {
        r = id.z * dims.rhs_batch + col * dims.k;
        r_step = 1u;
    }
    var sum = 0.0;
    for (var i = 0u; i < dims.k; i += 1u) {
        sum += lhs[l + i * l_step] * rhs[r + i * r_step];
    }
    let at = (id.z * dims.m + row) * dims.n + col;
    out[at] = finish(sum, col, at);
}
