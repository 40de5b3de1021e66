// Shared part of convolution and its input's gradient: both are products whose k counts (channel, ky, kx) and whose columns
// count the pixels of images. The importing kernel has `out`, (batch, m, a row, a column), and `pixels()`, the pixels of
// one image of it.
struct Dims {
    m: u32, n: u32, k: u32, k_start: u32, k_end: u32, channels: u32, out_channels: u32, height: u32, width: u32,
    rows: u32, columns: u32, padding: u32
}
override CONTINUE: u32 = 0u; // 1: an earlier dispatch has summed over k < k_start
var<private> out_at: vec4u;  // position of row 0 of the four columns
var<private> tap: vec3u;     // kx, ky, channel of the current k

fn seek(k: u32) {
    tap = vec3u(k % KW, k / KW % KH, k / (KW * KH));
}
fn advance() {
    tap.x += 1u;
    if (tap.x == KW) {
        tap = vec3u(0u, tap.y + 1u, tap.z);
        if (tap.y == KH) {
            tap = vec3u(0u, 0u, tap.z + 1u);
        }
    }
}
fn seek_out(cols: vec4u) {
    out_at = cols / pixels() * (dims.m * pixels()) + cols % pixels();
}
fn skip(row: u32, rows: u32, col: u32) -> bool {
    return false;
}
#if OUT4
fn store(row: u32, col: u32, sums: vec4f) {
    let at = (out_at.x + row * pixels()) / 4u;
    var total = sums;
    if (CONTINUE == 1u) {
        total += out[at];
    }
    out[at] = finish(total, row, at);
}
#else
fn store(row: u32, col: u32, sums: vec4f) {
#unroll j 4
    store_one_column(row, col + $ju * STEP, out_at[$j], sums[$j]);
#end
}
fn store_one_column(row: u32, col: u32, out_at: u32, sum: f32) {
    if (col >= dims.n) {
        return;
    }
    let at = out_at + row * pixels();
    var total = sum;
    if (CONTINUE == 1u) {
        total += out[at];
    }
    out[at] = finish(total, row, at);
}
#endif
