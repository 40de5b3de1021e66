// crop.wgsl: a random box of every image, brought to dims.size x dims.size pixels.
//
// in      x (b, c, h, w) f32
//         step_state (4) u32   word 0 is the number of the step
// out     y (b, c, s, s) f32   bilinear between the pixels of x, whose edges go on outside of it
// launch  one invocation per output element; workgroups of 256
// memory  none
// cost    4 reads, mostly from cache, and 4 bytes written per element; Philox anew per element, about 200 integer operations
// numeric RESIZED = 0: a box of s x s whole pixels, an exact copy. RESIZED = 1: its area is a share of the image's, uniform in
//         low..high, and its width / height uniform on a logarithmic scale in 3/4..4/3, cut where the image ends
// source  Szegedy et al. 2015, arXiv:1409.4842, section 6; torchvision's RandomCrop and RandomResizedCrop (which draws anew
//         where a box does not fit, and smooths before it shrinks)

#import grid
#import philox

struct Dims {
    n: u32, channels: u32, height: u32, width: u32, size: u32, seed_low: u32, seed_high: u32,
    low: f32, high: f32,
}
@group(0) @binding(0) var<uniform> dims: Dims;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> step_state: array<u32>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;

override RESIZED: u32 = 0u;
const STREAM = 0x43524f50u; // keeps these random bits apart from those of other ops with the same seed
const LOG_RATIO = 0.28768207; // ln 4/3

// Top, left, height and width of the box.
fn draw(image: u32) -> vec4f {
    let bits = philox(vec4u(image, step_state[0], 0u, STREAM), vec2u(dims.seed_low, dims.seed_high));
    let whole = vec2f(f32(dims.height), f32(dims.width));
    if (RESIZED == 0u) {
        let top = mul_high(bits.x, dims.height - dims.size + 1u);
        let left = mul_high(bits.y, dims.width - dims.size + 1u);
        return vec4f(f32(top), f32(left), vec2f(f32(dims.size)));
    }
    let area = whole.x * whole.y * (dims.low + unit(bits.z) * (dims.high - dims.low));
    let ratio = exp((2.0 * unit(bits.w) - 1.0) * LOG_RATIO);
    let box = min(vec2f(sqrt(area / ratio), sqrt(area * ratio)), whole);
    return vec4f(vec2f(unit(bits.x), unit(bits.y)) * (whole - box), box);
}

@compute @workgroup_size(256)
fn crop(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
        @builtin(local_invocation_index) local: u32) {
    let i = linear_index(group, groups, local);
    if (i >= dims.n) {
        return;
    }
    let plane = i / (dims.size * dims.size);
    let box = draw(plane / dims.channels);
    let pixel = vec2f(f32(i / dims.size % dims.size), f32(i % dims.size)) + 0.5;
    let last = vec2f(f32(dims.height - 1u), f32(dims.width - 1u));
    let place = clamp(box.xy + pixel * (box.zw / f32(dims.size)) - 0.5, vec2f(0.0), last);
    let low = floor(place);
    let high = vec2u(min(low + 1.0, last));
    let share = place - low;
    let above = (plane * dims.height + u32(low.x)) * dims.width;
    let below = (plane * dims.height + high.x) * dims.width;
    let left = u32(low.y);
    y[i] = mix(mix(x[above + left], x[above + high.y], share.y), mix(x[below + left], x[below + high.y], share.y), share.x);
}
