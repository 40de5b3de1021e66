// out = lhs · rhs on matrix units (cooperative matrices of 16 x 16, f16 with f32 sums), for subgroups of exactly 32. The
// importing kernel declares how elements are loaded and stored, see product_loads.wgsl. Sizes need not be whole blocks.
//
// A workgroup owns ROWS x COLUMNS of out. It moves DEPTH values of k per iteration through workgroup memory, rounded to f16
// (operands that are f16 stay as they are). A subgroup owns 64 x 64, sixteen sums in registers: for each 16 values of k it
// reads 8 fragments for 16 products. While an iteration is added up, the next one is on its way from memory to registers.
// Tiles are [k][row] and [k][column], from which fragments are read fastest; a side that lies the other way in memory is turned
// on its way. Rows of tiles are 8 numbers longer, so that numbers that are read together lie in different banks.
// skip() is not called: matrix units need all invocations of a subgroup.
// Sums go through workgroup memory, so that the epilogue is that of the other loops. A driver (NVIDIA 580) also cannot
// compile kernels that store sums right into a buffer, or that read f16 out of vectors of u32: it loses the device.
//
// memory  2·DEPTH·(ROWS + COLUMNS + 16) bytes, and 1 KiB for each subgroup
// numeric f16 operands are multiplied exactly; the order of sums depends on the hardware
// source  SPV_KHR_cooperative_matrix; NVIDIA CUTLASS, "Efficient GEMM in CUDA"
#import gemm/product_loads
#import gemm/matrix_units
const WIDTH: u32 = 32u * SUBGROUPS; // invocations of a workgroup
const HEIGHT: u32 = 1u;
const BLOCK = vec2u(ROWS, COLUMNS); // rows and columns that skip() decides on
// Tiles [k][row] and [k][column].
const LHS_ROW: u32 = ROWS / 4u + 2u;
const RHS_ROW: u32 = COLUMNS / 4u + 2u;
var<workgroup> lhs_tile: array<vec4<f16>, DEPTH * LHS_ROW>;
var<workgroup> rhs_tile: array<vec4<f16>, DEPTH * RHS_ROW>;
var<workgroup> sums_tile: array<f32, 256u * SUBGROUPS>;

// A side whose rows or columns are contiguous along k (K4) is loaded in squares of four by four, and turned. Load number i of an
// invocation is line i mod 4 of its square i / 4. Four neighbors lie along k, then squares along rows or columns.
fn k4_load(index: u32, i: u32) -> u32 {
    return 4u * (index + i / 4u * WIDTH) + i % 4u;
}
fn k4_place(load: u32, lines: u32) -> vec2u {
    let square = load / 4u;
    let along_k = square % 4u + square / lines * 4u;
    return vec2u(square / 4u % (lines / 4u) * 4u + load % 4u, along_k);
}
fn turned(a: Four, b: Four, c: Four, d: Four, element: u32) -> vec4<f16> {
    return vec4<f16>(f16(a[element]), f16(b[element]), f16(c[element]), f16(d[element]));
}
#if LHS_K4
fn lhs_load(index: u32, i: u32) -> u32 {
    return k4_load(index, i);
}
fn put_lhs(index: u32, i: u32, a: Four, b: Four, c: Four, d: Four) {
    let place = lhs_place(k4_load(index, i));
#unroll e 4
    lhs_tile[(4u * place.y + $eu) * LHS_ROW + place.x / 4u] = turned(a, b, c, d, $eu);
#end
}
#else
fn lhs_load(index: u32, i: u32) -> u32 {
    return index + i * WIDTH;
}
fn put_lhs(index: u32, i: u32, a: Four, b: Four, c: Four, d: Four) {
    put_lhs_vector(lhs_place(lhs_load(index, i)), a);
    put_lhs_vector(lhs_place(lhs_load(index, i + 1u)), b);
    put_lhs_vector(lhs_place(lhs_load(index, i + 2u)), c);
    put_lhs_vector(lhs_place(lhs_load(index, i + 3u)), d);
}
fn put_lhs_vector(place: vec2u, value: Four) {
    lhs_tile[place.y * LHS_ROW + place.x] = vec4<f16>(value);
}
#endif
#if K4
fn rhs_load(index: u32, i: u32) -> u32 {
    return k4_load(index, i);
}
fn put_rhs(index: u32, i: u32, a: Four, b: Four, c: Four, d: Four) {
    let place = rhs_place(k4_load(index, i));
#unroll e 4
    rhs_tile[(4u * place.y + $eu) * RHS_ROW + place.x / 4u] = turned(a, b, c, d, $eu);
#end
}
#else
fn rhs_load(index: u32, i: u32) -> u32 {
    return index + i * WIDTH;
}
fn put_rhs(index: u32, i: u32, a: Four, b: Four, c: Four, d: Four) {
    put_rhs_vector(rhs_place(rhs_load(index, i)), a);
    put_rhs_vector(rhs_place(rhs_load(index, i + 1u)), b);
    put_rhs_vector(rhs_place(rhs_load(index, i + 2u)), c);
    put_rhs_vector(rhs_place(rhs_load(index, i + 3u)), d);
}
fn put_rhs_vector(place: vec2u, value: Four) {
    rhs_tile[place.y * RHS_ROW + place.x] = vec4<f16>(value);
}
#endif
// Zeros beyond k_end.
fn kept_lhs(index: u32, i: u32, value: Four, k0: u32, k_end: u32) -> Four {
    return lhs_kept(lhs_load(index, i), value, k0, k_end);
}
fn kept_rhs(index: u32, i: u32, value: Four, k0: u32, k_end: u32) -> Four {
    return rhs_kept(rhs_load(index, i), value, k0, k_end);
}

