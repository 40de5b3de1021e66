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
// A workgroup is 8 x 4, or 8 x 2 of twice as many rows each (TALL, for products of more than 16 rows). A row of 8 invocations is
// a subgroup and owns ROW_BLOCKS blocks of 16 rows by 32 columns: one, or with TALL two. Each invocation owns 4 neighboring
// columns of them, 64 sums or 128. It loads 2 of the 16 rows of lhs and gets the others from its neighbors.
//
// On a CPU every load is a gather over the 8 lanes, so loads decide the time. The size of what is gathered, 1 float or 4, costs
// little: so where layouts allow, lhs is loaded by fours, 64 multiply-adds for 1.5 loads in place of 3. With TALL a vector of rhs
// that has been gathered meets twice as many rows: 128 multiply-adds for 2 loads. There are then far more sums than
// registers, but that matters less as long as each is fetched once for four k. No workgroup memory: on a CPU it is memory like
// any other, and a barrier is a switch of coroutines.
// Source: register blocking, Goto and van de Geijn 2008, "Anatomy of high-performance matrix multiplication".
#import gemm/register_block
const WIDTH: u32 = 8u;
const HEIGHT: u32 = 4u / ROW_BLOCKS;
const ROWS: u32 = 64u; // of a workgroup
const COLUMNS: u32 = 32u;
const BLOCK = vec2u(16u * ROW_BLOCKS, 32u); // rows and columns that skip() decides on

#if K4
#else
// Four rows of rhs from k on.
fn four_rows(k: u32, cols: vec4u) -> mat4x4f {
    let b0 = rhs_at(k, cols);
    advance();
    let b1 = rhs_at(k + 1u, cols);
    advance();
    let b2 = rhs_at(k + 2u, cols);
    advance();
    let b3 = rhs_at(k + 3u, cols);
    advance();
    return mat4x4f(b0, b1, b2, b3);
}
#endif

fn product(group: vec2u, local: vec2u, m: u32, n: u32, k_start: u32, k_end: u32) {
    let row = (group.y * HEIGHT + local.y) * BLOCK.x;
    let col = group.x * 32u + local.x * 4u;
    if (row >= m || skip(row, BLOCK.x, group.x * 32u)) {
        return;
    }
    // Edges: elements outside are read from the last row or column and never stored.
    let cols = min(vec4u(col, col + 1u, col + 2u, col + 3u), vec4u(n - 1u));
#unroll i ROW_BLOCKS
    let p$i = min(row + 16u * $iu + local.x, m - 1u);
    let q$i = min(row + 16u * $iu + local.x + 8u, m - 1u);
    var sums$i: array<vec4f, 16>;
#end
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
#unroll i ROW_BLOCKS
        add_four(&sums$i, lhs4_at(p$i, k), lhs4_at(q$i, k), b);
#end
    }
#elif LHS_K4
    for (var k = k_start; k < k_end; k += 4u) {
        let b = four_rows(k, cols);
#unroll i ROW_BLOCKS
        add_four(&sums$i, lhs4_at(p$i, k), lhs4_at(q$i, k), b);
#end
    }
#elif LHS_R4
    // Lanes 0 to 3 hold the 16 rows of a block at one k, lanes 4 to 7 at the next.
    let ahead = local.x / 4u;
#unroll i ROW_BLOCKS
    let rows$i = min(row + 16u * $iu + 4u * (local.x % 4u), m - 4u);
#end
    for (var k = k_start; k < k_end; k += 4u) {
        let b = four_rows(k, cols);
#unroll i ROW_BLOCKS
        add_columns(&sums$i, rows4_at(rows$i, k + ahead), rows4_at(rows$i, k + 2u + ahead), b);
#end
    }
#else
    for (var k = k_start; k < k_end; k += 1u) {
        let b = rhs_at(k, cols);
#unroll i ROW_BLOCKS
        add_products(&sums$i, lhs_at(p$i, k), lhs_at(q$i, k), b);
#end
        advance();
    }
#endif
#unroll i ROW_BLOCKS
    store_block(&sums$i, row + 16u * $iu, col, m, n);
#end
}
