// matmul_naive.wgsl: out[b] = epilogue(op(lhs[b]) · op(rhs[b])), one invocation per output element. The lesson and the baseline.
//
// in      lhs (batch, m, k), or (batch, k, m) for TN; rhs (batch, k, n), or (batch, n, k) for NT; f32
//         bias (n), residual and saved (batch, m, n): see the epilogue
// out     out (batch, m, n) f32
// launch  ceil(n/16) x ceil(m/16) x batch workgroups of 16 x 16
// memory  none
// cost    2·m·n·k flop; reads every row of lhs n times and every column of rhs m times
// numeric f32 sums in order of k
// source  definition

struct Dims { m: u32, n: u32, k: u32, lhs_batch: u32, rhs_batch: u32, k_chunk: u32 }
@group(0) @binding(0) var<uniform> dims: Dims;
@group(0) @binding(1) var<storage, read> lhs: array<f32>;
@group(0) @binding(2) var<storage, read> rhs: array<f32>;
@group(0) @binding(3) var<storage, read> bias: array<f32>;
@group(0) @binding(4) var<storage, read> residual: array<f32>;
@group(0) @binding(5) var<storage, read> saved: array<f32>;
@group(0) @binding(6) var<storage, read_write> out: array<f32>;

override LAYOUT: u32 = 0u; // 0 NN, 1 NT, 2 TN
override BIAS: u32 = 0u;
override RESIDUAL: u32 = 0u;
override ACT: u32 = 0u;
override GRAD: u32 = 0u;

@compute @workgroup_size(16, 16)
fn matmul_naive(@builtin(global_invocation_id) id: vec3u) {
    let col = id.x;
    let row = id.y;
    if (row >= dims.m || col >= dims.n) {
        return;
    }
    let l = id.z * dims.lhs_batch;
    let r = id.z * dims.rhs_batch;
    var sum = 0.0;
    for (var i = 0u; i < dims.k; i += 1u) {
        let p = select(lhs[l + row * dims.k + i], lhs[l + i * dims.m + row], LAYOUT == 2u);
        let q = select(rhs[r + i * dims.n + col], rhs[r + col * dims.k + i], LAYOUT == 1u);
        sum += p * q;
    }
    out[(id.z * dims.m + row) * dims.n + col] = sum;
}
