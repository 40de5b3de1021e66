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
//   skip(row, rows, col) -> bool            whether the block at (row, col) is not wanted
//
// A workgroup is 8 x 4. A row of 8 invocations is a subgroup and owns 16 rows by 32 columns; each invocation owns 4
// neighbouring columns of them, 64 sums. It loads 2 of the 16 rows of lhs and hears the others from its neighbours. On a
// CPU every load is a gather over the 8 lanes, and what it gathers, 1 float or 4, costs little: so where layouts allow, lhs
// is loaded by fours, 64 multiply-adds for 1.5 loads in place of 3. No workgroup memory: on a CPU it is memory like any
// other, and a barrier is a switch of coroutines.
// Source: register blocking, Goto and van de Geijn 2008, "Anatomy of high-performance matrix multiplication".
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
    // Edges: what lies outside is read from the last row or column and never stored.
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
    // The loop below indexes a copy: indexed themselves, the sums would live in memory, and the loop above be 2.6 times
    // slower. Without a loop the code would outgrow what llvmpipe keeps, and be compiled anew at every launch.
    var block: array<vec4f, 16>;
    block[0] = sums[0];
    block[1] = sums[1];
    block[2] = sums[2];
    block[3] = sums[3];
    block[4] = sums[4];
    block[5] = sums[5];
    block[6] = sums[6];
    block[7] = sums[7];
    block[8] = sums[8];
    block[9] = sums[9];
    block[10] = sums[10];
    block[11] = sums[11];
    block[12] = sums[12];
    block[13] = sums[13];
    block[14] = sums[14];
    block[15] = sums[15];
    for (var i = 0u; i < 16u; i += 1u) {
        if (row + i < m && col < n) {
            store(row + i, col, block[i]);
        }
    }
}

// Row i of the block is lhs of neighbour i times the own four columns.
fn add_products(sums: ptr<function, array<vec4f, 16>>, p: f32, q: f32, b: vec4f) {
    (*sums)[0] += subgroupBroadcast(p, 0u) * b;
    (*sums)[1] += subgroupBroadcast(p, 1u) * b;
    (*sums)[2] += subgroupBroadcast(p, 2u) * b;
    (*sums)[3] += subgroupBroadcast(p, 3u) * b;
    (*sums)[4] += subgroupBroadcast(p, 4u) * b;
    (*sums)[5] += subgroupBroadcast(p, 5u) * b;
    (*sums)[6] += subgroupBroadcast(p, 6u) * b;
    (*sums)[7] += subgroupBroadcast(p, 7u) * b;
    (*sums)[8] += subgroupBroadcast(q, 0u) * b;
    (*sums)[9] += subgroupBroadcast(q, 1u) * b;
    (*sums)[10] += subgroupBroadcast(q, 2u) * b;
    (*sums)[11] += subgroupBroadcast(q, 3u) * b;
    (*sums)[12] += subgroupBroadcast(q, 4u) * b;
    (*sums)[13] += subgroupBroadcast(q, 5u) * b;
    (*sums)[14] += subgroupBroadcast(q, 6u) * b;
    (*sums)[15] += subgroupBroadcast(q, 7u) * b;
}

// Four k at once, row by row: there are more sums than registers, and so each is fetched and put away once for four k.
fn add_row(sum: vec4f, x: f32, y: f32, z: f32, w: f32, b: mat4x4f) -> vec4f {
    return (((sum + x * b[0]) + y * b[1]) + z * b[2]) + w * b[3];
}

