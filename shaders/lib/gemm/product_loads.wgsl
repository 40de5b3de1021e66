// Loads of the sides of products on GPUs, four numbers at a time. The importing kernel declares how elements are loaded and
// stored:
//   seek(k)                          go to k, before lhs_at and rhs_at
//   enter(k, index)                  BY_TAP: an iteration begins at k, for the invocation `index`; before all loads of it
//   lhs4_at(row, k) -> Four          LHS_K4: k to k + 3 of a row, where a row of lhs is contiguous
//   rows4_at(row, k) -> Four         LHS_R4: rows row to row + 3, where a column of lhs is contiguous
//   lhs_at(row, k) -> f32            in place of both
//   lhs_start(place, row, m, k)      STEADY: index of the vector at `place` of a tile, for lhs_four(index) -> Four. From one
//                                    iteration to the next it grows by the same number, so an address costs one addition.
//   rhs_start(place, col, n, k)      the same for rhs_four(index)
//   columns(cols)                    rhs_at or store will be asked for these four columns
//   rhs4_at(col, k) -> Four          K4: k to k + 3 of a column
//   rhs_at(k, cols) -> Four          in place of it; RHS_K: neighbors in k are neighbors in memory
//   store(row, col, sums)            row < m, col < n: columns col, col + STEP, … of a row, of which some may be n or more
//   skip(row, rows, col) -> bool     true if the block at (row, col) is not needed
//
// STEP is 1, or COLUMNS / 4 with SPREAD: a vector of rhs then holds columns that lie a quarter of the block apart, so that
// neighboring invocations read and write neighboring columns one by one. Convolutions do that: images have any number of
// pixels.
#if SPREAD
const STEP: u32 = COLUMNS / 4u;
fn first_column(vector: u32) -> u32 {
    return vector;
}
#else
const STEP: u32 = 1u;
fn first_column(vector: u32) -> u32 {
    return 4u * vector;
}
#endif

fn four_columns(first: u32, n: u32) -> vec4u {
    return min(first + STEP * vec4u(0u, 1u, 2u, 3u), vec4u(n - 1u));
}

// Values of k from one vector of a tile to the next.
#if LHS_K4
const LHS_STEP: u32 = 4u;
#else
const LHS_STEP: u32 = 1u;
#endif
#if K4
const RHS_STEP: u32 = 4u;
#else
const RHS_STEP: u32 = 1u;
#endif

// Vector of a tile that load `index` fills: (vector along rows or columns, k), or (row or column, vector of four k) with K4.
// The loop that imports this declares k4_place.
fn lhs_place(index: u32) -> vec2u {
#if LHS_K4
    return k4_place(index, ROWS);
#elif LHS_R4
    return vec2u(index % (ROWS / 4u), index / (ROWS / 4u));
#else
    return vec2u(index / DEPTH, index % DEPTH);
#endif
}
fn rhs_place(index: u32) -> vec2u {
#if K4
    return k4_place(index, COLUMNS);
#elif RHS_K
    return vec2u(index / DEPTH, index % DEPTH);
#else
    return vec2u(index % (COLUMNS / 4u), index / (COLUMNS / 4u));
#endif
}

#if RHS_K
fn at_columns(cols: vec4u) {
    columns(cols);
}
#else
fn at_columns(cols: vec4u) {} // the same for all loads of an invocation
#endif

// From memory to registers. Beyond k_end, elements before it are read, and beyond m or n the last row or column: no load waits
// for a branch. `lhs_kept` and `rhs_kept` turn these numbers into zeros, or they are never stored.
#if WHOLE
// Parts of k are a whole number of iterations: nothing lies beyond.
fn last_k(k: u32, k_end: u32, step: u32) -> u32 {
    return k;
}
fn next_turn(k0: u32, k_end: u32) -> u32 {
    return min(k0 + DEPTH, k_end - DEPTH);
}
fn kept(value: Four, k: u32, k_end: u32) -> Four {
    return value;
}
#else
fn last_k(k: u32, k_end: u32, step: u32) -> u32 {
    return min(k, k_end - step);
}
fn next_turn(k0: u32, k_end: u32) -> u32 {
    return k0 + DEPTH;
}
fn kept(value: Four, k: u32, k_end: u32) -> Four {
    return select(Four(), value, k < k_end);
}
#endif
fn load_lhs(index: u32, first_row: u32, m: u32, k0: u32, k_end: u32) -> Four {
    let place = lhs_place(index);
#if LHS_K4
    return lhs4_at(min(first_row + place.x, m - 1u), last_k(k0 + 4u * place.y, k_end, 4u));
#elif LHS_R4
    return rows4_at(min(first_row + 4u * place.x, m - 4u), last_k(k0 + place.y, k_end, 1u));
#else
    let k = last_k(k0 + place.y, k_end, 1u);
    seek(k);
    let rows = min(first_row + 4u * place.x + vec4u(0u, 1u, 2u, 3u), vec4u(m - 1u));
    return vec4f(lhs_at(rows.x, k), lhs_at(rows.y, k), lhs_at(rows.z, k), lhs_at(rows.w, k));
#endif
}
fn load_rhs(index: u32, first_col: u32, n: u32, k0: u32, k_end: u32) -> Four {
    let place = rhs_place(index);
#if K4
    return rhs4_at(min(first_col + place.x, n - 1u), last_k(k0 + 4u * place.y, k_end, 4u));
#else
    let cols = four_columns(first_col + first_column(place.x), n);
    at_columns(cols);
    let k = last_k(k0 + place.y, k_end, 1u);
    seek(k);
    return rhs_at(k, cols);
#endif
}
fn lhs_kept(index: u32, value: Four, k0: u32, k_end: u32) -> Four {
    return kept(value, k0 + LHS_STEP * lhs_place(index).y, k_end);
}
fn rhs_kept(index: u32, value: Four, k0: u32, k_end: u32) -> Four {
    return kept(value, k0 + RHS_STEP * rhs_place(index).y, k_end);
}

// Workgroups that run at the same time take blocks of 8 rows of blocks, column by column, so that their operands are in
// the second level of cache.
fn near(group: vec2u, groups: vec2u) -> vec2u {
    let number = group.y * groups.x + group.x;
    let first = number / (8u * groups.x) * 8u;
    let rows = min(groups.y - first, 8u);
    let rest = number % (8u * groups.x);
    return vec2u(rest / rows, first + rest % rows);
}
