// out = lhs · rhs through workgroup memory in large tiles, for GPUs and products that are large both ways. The functions
// that the importing kernel declares are those of product_tiled.wgsl; columns(cols) is called once more for each block
// that is stored.
//
// A workgroup is 16 x 16 and owns 128 rows by 128 columns; each invocation owns 8 x 8 of them, as four blocks of 4 x 4
// that lie 64 apart, so that neighbours read neighbouring words of workgroup memory. Eight k at a time go through it: per
// k an invocation reads 4 vectors for 64 multiply-adds, twice the ratio of product_tiled.wgsl. A loaded element is used
// 128 times. 2 tiles of 128 x 8 floats, 8 KiB. A quarter as many workgroups: small products would leave a GPU idle.
// Source: Volkov and Demmel 2008, "Benchmarking GPUs to tune dense linear algebra".
const WIDTH: u32 = 16u;
const HEIGHT: u32 = 16u;
const ROWS: u32 = 128u; // of a workgroup
const COLUMNS: u32 = 128u;
const DEPTH: u32 = 8u;
const BLOCK = vec2u(128u, 128u); // rows and columns that skip() decides on
var<workgroup> lhs_tile: array<vec4f, 264>;  // [DEPTH][ROWS / 4 + 1], four rows a vector
var<workgroup> rhs_tile: array<vec4f, 256>;  // [DEPTH][COLUMNS / 4]

fn four_columns(first: u32, n: u32) -> vec4u {
    return min(vec4u(first, first + 1u, first + 2u, first + 3u), vec4u(n - 1u));
}

fn product(group: vec2u, local: vec2u, m: u32, n: u32, k_start: u32, k_end: u32) {
    let first_row = group.y * ROWS;
    let first_col = group.x * COLUMNS;
    if (skip(first_row, ROWS, first_col)) {
        return; // the whole workgroup returns
    }
    let index = local.y * 16u + local.x;
    // What this invocation loads: four rows of lhs at one k of eight, four columns of rhs at another.
    let lhs_k = index % DEPTH;
    let lhs_row = 4u * (index / DEPTH);
    let rhs_k = index / 32u;
    let cols = four_columns(first_col + 4u * (index % 32u), n);
    columns(cols);
    var sums: array<vec4f, 16>; // [row][half of the columns]
    for (var k0 = k_start; k0 < k_end; k0 += DEPTH) {
        var rows = vec4f();
        if (k0 + lhs_k < k_end) {
            seek(k0 + lhs_k);
            for (var i = 0u; i < 4u; i += 1u) {
                if (first_row + lhs_row + i < m) {
                    rows[i] = lhs_at(first_row + lhs_row + i, k0 + lhs_k);
                }
            }
        }
        lhs_tile[lhs_k * 33u + lhs_row / 4u] = rows;
        var value = vec4f();
        if (k0 + rhs_k < k_end) {
            seek(k0 + rhs_k);
            value = rhs_at(k0 + rhs_k, cols);
        }
        rhs_tile[index] = value;
        workgroupBarrier();
        for (var d = 0u; d < DEPTH; d += 1u) {
            let a = lhs_tile[d * 33u + local.y];
            let c = lhs_tile[d * 33u + 16u + local.y];
            let p = rhs_tile[d * 32u + local.x];
            let q = rhs_tile[d * 32u + 16u + local.x];
            sums[0] += a.x * p;
            sums[1] += a.x * q;
            sums[2] += a.y * p;
            sums[3] += a.y * q;
            sums[4] += a.z * p;
            sums[5] += a.z * q;
            sums[6] += a.w * p;
            sums[7] += a.w * q;
            sums[8] += c.x * p;
            sums[9] += c.x * q;
            sums[10] += c.y * p;
            sums[11] += c.y * q;
            sums[12] += c.z * p;
            sums[13] += c.z * q;
            sums[14] += c.w * p;
            sums[15] += c.w * q;
        }
        workgroupBarrier();
    }
    for (var half = 0u; half < 2u; half += 1u) {
        let col = first_col + 64u * half + 4u * local.x;
        columns(four_columns(col, n));
        for (var i = 0u; i < 8u; i += 1u) {
            let row = first_row + 64u * (i / 4u) + 4u * local.y + i % 4u;
            if (row < m && col < n) {
                store(row, col, sums[2u * i + half]);
            }
        }
    }
}