// Row i of the block is lhs of neighbour i, at four k.
fn add_four(sums: ptr<function, array<vec4f, 16>>, p: vec4f, q: vec4f, b: mat4x4f) {
    (*sums)[0] = add_row((*sums)[0], subgroupBroadcast(p.x, 0u), subgroupBroadcast(p.y, 0u),
                         subgroupBroadcast(p.z, 0u), subgroupBroadcast(p.w, 0u), b);
    (*sums)[1] = add_row((*sums)[1], subgroupBroadcast(p.x, 1u), subgroupBroadcast(p.y, 1u),
                         subgroupBroadcast(p.z, 1u), subgroupBroadcast(p.w, 1u), b);
    (*sums)[2] = add_row((*sums)[2], subgroupBroadcast(p.x, 2u), subgroupBroadcast(p.y, 2u),
                         subgroupBroadcast(p.z, 2u), subgroupBroadcast(p.w, 2u), b);
    (*sums)[3] = add_row((*sums)[3], subgroupBroadcast(p.x, 3u), subgroupBroadcast(p.y, 3u),
                         subgroupBroadcast(p.z, 3u), subgroupBroadcast(p.w, 3u), b);
    (*sums)[4] = add_row((*sums)[4], subgroupBroadcast(p.x, 4u), subgroupBroadcast(p.y, 4u),
                         subgroupBroadcast(p.z, 4u), subgroupBroadcast(p.w, 4u), b);
    (*sums)[5] = add_row((*sums)[5], subgroupBroadcast(p.x, 5u), subgroupBroadcast(p.y, 5u),
                         subgroupBroadcast(p.z, 5u), subgroupBroadcast(p.w, 5u), b);
    (*sums)[6] = add_row((*sums)[6], subgroupBroadcast(p.x, 6u), subgroupBroadcast(p.y, 6u),
                         subgroupBroadcast(p.z, 6u), subgroupBroadcast(p.w, 6u), b);
    (*sums)[7] = add_row((*sums)[7], subgroupBroadcast(p.x, 7u), subgroupBroadcast(p.y, 7u),
                         subgroupBroadcast(p.z, 7u), subgroupBroadcast(p.w, 7u), b);
    (*sums)[8] = add_row((*sums)[8], subgroupBroadcast(q.x, 0u), subgroupBroadcast(q.y, 0u),
                         subgroupBroadcast(q.z, 0u), subgroupBroadcast(q.w, 0u), b);
    (*sums)[9] = add_row((*sums)[9], subgroupBroadcast(q.x, 1u), subgroupBroadcast(q.y, 1u),
                         subgroupBroadcast(q.z, 1u), subgroupBroadcast(q.w, 1u), b);
    (*sums)[10] = add_row((*sums)[10], subgroupBroadcast(q.x, 2u), subgroupBroadcast(q.y, 2u),
                         subgroupBroadcast(q.z, 2u), subgroupBroadcast(q.w, 2u), b);
    (*sums)[11] = add_row((*sums)[11], subgroupBroadcast(q.x, 3u), subgroupBroadcast(q.y, 3u),
                         subgroupBroadcast(q.z, 3u), subgroupBroadcast(q.w, 3u), b);
    (*sums)[12] = add_row((*sums)[12], subgroupBroadcast(q.x, 4u), subgroupBroadcast(q.y, 4u),
                         subgroupBroadcast(q.z, 4u), subgroupBroadcast(q.w, 4u), b);
    (*sums)[13] = add_row((*sums)[13], subgroupBroadcast(q.x, 5u), subgroupBroadcast(q.y, 5u),
                         subgroupBroadcast(q.z, 5u), subgroupBroadcast(q.w, 5u), b);
    (*sums)[14] = add_row((*sums)[14], subgroupBroadcast(q.x, 6u), subgroupBroadcast(q.y, 6u),
                         subgroupBroadcast(q.z, 6u), subgroupBroadcast(q.w, 6u), b);
    (*sums)[15] = add_row((*sums)[15], subgroupBroadcast(q.x, 7u), subgroupBroadcast(q.y, 7u),
                         subgroupBroadcast(q.z, 7u), subgroupBroadcast(q.w, 7u), b);
}

