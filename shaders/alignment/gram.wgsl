// gram.wgsl: linear Gram matrices of activations, one for each entry:  K = X Xᵀ, or  A = Xᵀ X.
//
// in      x f32 or f16: element (row, k) of an entry is x[entry·batch + row·row + k·inner]. For K of activations (n, p) a
//         row is an example and k a feature; for A the other way round; of (n, time, p) the entries are time steps, read
//         in place; PACKED: entries are layers (n, p of their own), at the offsets in `places`. Most often mean-centered
//         (center.wgsl)
// out     out (parts, entries, n, n) f32, n being the rows: symmetric; K of centered activations has rows that sum to 0.
//         The inner axis may be cut into parts, each with a matrix of its own, see product_parts.wgsl
// launch  for each part of each entry (grid's z) one workgroup for each block of 64 rows that is not wholly above the diagonal, counted
//         row by row: blocks of 32 columns (SUBGROUP: 8 x 4 invocations, see lib/gemm/product_subgroup.wgsl; TALL: 8 x 2), of 64
//         for a member of the family (BLOCK, see lib/gemm/product_block.wgsl). Blocks below the diagonal are stored on both sides of it
// memory  SUBGROUP, TALL: none; BLOCK: its two tiles
// cost    n²·(length of k) flop (half of a product), x read about n/64 times
// numeric f32 sums in order of k, also of f16. For centered kernels X is centered before the product: centering K afterwards (H K H,
//         the same matrix) cancels when |mean| ≫ σ:
//         at 1000 σ it is wrong by 0.26 in CKA, this by 1e-7
// source  Kornblith et al. 2019, arXiv:1905.00414, section 3

#import gemm/extensions
// places of two layers each, first element and p
struct Dims {
    n: u32, parts: u32, entries: u32, length: u32, batch: u32, row: u32, inner: u32, pad: u32, places: array<vec4u, 14>
}
@group(0) @binding(0) var<uniform> dims: Dims;
#import half
// By fours, X4. K4: rows contiguous in k; LHS_R4: k contiguous in rows; either way sizes are multiples of 4.
#if NATIVE
@group(0) @binding(1) var<storage, read> x: array<vec4<f16>>;
fn x_four(i: u32) -> Four { return x[i]; }
#elif HALF4
@group(0) @binding(1) var<storage, read> x: array<vec2u>;
fn x_four(i: u32) -> vec4f { return unpack_four(x[i]); }
#elif HALF
@group(0) @binding(1) var<storage, read> x: array<u32>;
fn x_one(i: u32) -> f32 { return unpack_one(x[i / 2u], i); }
#elif X4
@group(0) @binding(1) var<storage, read> x: array<vec4f>;
fn x_four(i: u32) -> vec4f { return x[i]; }
#else
@group(0) @binding(1) var<storage, read> x: array<f32>;
fn x_one(i: u32) -> f32 { return x[i]; }
#endif
@group(0) @binding(2) var<storage, read_write> out: array<f32>;
#import grid
#import gemm/product

// The loop in lib/gemm calls the functions below, up to `store`: its header says which a kernel declares. ROWS, COLUMNS, WIDTH and
// HEIGHT come from there. K4: four neighbors along k are one vec4f; R4: four neighbors along rows are.
var<private> first: u32;  // of this entry in x
var<private> row_step: u32;
var<private> matrix: u32; // and in out
var<private> first_col: u32;
var<private> x_now: u32; // next position of rhs_at

fn columns(cols: vec4u) {
    first_col = cols.x;
}
fn skip(row: u32, rows: u32, col: u32) -> bool {
    return row + rows <= col;
}
#if K4
fn seek(k: u32) {}
fn advance() {}
fn lhs4_at(row: u32, k: u32) -> Four {
    return x_four(first / 4u + row * (row_step / 4u) + k / 4u);
}
fn rhs4_at(col: u32, k: u32) -> Four {
    return x_four(first / 4u + col * (row_step / 4u) + k / 4u);
}
#elif LHS_R4
fn seek(k: u32) {
    x_now = (k * dims.inner + first_col) / 4u;
}
fn advance() {
    x_now += dims.inner / 4u;
}
fn rows4_at(row: u32, k: u32) -> Four {
    return x_four((k * dims.inner + row) / 4u);
}
fn rhs_at(k: u32, cols: vec4u) -> Four {
    return x_four(x_now);
}
#else
fn seek(k: u32) {}
fn advance() {}
fn lhs_at(row: u32, k: u32) -> f32 {
    return x_one(first + row * row_step + k * dims.inner);
}
fn rhs_at(k: u32, cols: vec4u) -> vec4f {
    let at = first + cols * row_step + k * dims.inner;
    return vec4f(x_one(at.x), x_one(at.y), x_one(at.z), x_one(at.w));
}
#endif
// Blocks wholly below the diagonal are stored on both sides; those on it compute both of their own.
fn store(row: u32, col: u32, sums: vec4f) {
    let mirrored = row - row % BLOCK.x >= col - col % BLOCK.y + BLOCK.y;
#unroll j 4
    if (col + $ju < dims.n) {
        out[matrix + row * dims.n + col + $ju] = sums[$j];
        if (mirrored) {
            out[matrix + (col + $ju) * dims.n + row] = sums[$j];
        }
    }
#end
}

// Row r of blocks has r + 1 times as many as row 0.
fn block_of(number: u32) -> vec2u {
    let per_row = ROWS / COLUMNS;
    var row = u32(0.5 * (sqrt(8.0 * f32(number / per_row) + 1.0) - 1.0));
    // The root may be off by one.
    row -= u32(per_row * row * (row + 1u) / 2u > number);
    row += u32(per_row * (row + 1u) * (row + 2u) / 2u <= number);
    return vec2u(number - per_row * row * (row + 1u) / 2u, row);
}

@compute @workgroup_size(WIDTH, HEIGHT)
fn gram(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
        @builtin(local_invocation_id) local: vec3u) {
    let entry = group.z % dims.entries;
    let part = group.z / dims.entries;
#if PACKED
    let two = dims.places[entry / 2u];
    first = select(two.x, two.z, entry % 2u == 1u);
    // Browsers ask that all invocations take the same way to a barrier, and do not look for it in `row_step`.
    let length = select(two.y, two.w, entry % 2u == 1u);
    row_step = length;
#else
    first = entry * dims.batch;
    row_step = dims.row;
    let length = dims.length;
#endif
    matrix = group.z * dims.n * dims.n;
    // Parts are multiples of 64, a whole number of iterations of any loop.
    let chunk = (length + 64u * dims.parts - 1u) / (64u * dims.parts) * 64u;
    let k_start = min(part * chunk, length);
    let block = block_of(linear_group(group, groups));
    if (ROWS * block.y < dims.n) {
        product(block, local.xy, dims.n, dims.n, k_start, min(k_start + chunk, length));
    }
}
