// out = lhs · rhs in registers, for subgroups of exactly 8 (lavapipe). The importing kernel declares how an element
// is loaded and stored, so matmul, Gram and convolution are all this loop:
//   seek(k), advance()                      go to k, go to the next k
//   columns(cols)                           rhs_at will be asked for these columns
//   lhs_at(row, k) -> f32                   row < m
//   rhs_at(k, cols) -> vec4f                four columns < n
//   lhs4_at(row, k) -> vec4f                LHS_K4, in place of lhs_at: k to k + 3, where a row of lhs is contiguous
//   rhs4_at(col, k) -> vec4f                K4, with LHS_K4 and in place of rhs_at: k to k + 3, where a column of rhs is
//   rows4_at(row, k) -> vec4f               LHS_R4, in place of lhs_at: row to row + 3, where a column of lhs is contiguous
//   store(row, col, sums)                   row < m, col < n: columns col to col + 3 of a row, of which some may be
//                                           n or more
//   skip(row, rows, col) -> bool            true if the block at (row, col) is not needed
//
// A workgroup is 8 x 4. A row of 8 invocations is a subgroup and owns 16 rows by 32 columns; each invocation owns 4
// neighboring columns of them, 64 sums. It loads 2 of the 16 rows of lhs and gets the others from its neighbors. On a
// CPU every load is a gather over the 8 lanes, and the size of what it gathers, 1 float or 4, costs little: so where layouts allow, lhs
// is loaded by fours, 64 multiply-adds for 1.5 loads in place of 3. No workgroup memory: on a CPU it is memory like any
// other, and a barrier is a switch of coroutines.
// Source: register blocking, Goto and van de Geijn 2008, "Anatomy of high-performance matrix multiplication".
#import gemm/register_block
const WIDTH: u32 = 8u;
const HEIGHT: u32 = 4u;
const ROWS: u32 = 64u; // of a workgroup
const COLUMNS: u32 = 32u;
const BLOCK = vec2u(16u, 32u); // rows and columns that skip() decides on

fn product(group: vec2u, local: vec2u, m: u32, n: u32, k_start: u32, k_end: u32) {
    let row = (group.y * 4u + local.y) * 16u;
    let col = group.x * 32u + local.x * 4u;
    if (row >= m || skip(row, 16u, group.x * 32u)) {
        return;
    }
    // Edges: elements outside are read from the last row or column and never stored.
    let row_p = min(row + local.x, m - 1u);
    let row_q = min(row + local.x + 8u, m - 1u);
    let cols = min(vec4u(col, col + 1u, col + 2u, col + 3u), vec4u(n - 1u));
    var sums: array<vec4f, 16>;
    columns(cols);
    seek(k_start);
#if K4
    for (var k = k_start; k < k_end; k += 4u) {
        let b0 = rhs4_at(cols.x, k);
        let b1 = rhs4_at(cols.y, k);
        let b2 = rhs4_at(cols.z, k);
        let b3 = rhs4_at(cols.w, k);
        add_four(&sums, lhs4_at(row_p, k), lhs4_at(row_q, k), mat4x4f(vec4f(b0.x, b1.x, b2.x, b3.x),
            vec4f(b0.y, b1.y, b2.y, b3.y), vec4f(b0.z, b1.z, b2.z, b3.z), vec4f(b0.w, b1.w, b2.w, b3.w)));
    }
#elif LHS_K4
    for (var k = k_start; k < k_end; k += 4u) {
        let b0 = rhs_at(k, cols);
        advance();
        let b1 = rhs_at(k + 1u, cols);
        advance();
        let b2 = rhs_at(k + 2u, cols);
        advance();
        let b3 = rhs_at(k + 3u, cols);
        advance();
        add_four(&sums, lhs4_at(row_p, k), lhs4_at(row_q, k), mat4x4f(b0, b1, b2, b3));
    }
#elif LHS_R4
    // Lanes 0 to 3 hold the 16 rows at one k, lanes 4 to 7 at the next.
    let rows = min(row + 4u * (local.x % 4u), m - 4u);
    let ahead = local.x / 4u;
    for (var k = k_start; k < k_end; k += 4u) {
        let b0 = rhs_at(k, cols);
        advance();
        let b1 = rhs_at(k + 1u, cols);
        advance();
        let b2 = rhs_at(k + 2u, cols);
        advance();
        let b3 = rhs_at(k + 3u, cols);
        advance();
        add_columns(&sums, rows4_at(rows, k + ahead), rows4_at(rows, k + 2u + ahead), mat4x4f(b0, b1, b2, b3));
    }
#else
    for (var k = k_start; k < k_end; k += 1u) {
        let p = lhs_at(row_p, k);
        let q = lhs_at(row_q, k);
        let b = rhs_at(k, cols);
        advance();
        add_products(&sums, p, q, b);
    }
#endif
    store_block(&sums, row, col, m, n);
}