// Row 4i + j of the block is element j of p in lane i at the first k, in lane 4 + i at the second, of q at the others.
fn add_columns(sums: ptr<function, array<vec4f, 16>>, p: vec4f, q: vec4f, b: mat4x4f) {
    (*sums)[0] = add_row((*sums)[0], subgroupBroadcast(p.x, 0u), subgroupBroadcast(p.x, 4u),
                         subgroupBroadcast(q.x, 0u), subgroupBroadcast(q.x, 4u), b);
    (*sums)[1] = add_row((*sums)[1], subgroupBroadcast(p.y, 0u), subgroupBroadcast(p.y, 4u),
                         subgroupBroadcast(q.y, 0u), subgroupBroadcast(q.y, 4u), b);
    (*sums)[2] = add_row((*sums)[2], subgroupBroadcast(p.z, 0u), subgroupBroadcast(p.z, 4u),
                         subgroupBroadcast(q.z, 0u), subgroupBroadcast(q.z, 4u), b);
    (*sums)[3] = add_row((*sums)[3], subgroupBroadcast(p.w, 0u), subgroupBroadcast(p.w, 4u),
                         subgroupBroadcast(q.w, 0u), subgroupBroadcast(q.w, 4u), b);
    (*sums)[4] = add_row((*sums)[4], subgroupBroadcast(p.x, 1u), subgroupBroadcast(p.x, 5u),
                         subgroupBroadcast(q.x, 1u), subgroupBroadcast(q.x, 5u), b);
    (*sums)[5] = add_row((*sums)[5], subgroupBroadcast(p.y, 1u), subgroupBroadcast(p.y, 5u),
                         subgroupBroadcast(q.y, 1u), subgroupBroadcast(q.y, 5u), b);
    (*sums)[6] = add_row((*sums)[6], subgroupBroadcast(p.z, 1u), subgroupBroadcast(p.z, 5u),
                         subgroupBroadcast(q.z, 1u), subgroupBroadcast(q.z, 5u), b);
    (*sums)[7] = add_row((*sums)[7], subgroupBroadcast(p.w, 1u), subgroupBroadcast(p.w, 5u),
                         subgroupBroadcast(q.w, 1u), subgroupBroadcast(q.w, 5u), b);
    (*sums)[8] = add_row((*sums)[8], subgroupBroadcast(p.x, 2u), subgroupBroadcast(p.x, 6u),
                         subgroupBroadcast(q.x, 2u), subgroupBroadcast(q.x, 6u), b);
    (*sums)[9] = add_row((*sums)[9], subgroupBroadcast(p.y, 2u), subgroupBroadcast(p.y, 6u),
                         subgroupBroadcast(q.y, 2u), subgroupBroadcast(q.y, 6u), b);
    (*sums)[10] = add_row((*sums)[10], subgroupBroadcast(p.z, 2u), subgroupBroadcast(p.z, 6u),
                         subgroupBroadcast(q.z, 2u), subgroupBroadcast(q.z, 6u), b);
    (*sums)[11] = add_row((*sums)[11], subgroupBroadcast(p.w, 2u), subgroupBroadcast(p.w, 6u),
                         subgroupBroadcast(q.w, 2u), subgroupBroadcast(q.w, 6u), b);
    (*sums)[12] = add_row((*sums)[12], subgroupBroadcast(p.x, 3u), subgroupBroadcast(p.x, 7u),
                         subgroupBroadcast(q.x, 3u), subgroupBroadcast(q.x, 7u), b);
    (*sums)[13] = add_row((*sums)[13], subgroupBroadcast(p.y, 3u), subgroupBroadcast(p.y, 7u),
                         subgroupBroadcast(q.y, 3u), subgroupBroadcast(q.y, 7u), b);
    (*sums)[14] = add_row((*sums)[14], subgroupBroadcast(p.z, 3u), subgroupBroadcast(p.z, 7u),
                         subgroupBroadcast(q.z, 3u), subgroupBroadcast(q.z, 7u), b);
    (*sums)[15] = add_row((*sums)[15], subgroupBroadcast(p.w, 3u), subgroupBroadcast(p.w, 7u),
                         subgroupBroadcast(q.w, 3u), subgroupBroadcast(q.w, 7u), b);
}
