// out = lhs · rhs on matrix units (cooperative matrices of 16 x 16, f16 with f32 sums), for subgroups of exactly 32 and sizes
// that are whole blocks: m a multiple of 64, n of 32, k of 16. The importing kernel declares
//   lhs_tile(row, k) -> coop_mat16x16<f16, A>   rows row to row + 15, k to k + 15
//   rhs_tile(k, col) -> coop_mat16x16<f16, B>   k to k + 15, columns col to col + 15
//   store(row, col, sums) as for product_block.wgsl; skip() is not asked, tiles must be loaded by all invocations
//
// A workgroup is one subgroup and owns 64 rows by 32 columns, eight sums in registers: 6 loads for 8 products. Sums go through
// workgroup memory, 1 KiB, so that what follows the product is that of the other loops. Numbers of the f16 operands are
// multiplied exactly; in which order sums are added is the hardware's affair.
// Source: SPV_KHR_cooperative_matrix.
const WIDTH: u32 = 32u;
const HEIGHT: u32 = 1u;
const ROWS: u32 = 64u; // of a workgroup
const COLUMNS: u32 = 32u;
const BLOCK = vec2u(64u, 32u);
alias Sum = coop_mat16x16<f32, C>;
var<workgroup> tile: array<f32, 256>;

fn product(group: vec2u, local: vec2u, m: u32, n: u32, k_start: u32, k_end: u32) {
    let row = group.y * ROWS;
    let col = group.x * COLUMNS;
    var s00 = Sum();
    var s01 = Sum();
    var s10 = Sum();
    var s11 = Sum();
    var s20 = Sum();
    var s21 = Sum();
    var s30 = Sum();
    var s31 = Sum();
    for (var k = k_start; k < k_end; k += 16u) {
        let p = rhs_tile(k, col);
        let q = rhs_tile(k, col + 16u);
        let r0 = lhs_tile(row, k);
        s00 = coopMultiplyAdd(r0, p, s00);
        s01 = coopMultiplyAdd(r0, q, s01);
        let r1 = lhs_tile(row + 16u, k);
        s10 = coopMultiplyAdd(r1, p, s10);
        s11 = coopMultiplyAdd(r1, q, s11);
        let r2 = lhs_tile(row + 32u, k);
        s20 = coopMultiplyAdd(r2, p, s20);
        s21 = coopMultiplyAdd(r2, q, s21);
        let r3 = lhs_tile(row + 48u, k);
        s30 = coopMultiplyAdd(r3, p, s30);
        s31 = coopMultiplyAdd(r3, q, s31);
    }
    put_tile(s00, local.x, row, col);
    put_tile(s01, local.x, row, col + 16u);
    put_tile(s10, local.x, row + 16u, col);
    put_tile(s11, local.x, row + 16u, col + 16u);
    put_tile(s20, local.x, row + 32u, col);
    put_tile(s21, local.x, row + 32u, col + 16u);
    put_tile(s30, local.x, row + 48u, col);
    put_tile(s31, local.x, row + 48u, col + 16u);
}

// Two fours of columns for each invocation.
fn put_tile(sum: Sum, lane: u32, row: u32, col: u32) {
    coopStoreT(sum, &tile[0], 16u);
    workgroupBarrier();
    for (var i = lane; i < 64u; i += 32u) {
        let at = 4u * i;
        store(row + i / 4u, col + at % 16u, vec4f(tile[at], tile[at + 1u], tile[at + 2u], tile[at + 3u]));
    }
    workgroupBarrier();
}
