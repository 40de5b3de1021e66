// C = A B, step 3 of the ladder: an invocation owns 4 × 4 elements, whose sums stay in registers.
//
// Shapes: A, B, C [n, n], f32, row-major, n a multiple of 64. Map: a workgroup owns 64 × 64 of C, an invocation 4 × 4 of them: rows
// 4 y to 4 y + 3, and one vec4 of columns. Workgroup memory: 2 × 64 × 16 floats, 8 KiB. FLOPs: 2 n³. Bytes from memory: 8 n³ / 64.
// A turn of the inner loop reads 8 floats from workgroup memory for 16 multiply-adds; step 2 reads 2 for one.

const T = 64u; // side of the block of C
const D = 16u; // columns of A and rows of B in a tile
var<workgroup> tile_a: array<array<f32, T>, D>;         // [k][row]
var<workgroup> tile_b: array<array<vec4f, 16u>, D>;     // [k][four columns]

@group(0) @binding(0) var<uniform> n: u32;
@group(0) @binding(1) var<storage, read> a: array<f32>;
@group(0) @binding(2) var<storage, read> b: array<vec4f>;
@group(0) @binding(3) var<storage, read_write> c: array<vec4f>;

@compute @workgroup_size(16, 16)
fn registers(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_id) at: vec3u) {
    let row = group.y * T;
    let column = group.x * T / 4u; // in units of vec4
    var sum0 = vec4f();
    var sum1 = vec4f();
    var sum2 = vec4f();
    var sum3 = vec4f();
    for (var first = 0u; first < n; first += D) {
        for (var i = 0u; i < 4u; i++) {
            tile_a[at.x][at.y + 16u * i] = a[(row + at.y + 16u * i) * n + first + at.x];
        }
        tile_b[at.y][at.x] = b[(first + at.y) * (n / 4u) + column + at.x];
        workgroupBarrier();
        for (var k = 0u; k < D; k++) {
            let right = tile_b[k][at.x];
            sum0 += tile_a[k][4u * at.y] * right;
            sum1 += tile_a[k][4u * at.y + 1u] * right;
            sum2 += tile_a[k][4u * at.y + 2u] * right;
            sum3 += tile_a[k][4u * at.y + 3u] * right;
        }
        workgroupBarrier();
    }
    let out = (row + 4u * at.y) * (n / 4u) + column + at.x;
    c[out] = sum0;
    c[out + n / 4u] = sum1;
    c[out + n / 2u] = sum2;
    c[out + 3u * n / 4u] = sum3;
}
