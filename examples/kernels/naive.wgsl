// C = A B, step 1 of the ladder: one invocation for each element.
//
// Shapes: A, B, C [n, n], f32, row-major. Map: invocation (x, y) owns C[y, x]. No workgroup memory.
// FLOPs: 2 n³. Bytes asked for: 8 n³, four for each operation. Neighbors read the same rows, so caches help.

@group(0) @binding(0) var<uniform> n: u32;
@group(0) @binding(1) var<storage, read> a: array<f32>;
@group(0) @binding(2) var<storage, read> b: array<f32>;
@group(0) @binding(3) var<storage, read_write> c: array<f32>;

@compute @workgroup_size(16, 16)
fn naive(@builtin(global_invocation_id) id: vec3u) {
    if (id.x >= n || id.y >= n) {
        return;
    }
    var sum = 0.0;
    for (var k = 0u; k < n; k++) {
        sum += a[id.y * n + k] * b[k * n + id.x];
    }
    c[id.y * n + id.x] = sum;
}
