// conv2d_by_tap.wgsl: a convolution, or the gradient of its input, one tap (ky, kx) of the window after the other, for GPUs.
//   forward   y[b, o, i, j] = epilogue(Σ w[o, c, ky, kx] · x[b, c, i·stride + ky − padding, j·stride + kx − padding])
//   GRADIENT  dx[b, c, i, j] = epilogue(Σ w[o, c, ky, kx] · dy[b, o, p, q]) over the taps with p·stride + ky − padding = i, …
//
// in      x (batch, channels, height, width): x, or dy; f32; zeros outside of the image
//         w (kh, kw, out, in) f32: the weights, in another order, so that neighbors in a row are neighbors in memory
//         bias, residual and saved: see lib/gemm/epilogue.wgsl
// out     out (batch, m, rows, columns) f32, or so for each part of k
// launch  the product W (m x k) · P (k x n): k counts (ky, kx, channel), n counts (b, i, j) and P are the patches, read out of x
//         in place. ceil(n/COLUMNS) x ceil(m/ROWS) x (classes · parts) workgroups, see lib/gemm/product_block.wgsl;
//         with COOPERATIVE lib/gemm/product_cooperative.wgsl.
//         The gradient of a stride s has s² classes of pixels (i mod s, j mod s). Pixels of a class meet the same taps, and
//         only these are summed, one in s².
// memory  the two tiles of the product
// cost    2·m·n·k flop. An iteration has one tap, as channels are a whole number of iterations. So the position of a pixel is
//         computed once a tap, and an element costs one multiply-add for its address.
// numeric f32 sums in order of k, parts in order; with COOPERATIVE both sides are rounded to f16
// source  Chetlur et al. 2014, "cuDNN", arXiv:1410.0759, section 3.1 (implicit GEMM); the order of k is ours

#import gemm/extensions
struct Dims {
    m: u32, n: u32, channels: u32, part: u32, height: u32, width: u32, rows: u32, columns: u32, padding: u32,
    grid_rows: u32, grid_columns: u32 // of one class of pixels
}
@group(0) @binding(0) var<uniform> dims: Dims;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> w: array<vec4f>;
#import gemm/epilogue
@group(0) @binding(3) var<storage, read> bias: array<f32>;
@group(0) @binding(4) var<storage, read> residual: array<f32>;
@group(0) @binding(5) var<storage, read> saved: array<f32>;
@group(0) @binding(6) var<storage, read_write> out: array<f32>;
#import gemm/product

override STRIDE: u32 = 1u;
override KH: u32 = 1u;
override KW: u32 = 1u;

#if GRADIENT
override IN_STEP: u32 = 1u;       // rows of x from one pixel of a class to the next
override OUT_STEP: u32 = STRIDE;  // rows of out
override TAP_STEP: u32 = STRIDE;  // taps of a class
override SIGN: i32 = -1;          // rows of x from one tap of a class to the next
#else
override IN_STEP: u32 = STRIDE;
override OUT_STEP: u32 = 1u;
override TAP_STEP: u32 = 1u;
override SIGN: i32 = 1;
#endif
override CLASSES: u32 = OUT_STEP * OUT_STEP;

var<private> class_at: vec2u;     // i mod OUT_STEP, j mod OUT_STEP
var<private> first_tap: vec2u;    // of the class
var<private> first_shift: vec2i;  // from a pixel to what it meets by that tap
var<private> taps: vec2u;         // number of taps of the class
var<private> part_at: u32;
// The four columns of this invocation.
var<private> pixel: vec4i;        // row · 65536 + column in x, by a shift of 0
var<private> corner: vec4u;       // that element
var<private> out_at: vec4u;
var<private> stored: vec4<bool>;
// The current tap.
var<private> tap_from: u32;       // its first k
var<private> tap_until: u32;
var<private> tap_weights: u32;
var<private> tap_at: vec4u;       // elements of channel 0
var<private> exists: vec4<bool>;

