// out = lhs · rhs on matrix units (cooperative matrices of 16 x 16, f16 with f32 sums), for subgroups of exactly 32. The
// importing kernel declares how elements are loaded and stored, see product_loads.wgsl. Sizes need not be whole blocks.
//
// A workgroup owns ROWS x COLUMNS of out. It moves DEPTH values of k per iteration through workgroup memory, rounded to f16
// (operands that are f16 stay as they are). A subgroup owns 64 x 64, sixteen sums in registers: for each 16 values of k it
// reads 8 fragments for 16 products. While an iteration is added up, the next one is on its way from memory to registers.
// A tile has the layout of memory: [row][k] where four k are loaded at a time, else [k][row]; rows are 8 numbers longer, so
// that numbers that are read together lie in different banks.
// skip() is not called: matrix units need all invocations of a subgroup.
// Sums go through workgroup memory, so that the epilogue is that of the other loops. A driver (NVIDIA 580) also cannot
// compile kernels that store sums right into a buffer, or that read f16 out of vectors of u32: it loses the device.
//
// memory  2·(ROWS + COLUMNS)·(DEPTH + 8) bytes, and 1 KiB for each subgroup
// numeric f16 operands are multiplied exactly; the order of sums depends on the hardware
// source  SPV_KHR_cooperative_matrix; NVIDIA CUTLASS, "Efficient GEMM in CUDA"
#import gemm/product_loads
const WIDTH: u32 = 32u * SUBGROUPS; // invocations of a workgroup
const HEIGHT: u32 = 1u;
const BLOCK = vec2u(ROWS, COLUMNS); // rows and columns that skip() decides on
const K_LANES: u32 = DEPTH / 4u;    // neighbors that load along k
alias Lhs = coop_mat16x16<f16, A>;
alias Rhs = coop_mat16x16<f16, B>;
alias Sum = coop_mat16x16<f32, C>;
#if LHS_K4
const LHS_ROW: u32 = DEPTH / 4u + 2u;
var<workgroup> lhs_tile: array<vec4<f16>, ROWS * LHS_ROW>;
fn put_lhs(index: u32, value: Four) {
    let place = lhs_place(index);
    lhs_tile[place.x * LHS_ROW + place.y] = vec4<f16>(value);
}
fn lhs_fragment(row: u32, k: u32) -> Lhs {
    let at = row * LHS_ROW + k / 4u;
    return coopLoadT<Lhs>(&lhs_tile[at], LHS_ROW); // T: a row is contiguous
}
#else
const LHS_ROW: u32 = ROWS / 4u + 2u;
var<workgroup> lhs_tile: array<vec4<f16>, DEPTH * LHS_ROW>;
fn put_lhs(index: u32, value: Four) {
    let place = lhs_place(index);
    lhs_tile[place.y * LHS_ROW + place.x] = vec4<f16>(value);
}
fn lhs_fragment(row: u32, k: u32) -> Lhs {
    let at = k * LHS_ROW + row / 4u;
    return coopLoad<Lhs>(&lhs_tile[at], LHS_ROW);
}
#endif
#if K4
const RHS_ROW: u32 = DEPTH / 4u + 2u;
var<workgroup> rhs_tile: array<vec4<f16>, COLUMNS * RHS_ROW>;
fn put_rhs(index: u32, value: Four) {
    let place = rhs_place(index);
    rhs_tile[place.x * RHS_ROW + place.y] = vec4<f16>(value);
}
fn rhs_fragment(k: u32, col: u32) -> Rhs {
    let at = col * RHS_ROW + k / 4u;
    return coopLoad<Rhs>(&rhs_tile[at], RHS_ROW);
}
#else
const RHS_ROW: u32 = COLUMNS / 4u + 2u;
var<workgroup> rhs_tile: array<vec4<f16>, DEPTH * RHS_ROW>;
fn put_rhs(index: u32, value: Four) {
    let place = rhs_place(index);
    rhs_tile[place.y * RHS_ROW + place.x] = vec4<f16>(value);
}
fn rhs_fragment(k: u32, col: u32) -> Rhs {
    let at = k * RHS_ROW + col / 4u;
    return coopLoadT<Rhs>(&rhs_tile[at], RHS_ROW);
}
#endif
var<workgroup> sums_tile: array<f32, 256u * SUBGROUPS>;

fn product(group: vec2u, local: vec2u, m: u32, n: u32, k_start: u32, k_end: u32) {
    let first_row = group.y * ROWS;
    let first_col = group.x * COLUMNS;
    let index = local.x;
    let subgroup = index / 32u;
    let own_row = subgroup / (COLUMNS / (16u * ACROSS)) * (16u * DOWN);
    let own_col = subgroup % (COLUMNS / (16u * ACROSS)) * (16u * ACROSS);
#unroll i DOWN
#unroll j ACROSS
    var s$i_$j = Sum();
#end
#end
    var lhs_next: array<Four, LHS_LOADS>;
    var rhs_next: array<Four, RHS_LOADS>;
    columns(four_columns(first_col + first_column(rhs_place(index).x), n));
    if (k_start < k_end) {
#unroll i LHS_LOADS
        lhs_next[$i] = load_lhs(index + $iu * WIDTH, first_row, m, k_start, k_end);
#end
#unroll i RHS_LOADS
        rhs_next[$i] = load_rhs(index + $iu * WIDTH, first_col, n, k_start, k_end);
#end
    }
    for (var k0 = k_start; k0 < k_end; k0 += DEPTH) {
#unroll i LHS_LOADS
        put_lhs(index + $iu * WIDTH, lhs_kept(index + $iu * WIDTH, lhs_next[$i], k0, k_end));
#end
#unroll i RHS_LOADS
        put_rhs(index + $iu * WIDTH, rhs_kept(index + $iu * WIDTH, rhs_next[$i], k0, k_end));
#end
        workgroupBarrier();
#unroll i LHS_LOADS
        lhs_next[$i] = load_lhs(index + $iu * WIDTH, first_row, m, next_turn(k0, k_end), k_end);
#end
#unroll i RHS_LOADS
        rhs_next[$i] = load_rhs(index + $iu * WIDTH, first_col, n, next_turn(k0, k_end), k_end);
#end
#unroll d STEPS
        {
#unroll i DOWN
            let a$i = lhs_fragment(own_row + 16u * $iu, 16u * $du);
#end
#unroll j ACROSS
            let b$j = rhs_fragment(16u * $du, own_col + 16u * $ju);
#end
#unroll i DOWN
#unroll j ACROSS
            s$i_$j = coopMultiplyAdd(a$i, b$j, s$i_$j);
#end
#end
        }
#end
        workgroupBarrier();
    }
    let mine = 256u * subgroup;
    let lane = index % 32u;
#unroll i DOWN
#unroll j ACROSS
    coopStoreT(s$i_$j, &sums_tile[mine], 16u);
    workgroupBarrier();
    put_sums(lane, mine, first_row + own_row + 16u * $iu, first_col, (own_col + 16u * $ju) / 4u, m, n);
    workgroupBarrier();
#end
#end
}

// Two vectors of four columns for each invocation; `vector` is the first one of the fragment in the block.
fn put_sums(lane: u32, mine: u32, first_row: u32, first_col: u32, vector: u32, m: u32, n: u32) {
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