fn product(group: vec2u, local: vec2u, m: u32, n: u32, k_start: u32, k_end: u32) {
    let first_row = group.y * ROWS;
    let first_col = group.x * COLUMNS;
    let index = local.x;
    lane = index % 32u;
    let subgroup = index / 32u;
    let own_row = subgroup / (COLUMNS / (16u * ACROSS)) * (16u * DOWN);
    let own_col = subgroup % (COLUMNS / (16u * ACROSS)) * (16u * ACROSS);
#unroll i DOWN
#unroll j ACROSS
    var s$i_$j = Sum();
#end
#end
#unroll i LHS_SQUARES
#unroll e 4
    var lhs_next_$i_$e: Four;
#end
#end
#unroll i RHS_SQUARES
#unroll e 4
    var rhs_next_$i_$e: Four;
#end
#end
    columns(four_columns(first_col + first_column(rhs_place(rhs_load(index, 0u)).x), n));
    if (k_start < k_end) {
#if BY_TAP
        enter(k_start, index);
#endif
#unroll i LHS_SQUARES
#unroll e 4
        lhs_next_$i_$e = load_lhs(lhs_load(index, 4u * $iu + $eu), first_row, m, k_start, k_end);
#end
#end
#unroll i RHS_SQUARES
#unroll e 4
        rhs_next_$i_$e = load_rhs(rhs_load(index, 4u * $iu + $eu), first_col, n, k_start, k_end);
#end
#end
    }
    for (var k0 = k_start; k0 < k_end; k0 += DEPTH) {
#unroll i LHS_SQUARES
#unroll e 4
        let lhs_$i_$e = kept_lhs(index, 4u * $iu + $eu, lhs_next_$i_$e, k0, k_end);
#end
        put_lhs(index, 4u * $iu, lhs_$i_0, lhs_$i_1, lhs_$i_2, lhs_$i_3);
#end
#unroll i RHS_SQUARES
#unroll e 4
        let rhs_$i_$e = kept_rhs(index, 4u * $iu + $eu, rhs_next_$i_$e, k0, k_end);
#end
        put_rhs(index, 4u * $iu, rhs_$i_0, rhs_$i_1, rhs_$i_2, rhs_$i_3);
#end
        workgroupBarrier();
#if BY_TAP
        enter(next_turn(k0, k_end), index);
#endif
#unroll i LHS_SQUARES
#unroll e 4
        lhs_next_$i_$e = load_lhs(lhs_load(index, 4u * $iu + $eu), first_row, m, next_turn(k0, k_end), k_end);
#end
#end
#unroll i RHS_SQUARES
#unroll e 4
        rhs_next_$i_$e = load_rhs(rhs_load(index, 4u * $iu + $eu), first_col, n, next_turn(k0, k_end), k_end);
#end
#end
#unroll d STEPS
        {
#unroll i DOWN
            let lhs_at$i = 16u * $du * LHS_ROW + own_row / 4u + 4u * $iu;
            let a$i = lhs_fragment(lhs_at$i);
#end
#unroll j ACROSS
            let rhs_at$j = 16u * $du * RHS_ROW + own_col / 4u + 4u * $ju;
            let b$j = rhs_fragment(rhs_at$j);
#end
#unroll i DOWN
#unroll j ACROSS
            s$i_$j = multiply_add(a$i, b$j, s$i_$j);
#end
#end
        }
#end
        workgroupBarrier();
    }
    let mine = 256u * subgroup;
#unroll i DOWN
#unroll j ACROSS
    put_sum(s$i_$j, mine);
    workgroupBarrier();
    put_sums(mine, first_row + own_row + 16u * $iu, first_col, (own_col + 16u * $ju) / 4u, m, n);
    workgroupBarrier();
#end
#end
}

// Two vectors of four columns for each invocation; `vector` is the first one of the fragment in the block.
fn put_sums(mine: u32, first_row: u32, first_col: u32, vector: u32, m: u32, n: u32) {
    for (var i = lane; i < 64u; i += 32u) {
        let row = first_row + i / 4u;
        let col = first_col + first_column(vector + i % 4u);
        let at = mine + 4u * i;
        columns(four_columns(col, n));
        if (row < m && col < n) {
            store(row, col, vec4f(sums_tile[at], sums_tile[at + 1u], sums_tile[at + 2u], sums_tile[at + 3u]));
        }
    }
}