fn find_class(number: u32) {
    class_at = vec2u(number / OUT_STEP, number % OUT_STEP);
#if GRADIENT
    first_tap = (class_at + dims.padding) % STRIDE;
    first_shift = vec2i((class_at + dims.padding) / STRIDE);
#else
    first_shift = vec2i(-i32(dims.padding));
#endif
    taps = (vec2u(KH, KW) + TAP_STEP - 1u - min(first_tap, vec2u(KH, KW) + TAP_STEP - 1u)) / TAP_STEP;
}
fn columns(cols: vec4u) {
    let pixels = dims.grid_rows * dims.grid_columns;
    let image = cols / pixels;
    let at = vec4u(cols % pixels / dims.grid_columns);
    let across = cols % dims.grid_columns;
    pixel = vec4i(at * IN_STEP * 65536u + across * IN_STEP);
    corner = image * (dims.channels * dims.height * dims.width) + (at * dims.width + across) * IN_STEP;
    let i = at * OUT_STEP + class_at.x;
    let j = across * OUT_STEP + class_at.y;
    out_at = (image * (dims.m * dims.rows) + i) * dims.columns + j;
    stored = (i < vec4u(dims.rows)) & (j < vec4u(dims.columns));
}

// Goes to k, where an iteration begins.
fn enter(k: u32, index: u32) {
    if (k >= tap_until) {
        find_tap(k / dims.channels);
    }
}
fn find_tap(number: u32) {
    let at = vec2u(number / taps.y, number % taps.y);
    let shift = first_shift + SIGN * vec2i(at);
    let row = (pixel >> vec4u(16u)) + shift.x;
    let column = (pixel & vec4i(65535)) + shift.y;
    // Negative numbers are large as unsigned ones.
    exists = (vec4u(row) < vec4u(dims.height)) & (vec4u(column) < vec4u(dims.width));
    tap_at = select(vec4u(0u), corner + u32(shift.x * i32(dims.width) + shift.y), exists);
    let tap = first_tap + TAP_STEP * at;
    tap_weights = (tap.x * KW + tap.y) * dims.m * dims.channels;
    tap_from = number * dims.channels;
    tap_until = tap_from + dims.channels;
}
fn seek(k: u32) {}
#if GRADIENT
fn rows4_at(row: u32, k: u32) -> vec4f {
    return w[(tap_weights + (k - tap_from) * dims.m + row) / 4u];
}
#else
fn lhs4_at(row: u32, k: u32) -> vec4f {
    return w[(tap_weights + row * dims.channels + k - tap_from) / 4u];
}
#endif
fn rhs_at(k: u32, cols: vec4u) -> vec4f {
    let at = tap_at + (k - tap_from) * (dims.height * dims.width);
    return select(vec4f(), vec4f(x[at.x], x[at.y], x[at.z], x[at.w]), exists);
}
fn skip(row: u32, rows: u32, col: u32) -> bool {
    return false;
}
fn store(row: u32, col: u32, sums: vec4f) {
#unroll j 4
    store_one_column(row, stored[$j] && col + $ju * STEP < dims.n, out_at[$j] + row * (dims.rows * dims.columns), sums[$j]);
#end
}
fn store_one_column(row: u32, stored: bool, at: u32, sum: f32) {
    if (stored) {
        out[part_at + at] = finish(sum, row, at);
    }
}

@compute @workgroup_size(WIDTH, HEIGHT)
fn conv2d_by_tap(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
                 @builtin(local_invocation_id) local: vec3u) {
    find_class(group.z % CLASSES);
    let part = group.z / CLASSES;
    let images = dims.n / (dims.grid_rows * dims.grid_columns);
    part_at = part * (images * dims.m * dims.rows * dims.columns);
    let k = part * dims.part;
    let k_end = min(k + dims.part, taps.x * taps.y * dims.channels);
    product(near(group.xy, groups.xy), local.xy, dims.m, dims.n, k, k_end);
}
