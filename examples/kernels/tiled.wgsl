// C = A B, step 2 of the ladder: a workgroup loads tiles of A and B once, and all its invocations read them there.
//
// Shapes: A, B, C [n, n], f32, row-major, n a multiple of 16. Map: a workgroup owns 16 × 16 of C, an invocation one element.
// Workgroup memory: 2 × 16 × 16 floats, 2 KiB. FLOPs: 2 n³. Bytes from memory: 8 n³ / 16, as each number is read by 16 invocations.

const T = 16u;
var<workgroup> tile_a: array<array<f32, T>, T>;
var<workgroup> tile_b: array<array<f32, T>, T>;

@group(0) @binding(0) var<uniform> n: u32;
@group(0) @binding(1) var<storage, read> a: array<f32>;
@group(0) @binding(2) var<storage, read> b: array<f32>;
@group(0) @binding(3) var<storage, read_write> c: array<f32>;

@compute @workgroup_size(16, 16)
fn tiled(@builtin(global_invocation_id) id: vec3u, @builtin(local_invocation_id) at: vec3u) {
    var sum = 0.0;
    for (var first = 0u; first < n; first += T) {
        tile_a[at.y][at.x] = a[id.y * n + first + at.x];
        tile_b[at.y][at.x] = b[(first + at.y) * n + id.x];
        workgroupBarrier(); // all of both tiles is there
        for (var k = 0u; k < T; k++) {
            sum += tile_a[at.y][k] * tile_b[k][at.x];
        }
        workgroupBarrier(); // nobody reads them any more
    }
    c[id.y * n + id.x] = sum;
}
