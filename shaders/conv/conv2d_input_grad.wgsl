// conv2d_input_grad.wgsl: dx[b, c, i, j] = epilogue(Σ w[o, c, ky, kx] · dy[b, o, p, q]) over the taps with
// p·stride + ky − padding = i and q·stride + kx − padding = j.
//
// in      dy (batch, out_channels, rows, columns), w (out_channels, m, kh, kw); f32
//         bias, residual and saved: see lib/gemm/epilogue.wgsl
// out     dx (batch, m, height, width) f32
// launch  the product Wᵀ (m x k) · Q (k x n) where k counts (o, ky, kx), n counts (b, i, j) and Q is read out of dy in
//         place. SUBGROUP: ceil(n/32) x ceil(m/64) workgroups of 8 x 4, see lib/gemm/product_subgroup.wgsl; TALL: of 8 x 2
//         BLOCK:    ceil(n/COLUMNS) x ceil(m/ROWS) workgroups, see lib/gemm/product_block.wgsl
// memory  SUBGROUP, TALL: none; BLOCK: its two tiles
// cost    2·m·n·k flop, of which 1 in stride² is not a product with zero
// numeric f32 sums in order of k
// source  Chetlur et al. 2014, "cuDNN", arXiv:1410.0759, section 3.1 (implicit GEMM)

@group(0) @binding(0) var<uniform> dims: Dims;
@group(0) @binding(1) var<storage, read> dy: array<f32>;
@group(0) @binding(2) var<storage, read> w: array<f32>;
#import gemm/epilogue
@group(0) @binding(3) var<storage, read> bias: array<f32>;
@group(0) @binding(4) var<storage, read> residual: array<T>; // OUT4: an image has a multiple of 4 pixels
@group(0) @binding(5) var<storage, read> saved: array<T>;
@group(0) @binding(6) var<storage, read_write> out: array<T>; // dx
#import conv/conv2d
#import conv/conv2d_out
#import gemm/product

var<private> image: vec4u;   // element (b, 0, 0, 0) of dy
var<private> row_in: vec4i;  // i + padding
var<private> column_in: vec4i;
var<private> corner: vec4u;  // element (row_in, column_in) of the image, in dy
var<private> mask: vec4u;

fn pixels() -> u32 {
    return dims.height * dims.width;
}
fn columns(cols: vec4u) {
    image = cols / pixels() * (dims.out_channels * dims.rows * dims.columns);
    row_in = vec4i(cols % pixels() / dims.width + dims.padding);
    column_in = vec4i(cols % dims.width + dims.padding);
    corner = image + vec4u(row_in * i32(dims.columns) + column_in);
    if (STRIDE == 1u && KH * KW <= MASKED_TAPS) {
        mask = inside_mask(row_in, column_in, dims.rows, dims.columns, -1);
    }
    seek_out(cols);
}
fn lhs_at(row: u32, k: u32) -> f32 {
    return w[((tap.z * dims.m + row) * KH + tap.y) * KW + tap.x];
}
fn rhs_at(k: u32, cols: vec4u) -> vec4f {
    if (STRIDE == 1u && KH * KW <= MASKED_TAPS) {
        let at = corner + (tap.z * (dims.rows * dims.columns) - tap.y * dims.columns - tap.x);
        let exists = masked(mask, tap);
        let safe = select(vec4u(0u), at, exists);
        return select(vec4f(), vec4f(dy[safe.x], dy[safe.y], dy[safe.z], dy[safe.w]), exists);
    }
    let row = row_in - i32(tap.y);
    let column = column_in - i32(tap.x);
    let p = row / i32(STRIDE);
    let q = column / i32(STRIDE);
    // Truncation of a negative number to 0 does not pass: it is no multiple of the stride, or negative still.
    let exists = (p * i32(STRIDE) == row) & (q * i32(STRIDE) == column) & inside(p, q, dims.rows, dims.columns);
    let at = image + tap.z * (dims.rows * dims.columns) + vec4u(p * i32(dims.columns) + q);
    let safe = select(vec4u(0u), at, exists);
    return select(vec4f(), vec4f(dy[safe.x], dy[safe.y], dy[safe.z], dy[safe.w]), exists);
}

@compute @workgroup_size(WIDTH, HEIGHT)
fn conv2d_input_grad(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_id) local: vec3u) {
    product(group.xy, local.xy, dims.m, dims.n, dims.k_start, dims.k_end);
}
