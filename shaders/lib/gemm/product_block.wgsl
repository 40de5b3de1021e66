// out = lhs · rhs through workgroup memory, for GPUs: a family of kernels. The importing kernel declares how elements are loaded
// and stored, see product_loads.wgsl, so matmul, Gram and convolution are all this loop.
//
// A workgroup owns ROWS x COLUMNS of out. It moves DEPTH values of k per iteration through workgroup memory, as two tiles
// [DEPTH][ROWS] and [DEPTH][COLUMNS] of vec4f along rows and columns. An invocation owns OWN_ROWS x OWN_COLUMNS sums in
// registers, as vectors that lie LANE_ROWS and LANE_COLUMNS vectors apart. The LANE_ROWS · LANE_COLUMNS invocations of a
// subgroup own neighboring vectors, so that they read few words of workgroup memory, and read them together: for each k
// (OWN_ROWS + OWN_COLUMNS) / 4 vectors for OWN_ROWS · OWN_COLUMNS multiply-adds.
// While an iteration is added up, the next one is on its way from memory to registers (LHS_LOADS and RHS_LOADS vectors).
// SLICES > 1: as many groups of invocations share the k of an iteration, TURN each, for products with few outputs; at the end slice 0
// adds the sums of the others to its own, in order.
//
// memory  16·DEPTH·(ROWS/4 + COLUMNS/4 + 2·PADDING) bytes, and 4·(SLICES - 1)·ROWS·COLUMNS with SLICES > 1
// numeric f32 sums in order of k within a slice, slices in order
// source  Volkov and Demmel 2008, "Benchmarking GPUs to tune dense linear algebra"; NVIDIA CUTLASS, "Efficient GEMM in CUDA"
#import gemm/product_loads
const WIDTH: u32 = SLICES * SLICE;  // invocations of a workgroup
const HEIGHT: u32 = 1u;
const BLOCK = vec2u(ROWS, COLUMNS); // rows and columns that skip() decides on
// With PADDING, neighbors in k write to different banks of workgroup memory.
const LHS_ROW: u32 = ROWS / 4u + PADDING;
const RHS_ROW: u32 = COLUMNS / 4u + PADDING;
var<workgroup> lhs_tile: array<vec4f, DEPTH * LHS_ROW>;
var<workgroup> rhs_tile: array<vec4f, DEPTH * RHS_ROW>;
#if SLICED
var<workgroup> slices: array<vec4f, (SLICES - 1u) * SLICE * SUMS>;
#endif

// Two neighbors along k, then rows or columns.
fn k4_place(index: u32, lines: u32) -> vec2u {
    return vec2u(index / 2u % lines, index % 2u + 2u * (index / (2u * lines)));
}

// From registers to workgroup memory.
fn put_lhs(index: u32, value: vec4f) {
    let place = lhs_place(index);
#if LHS_K4
    let at = 4u * place.y * LHS_ROW + place.x / 4u;
    let element = place.x % 4u;
    lhs_tile[at][element] = value.x;
    lhs_tile[at + LHS_ROW][element] = value.y;
    lhs_tile[at + 2u * LHS_ROW][element] = value.z;
    lhs_tile[at + 3u * LHS_ROW][element] = value.w;
#else
    lhs_tile[place.y * LHS_ROW + place.x] = value;
#endif
}
fn put_rhs(index: u32, value: vec4f) {
    let place = rhs_place(index);
#if K4
    let at = 4u * place.y * RHS_ROW + place.x / 4u;
    let element = place.x % 4u;
    rhs_tile[at][element] = value.x;
    rhs_tile[at + RHS_ROW][element] = value.y;
    rhs_tile[at + 2u * RHS_ROW][element] = value.z;
    rhs_tile[at + 3u * RHS_ROW][element] = value.w;
#else
    rhs_tile[place.y * RHS_ROW + place.x] = value;
#endif
}

