// Up to six axes, packed in fours as uniform buffers require. Leading axes of shorter shapes have size 1.
struct Axes {
    low: vec4u,  // axes 0..3
    high: vec4u, // axes 4..5, two unused
}
// The part of axis `a`.
fn axis(axes: Axes, a: u32) -> u32 {
    return select(axes.high[a & 3u], axes.low[a & 3u], a < 4u);
}
