// out = lhs · rhs through workgroup memory, for GPUs. The importing kernel declares how an element is loaded and
// stored, so matmul, Gram and convolution are all this loop:
//   seek(k), advance()                      go to k, go to the next k
//   columns(cols)                           rhs_at will be asked for these columns
//   lhs_at(row, k) -> f32                   row < m
//   rhs_at(k, cols) -> vec4f                four columns < n
//   store(row, col, sums)                   row < m, col < n: columns col to col + 3 of a row, of which some may be
//                                           n or more
//   skip(row, rows, col) -> bool            whether the block at (row, col) is not wanted
//
// A workgroup is 16 x 16 and owns 64 rows by 64 columns; each invocation owns 4 x 4 of them. Sixteen k at a time go
// through workgroup memory: a loaded element is used 64 times. 2 tiles of 64 x 16 floats, 8 KiB; the padding of lhs
// spreads its columns over the memory banks.
// Source: Volkov and Demmel 2008, "Benchmarking GPUs to tune dense linear algebra".
const WIDTH: u32 = 16u;
const HEIGHT: u32 = 16u;
const DEPTH: u32 = 16u;
const ROWS: u32 = 64u; // of a workgroup
const COLUMNS: u32 = 64u;
const BLOCK = vec2u(64u, 64u); // rows and columns that skip() decides on
var<workgroup> lhs_tile: array<f32, 1088>;   // [DEPTH][ROWS + 4]
var<workgroup> rhs_tile: array<vec4f, 256>;  // [DEPTH][COLUMNS / 4]

fn product(group: vec2u, local: vec2u, m: u32, n: u32, k_start: u32, k_end: u32) {
    let first_row = group.y * ROWS;
    let first_col = group.x * COLUMNS;
    if (skip(first_row, ROWS, first_col)) {
        return; // the whole workgroup returns
    }
    let index = local.y * 16u + local.x;
    let first = first_col + 4u * local.x;
    let cols = min(vec4u(first, first + 1u, first + 2u, first + 3u), vec4u(n - 1u));
    columns(cols);
    var sums: array<vec4f, 4>;
    for (var k0 = k_start; k0 < k_end; k0 += DEPTH) {
        for (var i = 0u; i < 4u; i += 1u) {
            // Neighbours take neighbouring k: rows of lhs are usually contiguous in k.
            let k = k0 + index % DEPTH;
            let row = index / DEPTH + 16u * i;
            var value = 0.0;
            if (k < k_end && first_row + row < m) {
                seek(k);
                value = lhs_at(first_row + row, k);
            }
            lhs_tile[(index % DEPTH) * 68u + row] = value;
        }
        let k = k0 + local.y;
        var value = vec4f();
        if (k < k_end) {
            seek(k);
            value = rhs_at(k, cols);
        }
        rhs_tile[index] = value;
        workgroupBarrier();
        for (var d = 0u; d < DEPTH; d += 1u) {
            let b = rhs_tile[d * 16u + local.x];
            let at = d * 68u + 4u * local.y;
            sums[0] += lhs_tile[at] * b;
            sums[1] += lhs_tile[at + 1u] * b;
            sums[2] += lhs_tile[at + 2u] * b;
            sums[3] += lhs_tile[at + 3u] * b;
        }
        workgroupBarrier();
    }
    let row = first_row + 4u * local.y;
    for (var i = 0u; i < 4u; i += 1u) {
        if (row + i < m && first < n) {
            store(row + i, first, sums[i]);
        }
    }
}
