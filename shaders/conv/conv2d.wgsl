// conv2d.wgsl: y[b, o, i, j] = epilogue(Σ w[o, c, ky, kx] · x[b, c, i·stride + ky − padding, j·stride + kx − padding]).
//
// in      x (batch, channels, height, width), w (m, channels, kh, kw); f32; zeros outside of the image
//         bias (m), residual and saved (like y): see lib/gemm/epilogue.wgsl
// out     y (batch, m, rows, columns) f32
// launch  the product W (m x k) · P (k x n) where k counts (c, ky, kx), n counts (b, i, j) and P are the patches, read
//         out of x in place. SUBGROUP: ceil(n/32) x ceil(m/64) workgroups of 8 x 4, see lib/gemm/product_subgroup.wgsl; TALL: of 8 x 2
//         BLOCK:    ceil(n/COLUMNS) x ceil(m/ROWS) workgroups, see lib/gemm/product_block.wgsl
// memory  SUBGROUP, TALL: none; BLOCK: its two tiles
// cost    2·m·n·k flop; x is read kh·kw/stride² times, mostly from cache
// numeric f32 sums in order of k
// source  Chetlur et al. 2014, "cuDNN", arXiv:1410.0759, section 3.1 (implicit GEMM)

@group(0) @binding(0) var<uniform> dims: Dims;
@group(0) @binding(1) var<storage, read> x: array<f32>;
#if LHS_K4
@group(0) @binding(2) var<storage, read> w: array<vec4f>; // k is a multiple of 4
fn lhs4_at(row: u32, k: u32) -> vec4f {
    return w[(row * dims.k + k) / 4u];
}
#else
@group(0) @binding(2) var<storage, read> w: array<f32>;
fn lhs_at(row: u32, k: u32) -> f32 {
    return w[row * dims.k + k];
}
#endif
#import gemm/epilogue
@group(0) @binding(3) var<storage, read> bias: array<f32>;
@group(0) @binding(4) var<storage, read> residual: array<T>; // OUT4: an image has a multiple of 4 pixels
@group(0) @binding(5) var<storage, read> saved: array<T>;
@group(0) @binding(6) var<storage, read_write> out: array<T>; // y
#import conv/conv2d
#import conv/conv2d_out
#import gemm/product

var<private> from_window: Windows;
var<private> corner: vec4u; // element (0, 0) of the windows, in x; wraps around where it lies in the padding
var<private> mask: vec4u;

fn pixels() -> u32 {
    return dims.rows * dims.columns;
}
fn columns(cols: vec4u) {
    from_window = windows(cols);
    corner = from_window.image + vec4u(from_window.row * i32(dims.width) + from_window.column);
    if (KH * KW <= MASKED_TAPS) {
        mask = inside_mask(from_window.row, from_window.column, dims.height, dims.width, 1);
    }
    seek_out(cols);
}
fn rhs_at(k: u32, cols: vec4u) -> vec4f {
    var exists: vec4<bool>;
    if (KH * KW <= MASKED_TAPS) {
        exists = masked(mask, tap);
    } else {
        exists = inside(from_window.row + i32(tap.y), from_window.column + i32(tap.x), dims.height, dims.width);
    }
    let at = corner + ((tap.z * dims.height + tap.y) * dims.width + tap.x);
    let safe = select(vec4u(0u), at, exists);
    return select(vec4f(), vec4f(x[safe.x], x[safe.y], x[safe.z], x[safe.w]), exists);
}

@compute @workgroup_size(WIDTH, HEIGHT)
fn conv2d(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
          @builtin(local_invocation_id) local: vec3u) {
#if NEAR
    product(near(group.xy, groups.xy), local.xy, dims.m, dims.n, dims.k_start, dims.k_end);
#else
    product(group.xy, local.xy, dims.m, dims.n, dims.k_start, dims.k_end);
#endif
}
