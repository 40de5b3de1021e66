// Blocks of 16 rows by 32 columns in the registers of a subgroup of 8, four columns an invocation, for
// product_subgroup.wgsl. An invocation gets the rows that it has not loaded from its neighbors.

const STEP: u32 = 1u; // from one column of a vector to the next

// Row i of the block is lhs of neighbor i times the own four columns.
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

// Four k at once, row by row: there are more sums than registers, so each is fetched and stored once for four k.
fn add_row(sum: vec4f, x: f32, y: f32, z: f32, w: f32, b: mat4x4f) -> vec4f {
    return (((sum + x * b[0]) + y * b[1]) + z * b[2]) + w * b[3];
}

// Row i of the block is lhs of neighbor i, at four k.
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

// Stores the block whose first row is `row`.
fn store_block(sums: ptr<function, array<vec4f, 16>>, row: u32, col: u32, m: u32, n: u32) {
    // The loop below indexes a copy: indexed themselves, the sums would live in memory, and the loop above be 2.6 times
    // slower. Without a loop the code would be too large for llvmpipe to keep, and be compiled anew at every launch.
    var block: array<vec4f, 16>;
    block[0] = (*sums)[0];
    block[1] = (*sums)[1];
    block[2] = (*sums)[2];
    block[3] = (*sums)[3];
    block[4] = (*sums)[4];
    block[5] = (*sums)[5];
    block[6] = (*sums)[6];
    block[7] = (*sums)[7];
    block[8] = (*sums)[8];
    block[9] = (*sums)[9];
    block[10] = (*sums)[10];
    block[11] = (*sums)[11];
    block[12] = (*sums)[12];
    block[13] = (*sums)[13];
    block[14] = (*sums)[14];
    block[15] = (*sums)[15];
    for (var i = 0u; i < 16u; i += 1u) {
        if (row + i < m && col < n) {
            store(row + i, col, block[i]);
        }
    }
}
