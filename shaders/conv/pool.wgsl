// pool.wgsl: y[plane, p, q] = max or mean of x[plane] over the KH x KW pixels from (p·STRIDE − padding, q·STRIDE − padding).
//
// in      x (planes, height, width) f32; a plane is one channel of one image
// out     y (planes, rows, columns) f32
// launch  one invocation per output element; workgroups of 256
// memory  none
// cost    KH·KW flop per output element; each input element is read KH·KW/STRIDE² times, mostly from cache
// numeric max is over the pixels that exist (padding is −inf) and NaN if any is. The mean counts padding as zeros and
//         adds up sums of rows.
// source  definition

#import grid
#import reduce

struct Dims { n: u32, rows: u32, columns: u32, height: u32, width: u32, padding: u32 }
@group(0) @binding(0) var<uniform> dims: Dims;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;
#import conv/window

override MAX: bool = false;

@compute @workgroup_size(256)
fn pool(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
        @builtin(local_invocation_index) local: u32) {
    let i = linear_index(group, groups, local);
    if (i >= dims.n) {
        return;
    }
    let window_rows = pixels_of(i / dims.columns % dims.rows, KH, dims.height);
    let window_columns = pixels_of(i % dims.columns, KW, dims.width);
    let plane = i / (dims.rows * dims.columns) * (dims.height * dims.width);
    // A window holds at least one pixel: padding is at most half of it.
    var greatest = x[plane + window_rows.start * dims.width + window_columns.start];
    var total = 0.0;
    for (var row = window_rows.start; row < window_rows.end; row += 1u) {
        var sum = 0.0;
        for (var column = window_columns.start; column < window_columns.end; column += 1u) {
            let value = x[plane + row * dims.width + column];
            if (MAX) {
                greatest = nan_max(greatest, value);
            } else {
                sum += value;
            }
        }
        total += sum;
    }
    y[i] = select(total / f32(KH * KW), greatest, MAX);
}
