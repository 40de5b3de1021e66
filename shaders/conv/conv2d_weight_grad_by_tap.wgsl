// conv2d_weight_grad_by_tap.wgsl: dw[o, c, ky, kx] = Σ dy[b, o, i, j] · x[b, c, i·stride + ky − padding, …], in parts, for GPUs.
//
// in      x (batch, channels, height, width), dy (batch, m, rows, columns); f32; zeros outside of the image
// out     out (parts, m, channels, kh, kw) f32: the sums over `part` window positions each; `reduce` adds them up
// launch  the product dY (m x k) · Pᵀ (k x n): k counts window positions (b, i, j), n counts (ky, kx, c) and P are the patches, read
//         out of x in place. ceil(n/COLUMNS) x ceil(m/ROWS) x parts workgroups, see lib/gemm/product_block.wgsl; with COOPERATIVE
//         lib/gemm/product_cooperative.wgsl
// memory  the two tiles of the product
// cost    2·m·n·k flop. A workgroup has one tap, as channels are a whole number of blocks. An invocation loads one position in
//         an iteration, for all its rows and columns: so it computes one position, and an element costs one multiply-add.
// numeric f32 sums in order of k within a part, parts in order; with COOPERATIVE both sides are rounded to f16
// source  Chetlur et al. 2014, "cuDNN", arXiv:1410.0759, section 3.1 (implicit GEMM); the order of n is ours

#import gemm/extensions
struct Dims {
    m: u32, n: u32, k: u32, part: u32, channels: u32, height: u32, width: u32, rows: u32, columns: u32, padding: u32
}
@group(0) @binding(0) var<uniform> dims: Dims;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> dy: array<f32>;
@group(0) @binding(3) var<storage, read_write> out: array<f32>;
#import gemm/product

override STRIDE: u32 = 1u;
override KH: u32 = 1u;
override KW: u32 = 1u;
var<private> part_at: u32;
var<private> last: u32;      // position
var<private> tap: u32;
var<private> shift: vec2i;   // from a window's first pixel to what the tap meets
var<private> channel: vec4u; // of the four columns
// The current position.
var<private> dy_at: u32;     // element of channel 0
var<private> x_at: u32;
var<private> exists: bool;

fn enter(k0: u32, index: u32) {
    let k = min(k0 + index % DEPTH, last);
    let pixels = dims.rows * dims.columns;
    let image = k / pixels;
    let pixel = k % pixels;
    dy_at = image * (dims.m * pixels) + pixel;
    let row = i32(pixel / dims.columns * STRIDE) + shift.x;
    let column = i32(pixel % dims.columns * STRIDE) + shift.y;
    // Negative numbers are large as unsigned ones.
    exists = u32(row) < dims.height && u32(column) < dims.width;
    let at = image * (dims.channels * dims.height * dims.width) + u32(row * i32(dims.width) + column);
    x_at = select(0u, at, exists);
}
fn seek(k: u32) {}
fn columns(cols: vec4u) {
    channel = cols - tap * dims.channels;
}
fn lhs_at(row: u32, k: u32) -> f32 {
    return dy[dy_at + row * (dims.rows * dims.columns)];
}
fn rhs_at(k: u32, cols: vec4u) -> vec4f {
    let at = x_at + channel * (dims.height * dims.width);
    return select(vec4f(), vec4f(x[at.x], x[at.y], x[at.z], x[at.w]), exists);
}
fn skip(row: u32, rows: u32, col: u32) -> bool {
    return false;
}
fn store(row: u32, col: u32, sums: vec4f) {
    let at = (part_at * dims.m + row) * dims.n + tap;
#unroll j 4
    out[at + channel[$j] * (KH * KW)] = sums[$j];
#end
}

@compute @workgroup_size(WIDTH, HEIGHT)
fn conv2d_weight_grad_by_tap(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_id) local: vec3u) {
    part_at = group.z;
    let start = group.z * dims.part;
    let end = min(start + dims.part, dims.k);
    last = end - 1u;
    tap = group.x * COLUMNS / dims.channels;
    shift = vec2i(vec2u(tap / KW, tap % KW)) - i32(dims.padding);
    product(group.xy, local.xy, dims.m, dims.n, start, end);
}
