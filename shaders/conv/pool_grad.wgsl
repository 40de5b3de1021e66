// pool_grad.wgsl: dx[plane, i, j] = Σ dy[plane, p, q] over the windows (p, q) that hold (i, j), divided by KH·KW; or with
// MAX, Σ over those whose first maximum, row by row, is (i, j).
//
// in      x (planes, height, width), y (planes, rows, columns) f32; bound with MAX only
//         dy (planes, rows, columns) f32
// out     dx (planes, height, width) f32
// launch  one invocation per input element, which gathers: no atomics; workgroups of 256
// memory  none
// cost    KH·KW/STRIDE² windows per element. With MAX, a window is searched for an earlier maximum only where x = y,
//         which is one pixel a window but for ties, and a tie ends the search
// numeric sums in order of p and q: same bits every time. Of several NaNs in a window the first counts as its maximum
// source  definition

#import grid
#import number

struct Dims { n: u32, rows: u32, columns: u32, height: u32, width: u32, padding: u32 }
@group(0) @binding(0) var<uniform> dims: Dims;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> y: array<f32>;
@group(0) @binding(3) var<storage, read> dy: array<f32>;
@group(0) @binding(4) var<storage, read_write> dx: array<f32>;
#import conv/window

override MAX: bool = false;

fn same(a: f32, b: f32) -> bool {
    return a == b || (is_nan(a) && is_nan(b));
}

// True if no pixel of window (p, q) before `own`, row by row, is `greatest`.
fn is_first(plane: u32, own: vec2u, p: u32, q: u32, greatest: f32) -> bool {
    let columns = pixels_of(q, KW, dims.width);
    for (var row = pixels_of(p, KH, dims.height).start; row <= own.x; row += 1u) {
        let end = select(columns.end, own.y, row == own.x);
        for (var column = columns.start; column < end; column += 1u) {
            if (same(x[plane + row * dims.width + column], greatest)) {
                return false;
            }
        }
    }
    return true;
}

@compute @workgroup_size(256)
fn pool_grad(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
             @builtin(local_invocation_index) local: u32) {
    let i = linear_index(group, groups, local);
    if (i >= dims.n) {
        return;
    }
    let pixels = dims.height * dims.width;
    let own = vec2u(i / dims.width % dims.height, i % dims.width);
    let over = windows_of(own.x, KH, dims.rows);
    let across = windows_of(own.y, KW, dims.columns);
    var total = 0.0;
    for (var p = over.start; p < over.end; p += 1u) {
        for (var q = across.start; q < across.end; q += 1u) {
            let at = (i / pixels * dims.rows + p) * dims.columns + q;
            if (MAX) {
                if (same(x[i], y[at]) && is_first(i / pixels * pixels, own, p, q, y[at])) {
                    total += dy[at];
                }
            } else {
                total += dy[at];
            }
        }
    }
    dx[i] = select(total / f32(KH * KW), total, MAX);
}
