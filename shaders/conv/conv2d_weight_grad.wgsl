// conv2d_weight_grad.wgsl: dw[o, c, ky, kx] = Σ dy[b, o, i, j] · x[b, c, i·stride + ky − padding, …], in parts.
//
// in      x (batch, channels, height, width), dy (batch, m, rows, columns); f32; zeros outside of the image
// out     out (parts, m, channels, kh, kw) f32: the sums over `part` window positions each; `reduce` adds them up
// launch  the product dY (m x k) · Pᵀ (k x n) where k counts window positions (b, i, j), n counts (c, ky, kx) and P are
//         the patches, read out of x in place; the third grid dimension is the part
//         SUBGROUP: ceil(n/32) x ceil(m/64) x parts workgroups of 8 x 4, see lib/gemm/product_subgroup.wgsl; TALL: of 8 x 2
//         BLOCK:    ceil(n/COLUMNS) x ceil(m/ROWS) x parts workgroups, see lib/gemm/product_block.wgsl
// memory  SUBGROUP, TALL: none; BLOCK: its two tiles
// cost    2·m·n·k flop; the output is small and k is long, so parts of k keep an adapter busy (split-k)
// numeric f32 sums in order of k within a part, parts in order
// source  Chetlur et al. 2014, "cuDNN", arXiv:1410.0759, section 3.1 (implicit GEMM)

struct Dims {
    m: u32, n: u32, k: u32, part: u32, channels: u32, out_channels: u32, height: u32, width: u32,
    rows: u32, columns: u32, padding: u32
}
@group(0) @binding(0) var<uniform> dims: Dims;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> dy: array<f32>;
@group(0) @binding(3) var<storage, read_write> out: array<f32>;
#import conv/conv2d
#import gemm/product

var<private> position: vec3u; // column, row, image of the current k
var<private> channel: vec4u;  // element (0, c, ky, kx) of x
var<private> tap: vec4u;      // ky
var<private> tap_x: vec4u;    // kx
var<private> corner: vec2i;   // row and column of x that tap (0, 0) of the current k meets
var<private> corner_at: u32;  // and that element of channel 0; wraps around where it lies in the padding
var<private> taps: vec2u;     // bit ky and bit kx are set where these taps lie in the image
var<private> part_at: u32;

fn seek(k: u32) {
    position = vec3u(k % dims.columns, k / dims.columns % dims.rows, k / (dims.columns * dims.rows));
    find_corner();
}
fn find_corner() {
    corner = vec2i(vec2u(position.y, position.x) * STRIDE) - i32(dims.padding);
    corner_at = position.z * (dims.channels * dims.height * dims.width) + u32(corner.x * i32(dims.width) + corner.y);
    taps = vec2u(taps_inside(corner.x, dims.height, KH), taps_inside(corner.y, dims.width, KW));
}
// Bits of the taps first, first + 1, … that lie in 0 to size - 1.
fn taps_inside(first: i32, size: u32, count: u32) -> u32 {
    let from_tap = u32(clamp(-first, 0, i32(count)));
    let to_tap = u32(clamp(i32(size) - first, 0, i32(count)));
    return ((1u << to_tap) - 1u) & ~((1u << from_tap) - 1u);
}
fn advance() {
    position.x += 1u;
    if (position.x == dims.columns) {
        position = vec3u(0u, position.y + 1u, position.z);
        if (position.y == dims.rows) {
            position = vec3u(0u, 0u, position.z + 1u);
        }
    }
    find_corner();
}
fn columns(cols: vec4u) {
    tap = cols / KW % KH;
    tap_x = cols % KW;
    channel = cols / (KH * KW) * (dims.height * dims.width) + tap * dims.width + tap_x;
}
fn skip(row: u32, rows: u32, col: u32) -> bool {
    return false;
}
fn lhs_at(row: u32, k: u32) -> f32 {
    return dy[((position.z * dims.m + row) * dims.rows + position.y) * dims.columns + position.x];
}
fn rhs_at(k: u32, cols: vec4u) -> vec4f {
    var exists: vec4<bool>;
    if (KH < 32u && KW < 32u) {
        exists = ((vec4u(taps.x) >> tap) & (vec4u(taps.y) >> tap_x) & vec4u(1u)) == vec4u(1u);
    } else {
        exists = inside(corner.x + vec4i(tap), corner.y + vec4i(tap_x), dims.height, dims.width);
    }
    let at = corner_at + channel;
    let safe = select(vec4u(0u), at, exists);
    return select(vec4f(), vec4f(x[safe.x], x[safe.y], x[safe.z], x[safe.w]), exists);
}
fn store(row: u32, col: u32, sums: vec4f) {
#unroll j 4
    if (col + $ju < dims.n) {
        out[(part_at * dims.m + row) * dims.n + col + $ju] = sums[$j];
    }
#end
}

@compute @workgroup_size(WIDTH, HEIGHT)
fn conv2d_weight_grad(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_id) local: vec3u) {
    part_at = group.z;
    let start = group.z * dims.part;
    product(group.xy, local.xy, dims.m, dims.n, start, min(start + dims.part, dims.k));
}
