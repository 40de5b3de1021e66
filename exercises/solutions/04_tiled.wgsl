// 4. tiled: c = a b. Each number is loaded once for a workgroup, and read by eight of its invocations.
//
// in      a (m, k), b (k, n) f32
// out     c (m, n) f32
// launch  ceil(n / 8) x ceil(m / 8) workgroups of 8 x 8
// map     a workgroup owns 8 x 8 of c; invocation (x, y) owns c[8 · group.y + y, 8 · group.x + x] and loads an element of each tile
// memory  2 · 8 · 8 floats of workgroup memory
// cost    2 m n k flop; 8 m n k / 8 bytes, an eighth of those without tiles
// numeric f32 sums in the order of k; zeros stand for what lies beyond the edges

struct Dims { m: u32, n: u32, k: u32 }
@group(0) @binding(0) var<uniform> dims: Dims;
@group(0) @binding(1) var<storage, read> a: array<f32>;
@group(0) @binding(2) var<storage, read> b: array<f32>;
@group(0) @binding(3) var<storage, read_write> c: array<f32>;

var<workgroup> tile_a: array<array<f32, 8>, 8>;
var<workgroup> tile_b: array<array<f32, 8>, 8>;

@compute @workgroup_size(8, 8)
fn tiled(@builtin(global_invocation_id) id: vec3u, @builtin(local_invocation_id) at: vec3u) {
    let row = id.y;
    let column = id.x;
    var sum = 0.0;
    for (var first = 0u; first < dims.k; first += 8u) {
        let along_a = first + at.x; // column of a, and row of b, that this invocation loads
        let along_b = first + at.y;
        tile_a[at.y][at.x] = 0.0;
        tile_b[at.y][at.x] = 0.0;
        // HOLE: load a[row, along_a] into tile_a and b[along_b, column] into tile_b, where they exist. Once all is loaded, add the
        // HOLE: eight products of this element to `sum`. Nobody may overwrite a tile that another still reads: two barriers.
        if (row < dims.m && along_a < dims.k) {
            tile_a[at.y][at.x] = a[row * dims.k + along_a];
        }
        if (along_b < dims.k && column < dims.n) {
            tile_b[at.y][at.x] = b[along_b * dims.n + column];
        }
        workgroupBarrier();
        for (var i = 0u; i < 8u; i++) {
            sum += tile_a[at.y][i] * tile_b[i][at.x];
        }
        workgroupBarrier();
        // END
    }
    // Not earlier: every invocation of a workgroup must come to its barriers.
    if (row < dims.m && column < dims.n) {
        c[row * dims.n + column] = sum;
    }
}
