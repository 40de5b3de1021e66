// grouped_conv2d_weight_grad.wgsl: dw[o, c, ky, kx] = Σ dy[b, o, p, q] · x[b, inputs·g + c, p·STRIDE + ky − padding, …] over images b
// and windows (p, q), in parts; g = o / outputs.
//
// in      x (batch, groups·inputs, height, width), dy (batch, groups·outputs, rows, columns); f32; zeros outside of the image
// out     out (PARTS, groups·outputs, inputs, KH, KW) f32: the sums over `part` positions (b, p, q) each; `reduce` adds them up
// launch  256 / LANES elements of dw per workgroup, PARTS workgroups for each; LANES neighbors stride over the positions of a
//         part, so that reads run along rows. LANES = 1 on software adapters
// memory  1 KiB: one partial sum per invocation
// cost    2·positions flop per element of dw; x and dy are read KH·KW·inputs and KH·KW·outputs times, mostly from cache
// numeric each lane sums in order, then a fixed tree; parts in order: same bits every time
// source  derivative of grouped_conv2d.wgsl

#import grid
#import reduce

struct Dims {
    n: u32, rows: u32, columns: u32, height: u32, width: u32, padding: u32, inputs: u32, outputs: u32, groups: u32,
    positions: u32, part: u32
}
@group(0) @binding(0) var<uniform> dims: Dims;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> dy: array<f32>;
@group(0) @binding(3) var<storage, read_write> out: array<f32>;
#import conv/window

override PARTS: u32 = 1u;

@compute @workgroup_size(256)
fn grouped_conv2d_weight_grad(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
                              @builtin(local_invocation_index) local: u32) {
    let number = linear_group(group, groups);
    let element = number / PARTS * (256u / LANES) + local / LANES;
    let tap = vec2u(element / KW % KH, element % KW);
    let c = element / (KH * KW) % dims.inputs;
    let o = element / (KH * KW * dims.inputs);
    let first = number % PARTS * dims.part;
    let end = select(0u, min(first + dims.part, dims.positions), element < dims.n);
    let windows = dims.rows * dims.columns;
    var sum = 0.0;
    for (var m = first + lane_of(local, 1u); m < end; m += LANES) {
        let b = m / windows;
        let window = m % windows;
        // Wraps around in the padding: no image is as high or wide.
        let pixel = vec2u(window / dims.columns, window % dims.columns) * STRIDE + tap - dims.padding;
        if (pixel.x < dims.height && pixel.y < dims.width) {
            let image = (b * dims.groups + o / dims.outputs) * dims.inputs + c;
            let at = (image * dims.height + pixel.x) * dims.width + pixel.y;
            sum += dy[(b * dims.groups * dims.outputs + o) * windows + window] * x[at];
        }
    }
    sum = lane_sum(local, 1u, sum);
    if (element < dims.n && lane_of(local, 1u) == 0u) {
        out[number % PARTS * dims.n + element] = sum;
    }
}