fn product(group: vec2u, local: vec2u, m: u32, n: u32, k_start: u32, k_end: u32) {
    let first_row = group.y * ROWS;
    let first_col = group.x * COLUMNS;
    if (skip(first_row, ROWS, first_col)) {
        return; // the whole workgroup returns
    }
    let index = local.x;
    // Position of this invocation's sums: first vector of rows and of columns.
    let lane = index % (LANE_ROWS * LANE_COLUMNS);
    let subgroup = index % SLICE / (LANE_ROWS * LANE_COLUMNS);
    let across = COLUMNS / (LANE_COLUMNS * OWN_COLUMNS);
    let own_row = subgroup / across * (LANE_ROWS * OWN_ROWS / 4u) + lane / LANE_COLUMNS;
    let own_col = subgroup % across * (LANE_COLUMNS * FOURS) + lane % LANE_COLUMNS;
    let slice = index / SLICE;
    let lhs_own = slice * TURN * LHS_ROW + own_row;
    let rhs_own = slice * TURN * RHS_ROW + own_col;
    // Row 4·i + r of this invocation, vector j of columns. One name each: of an array, NVIDIA's compiler makes slower code.
#unroll i ROW_FOURS
#unroll r 4
#unroll j FOURS
    var sum_$i_$r_$j = vec4f();
#end
#end
#end
    var lhs_next: array<vec4f, LHS_LOADS>;
    var rhs_next: array<vec4f, RHS_LOADS>;

#if STEADY
#unroll i LHS_LOADS
    let lhs_from$i = lhs_start(lhs_place(index + $iu * WIDTH), first_row, m, k_start);
#end
#unroll i RHS_LOADS
    let rhs_from$i = rhs_start(rhs_place(index + $iu * WIDTH), first_col, n, k_start);
#end
    let lhs_step = lhs_start(vec2u(0u), 0u, m, DEPTH) - lhs_start(vec2u(0u), 0u, m, 0u);
    let rhs_step = rhs_start(vec2u(0u), 0u, n, DEPTH) - rhs_start(vec2u(0u), 0u, n, 0u);
#endif
    columns(four_columns(first_col + first_column(rhs_place(index).x), n));
    if (k_start < k_end) {
#if BY_TAP
        enter(k_start, index);
#endif
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
#if BY_TAP
        enter(next_turn(k0, k_end), index);
#endif
#if STEADY
        let iterations = (next_turn(k0, k_end) - k_start) / DEPTH;
#unroll i LHS_LOADS
        lhs_next[$i] = lhs_four(lhs_from$i + iterations * lhs_step);
#end
#unroll i RHS_LOADS
        rhs_next[$i] = rhs_four(rhs_from$i + iterations * rhs_step);
#end
#else
#unroll i LHS_LOADS
        lhs_next[$i] = load_lhs(index + $iu * WIDTH, first_row, m, next_turn(k0, k_end), k_end);
#end
#unroll i RHS_LOADS
        rhs_next[$i] = load_rhs(index + $iu * WIDTH, first_col, n, next_turn(k0, k_end), k_end);
#end
#endif
        // Unrolled by hand: left to a driver (NVIDIA 580), the loop runs at 33 TFLOP/s in place of 45 on an H100.
#unroll d TURN
        {
            let lhs_at_k = lhs_own + $du * LHS_ROW;
            let rhs_at_k = rhs_own + $du * RHS_ROW;
#unroll j FOURS
            let b$j = rhs_tile[rhs_at_k + $ju * LANE_COLUMNS];
#end
#unroll i ROW_FOURS
            let a$i = lhs_tile[lhs_at_k + $iu * LANE_ROWS];
#unroll j FOURS
#unroll r 4
            sum_$i_$r_$j = fma(vec4f(a$i[$r]), b$j, sum_$i_$r_$j);
#end
#end
#end
        }
#end
        workgroupBarrier();
    }

#if SLICED
    // [slice - 1][vector][invocation]: neighbors write neighboring vectors.
    let number = index % SLICE;
    if (slice > 0u) {
#unroll i ROW_FOURS
#unroll r 4
#unroll j FOURS
        slices[((slice - 1u) * SUMS + (4u * $iu + $ru) * FOURS + $ju) * SLICE + number] = sum_$i_$r_$j;
#end
#end
#end
    }
    workgroupBarrier();
    if (slice > 0u) {
        return;
    }
    for (var s = 0u; s < SLICES - 1u; s += 1u) {
#unroll i ROW_FOURS
#unroll r 4
#unroll j FOURS
        sum_$i_$r_$j += slices[(s * SUMS + (4u * $iu + $ru) * FOURS + $ju) * SLICE + number];
#end
#end
#end
    }
#endif
#unroll j FOURS
    let col$j = first_col + first_column(own_col + $ju * LANE_COLUMNS);
    columns(four_columns(col$j, n));
#unroll i ROW_FOURS
#unroll r 4
    store_one(first_row + 4u * (own_row + $iu * LANE_ROWS) + $ru, col$j, sum_$i_$r_$j, m, n);
#end
#end
#end
}

fn store_one(row: u32, col: u32, sums: vec4f, m: u32, n: u32) {
    if (row < m && col < n) {
        store(row, col, sums);
    }
}
