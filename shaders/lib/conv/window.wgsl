// Windows of a pooling or a grouped convolution; as in `Sizes` of crates/tensor/src/ops/conv/pool.rs. The importing kernel's dims have
// padding.
// Sizes of the window and the stride are constants, so that divisions by the stride are shifts.
override KH: u32 = 1u;
override KW: u32 = 1u;
override STRIDE: u32 = 1u;

// start, start + 1, ..., end - 1
struct Span { start: u32, end: u32 }

// Along one axis of `size` pixels: the pixels of window number p, which is k wide. Padding is left out.
fn pixels_of(p: u32, k: u32, size: u32) -> Span {
    let first = p * STRIDE;
    return Span(max(first, dims.padding) - dims.padding, min(max(first + k, dims.padding) - dims.padding, size));
}
// Along one axis of `count` windows: those that hold pixel i.
fn windows_of(i: u32, k: u32, count: u32) -> Span {
    let at = i + dims.padding;
    return Span((max(at + 1u, k) - k + STRIDE - 1u) / STRIDE, min(at / STRIDE + 1u, count));
}
