// grouped_conv2d_input_grad.wgsl: dx[b, inputs·g + c, i, j] = Σ w[o, c, ky, kx] · dy[b, o, p, q] over the outputs o of group g and
// the windows (p, q) that hold (i, j), at tap ky = i + padding − p·STRIDE, kx = j + padding − q·STRIDE.
//
// in      dy (batch, groups·outputs, rows, columns), w (groups·outputs, inputs, KH, KW); f32
// out     dx (batch, groups·inputs, height, width) f32
// launch  one invocation per element of dx, which gathers: no atomics; workgroups of 256
// memory  none
// cost    2·outputs·KH·KW/STRIDE² flop per element; each element of dy is read inputs·KH·KW times, mostly from cache
// numeric f32 sums in order of (o, p, q)
// source  derivative of grouped_conv2d.wgsl

#import grid

struct Dims { n: u32, rows: u32, columns: u32, height: u32, width: u32, padding: u32, inputs: u32, outputs: u32, groups: u32 }
@group(0) @binding(0) var<uniform> dims: Dims;
@group(0) @binding(1) var<storage, read> dy: array<f32>;
@group(0) @binding(2) var<storage, read> w: array<f32>;
@group(0) @binding(3) var<storage, read_write> dx: array<f32>;
#import conv/window

@compute @workgroup_size(256)
fn grouped_conv2d_input_grad(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
                             @builtin(local_invocation_index) local: u32) {
    let at = linear_index(group, groups, local);
    if (at >= dims.n) {
        return;
    }
    let i = at / dims.width % dims.height;
    let j = at % dims.width;
    let over = windows_of(i, KH, dims.rows);
    let across = windows_of(j, KW, dims.columns);
    let plane = at / (dims.height * dims.width); // (b·groups + g)·inputs + c
    let c = plane % dims.inputs;
    let first = plane / dims.inputs % dims.groups * dims.outputs;
    var sum = 0.0;
    for (var o = 0u; o < dims.outputs; o += 1u) {
        let image = (plane / dims.inputs * dims.outputs + o) * dims.rows;
        for (var p = over.start; p < over.end; p += 1u) {
            let tap = (((first + o) * dims.inputs + c) * KH + i + dims.padding - p * STRIDE) * KW + j + dims.padding;
            for (var q = across.start; q < across.end; q += 1u) {
                sum += w[tap - q * STRIDE] * dy[(image + p) * dims.columns + q];
            }
        }
    }
    dx[at] = sum;
}
