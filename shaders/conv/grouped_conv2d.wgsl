// grouped_conv2d.wgsl: y[b, o, p, q] = Σ w[o, c, ky, kx] · x[b, inputs·g + c, p·STRIDE + ky − padding, q·STRIDE + kx − padding]
// over the channels c of o's group g = o / outputs, and the window.
//
// in      x (batch, groups·inputs, height, width), w (groups·outputs, inputs, KH, KW); f32; zeros outside of the image
// out     y (batch, groups·outputs, rows, columns) f32
// launch  one invocation per output element; workgroups of 256
// memory  none
// cost    2·inputs·KH·KW flop per output element; each element of x is read outputs·KH·KW/STRIDE² times, mostly from cache.
//         Depthwise, with inputs = outputs = 1, that is 2·KH·KW flop for 8 bytes: bound by memory
// numeric f32 sums in order of (c, ky, kx)
// source  Howard et al. 2017, "MobileNets", arXiv:1704.04861, section 3.1 (depthwise)

#import grid

struct Dims { n: u32, rows: u32, columns: u32, height: u32, width: u32, padding: u32, inputs: u32, outputs: u32, groups: u32 }
@group(0) @binding(0) var<uniform> dims: Dims;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> w: array<f32>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;
#import conv/window

@compute @workgroup_size(256)
fn grouped_conv2d(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
                  @builtin(local_invocation_index) local: u32) {
    let i = linear_index(group, groups, local);
    if (i >= dims.n) {
        return;
    }
    let p = i / dims.columns % dims.rows;
    let q = i % dims.columns;
    let over = pixels_of(p, KH, dims.height);
    let across = pixels_of(q, KW, dims.width);
    let plane = i / (dims.rows * dims.columns); // (b·groups + g)·outputs + o within the group
    let weights = plane % (dims.groups * dims.outputs) * dims.inputs;
    var sum = 0.0;
    for (var c = 0u; c < dims.inputs; c += 1u) {
        let image = (plane / dims.outputs * dims.inputs + c) * dims.height;
        for (var row = over.start; row < over.end; row += 1u) {
            // Tap (ky, 0), less the first column of the window, which may lie in the padding: it wraps around.
            let tap = ((weights + c) * KH + row + dims.padding - p * STRIDE) * KW + dims.padding - q * STRIDE;
            for (var column = across.start; column < across.end; column += 1u) {
                sum += w[tap + column] * x[(image + row) * dims.width + column];
            }
        }
    }
    y[i] = sum;
}
