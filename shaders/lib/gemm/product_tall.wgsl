// out = lhs · rhs in registers, for subgroups of exactly 8 (lavapipe) and products of more than 16 rows: product_subgroup.wgsl,
// whose functions it takes, with twice as many rows for each invocation.
//
// A workgroup is 8 x 2. A row of 8 invocations is a subgroup and owns 32 rows by 32 columns, as two blocks of 16 rows; each
// invocation owns 128 sums. A vector of rhs that has been gathered meets twice as many rows: with lhs by fours 128
// multiply-adds for 2 loads in place of 64 for 1.5. On a CPU a load is a loop over the lanes, so loads decide the
// time. There are far more sums than registers, but that matters less as long as each is fetched once for four k.
// Source: register blocking, Goto and van de Geijn 2008, "Anatomy of high-performance matrix multiplication".
#import gemm/register_block
const WIDTH: u32 = 8u;
const HEIGHT: u32 = 2u;
const ROWS: u32 = 64u; // of a workgroup
const COLUMNS: u32 = 32u;
const BLOCK = vec2u(32u, 32u); // rows and columns that skip() decides on

fn product(group: vec2u, local: vec2u, m: u32, n: u32, k_start: u32, k_end: u32) {
    let row = (group.y * 2u + local.y) * 32u;
    let col = group.x * 32u + local.x * 4u;
    if (row >= m || skip(row, 32u, group.x * 32u)) {
        return;
    }
    // Edges: elements outside are read from the last row or column and never stored.
    let row_p = min(row + local.x, m - 1u);
    let row_q = min(row + local.x + 8u, m - 1u);
    let row_r = min(row + local.x + 16u, m - 1u);
    let row_s = min(row + local.x + 24u, m - 1u);
    let cols = min(vec4u(col, col + 1u, col + 2u, col + 3u), vec4u(n - 1u));
    var upper: array<vec4f, 16>;
    var lower: array<vec4f, 16>;
    columns(cols);
    seek(k_start);
#if K4
    for (var k = k_start; k < k_end; k += 4u) {
        let b0 = rhs4_at(cols.x, k);
        let b1 = rhs4_at(cols.y, k);
        let b2 = rhs4_at(cols.z, k);
        let b3 = rhs4_at(cols.w, k);
        let b = mat4x4f(vec4f(b0.x, b1.x, b2.x, b3.x), vec4f(b0.y, b1.y, b2.y, b3.y),
                        vec4f(b0.z, b1.z, b2.z, b3.z), vec4f(b0.w, b1.w, b2.w, b3.w));
        add_four(&upper, lhs4_at(row_p, k), lhs4_at(row_q, k), b);
        add_four(&lower, lhs4_at(row_r, k), lhs4_at(row_s, k), b);
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
        let b = mat4x4f(b0, b1, b2, b3);
        add_four(&upper, lhs4_at(row_p, k), lhs4_at(row_q, k), b);
        add_four(&lower, lhs4_at(row_r, k), lhs4_at(row_s, k), b);
    }
#elif LHS_R4
    // Lanes 0 to 3 hold 16 rows at one k, lanes 4 to 7 at the next.
    let rows = min(row + 4u * (local.x % 4u), m - 4u);
    let rows_below = min(row + 16u + 4u * (local.x % 4u), m - 4u);
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
        let b = mat4x4f(b0, b1, b2, b3);
        add_columns(&upper, rows4_at(rows, k + ahead), rows4_at(rows, k + 2u + ahead), b);
        add_columns(&lower, rows4_at(rows_below, k + ahead), rows4_at(rows_below, k + 2u + ahead), b);
    }
#else
    for (var k = k_start; k < k_end; k += 1u) {
        let b = rhs_at(k, cols);
        add_products(&upper, lhs_at(row_p, k), lhs_at(row_q, k), b);
        add_products(&lower, lhs_at(row_r, k), lhs_at(row_s, k), b);
        advance();
    }
#endif
    store_block(&upper, row, col, m, n);
    store_block(&lower, row + 16u, col, m, n);
}
