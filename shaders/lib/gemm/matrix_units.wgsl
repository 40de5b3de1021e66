// Matrix units: products of 16 x 16 by a subgroup of 32, for product_cooperative.wgsl, which declares the tiles. With EMULATED the
// same by plain multiply-adds, so that an adapter without matrix units can test the loop around them: a fragment is its place in a
// tile, and an invocation has 8 of the 256 sums.
#if EMULATED
alias Lhs = u32;
alias Rhs = u32;
alias Sum = array<f32, 8>;
var<private> lane: u32;
fn lhs_fragment(at: u32) -> Lhs {
    return at;
}
fn rhs_fragment(at: u32) -> Rhs {
    return at;
}
fn multiply_add(a: Lhs, b: Rhs, sum: Sum) -> Sum {
    var s = sum;
    for (var e = 0u; e < 8u; e += 1u) {
        let row = (lane + 32u * e) / 16u;
        let col = (lane + 32u * e) % 16u;
        for (var k = 0u; k < 16u; k += 1u) {
            let l = lhs_tile[a + k * LHS_ROW + row / 4u][row % 4u];
            let r = rhs_tile[b + k * RHS_ROW + col / 4u][col % 4u];
            s[e] += f32(l) * f32(r);
        }
    }
    return s;
}
fn put_sum(sum: Sum, at: u32) {
    var s = sum;
    for (var e = 0u; e < 8u; e += 1u) {
        sums_tile[at + lane + 32u * e] = s[e];
    }
}
#else
alias Lhs = coop_mat16x16<f16, A>;
alias Rhs = coop_mat16x16<f16, B>;
alias Sum = coop_mat16x16<f32, C>;
var<private> lane: u32;
// The side [k][row].
fn lhs_fragment(at: u32) -> Lhs {
    return coopLoad<Lhs>(&lhs_tile[at], LHS_ROW);
}
// The side [k][column]; T: a row of the fragment is contiguous.
fn rhs_fragment(at: u32) -> Rhs {
    return coopLoadT<Rhs>(&rhs_tile[at], RHS_ROW);
}
fn multiply_add(a: Lhs, b: Rhs, sum: Sum) -> Sum {
    return coopMultiplyAdd(a, b, sum);
}
fn put_sum(sum: Sum, at: u32) {
    coopStoreT(sum, &sums_tile[at], 16u);
}
#endif
