// Sizes of a convolution, after m, n, k of its product, as in `Geometry` of
// crates/tensor/src/ops/conv/geometry.rs. Stride and window are constants, so that divisions by them are shifts or products.
override STRIDE: u32 = 1u;
override KH: u32 = 1u;
override KW: u32 = 1u;

// Positions in x of four windows (image, row, column of y): element (image, channel 0, 0, 0), and the window's
// first row and column, negative in the padding.
struct Windows { image: vec4u, row: vec4i, column: vec4i }

fn windows(position: vec4u) -> Windows {
    let pixels = dims.rows * dims.columns;
    let pixel = position % pixels;
    return Windows(position / pixels * (dims.channels * dims.height * dims.width),
                   vec4i(pixel / dims.columns * STRIDE) - i32(dims.padding),
                   vec4i(pixel % dims.columns * STRIDE) - i32(dims.padding));
}

// A window of up to 32 taps: bit ky·KW + kx of a column is set where that tap lies in the image. With it an element costs a
// shift where comparisons of rows and columns cost ten operations, which is what bounds convolutions on a GPU.
const MASKED_TAPS: u32 = 32u;
fn inside_mask(row: vec4i, column: vec4i, height: u32, width: u32, step: i32) -> vec4u {
    var mask = vec4u();
    for (var ky = 0u; ky < KH; ky += 1u) {
        for (var kx = 0u; kx < KW; kx += 1u) {
            let exists = inside(row + step * i32(ky), column + step * i32(kx), height, width);
            mask |= select(vec4u(), vec4u(1u << (ky * KW + kx)), exists);
        }
    }
    return mask;
}
fn masked(mask: vec4u, tap: vec3u) -> vec4<bool> {
    return ((mask >> vec4u(tap.y * KW + tap.x)) & vec4u(1u)) == vec4u(1u);
}

// True if (row, column) lies in an image of height x width.
fn inside(row: vec4i, column: vec4i, height: u32, width: u32) -> vec4<bool> {
    // Negative numbers are large as unsigned ones.
    return (vec4u(row) < vec4u(height)) & (vec4u(column) < vec4u(width));
}
