// Shared part of recurrence.wgsl and recurrence_grad.wgsl: the sequences that a workgroup owns, and the product of a step.
//
// A workgroup owns some sequences of the batch (rows) and takes them through time, so nothing but its own barrier orders its
// steps. The product of a step runs on lib/product*.wgsl over all columns of these rows; sequences are rows because their
// states are contiguous. With PRODUCT or UNITS, a dispatch is that part of one step, and a workgroup has a block of it.
#import recurrent/recurrence_cell

fn skip(row: u32, rows: u32, col: u32) -> bool {
    return false;
}
fn seek(k: u32) {}
fn advance() {}

#import gemm/product
#if REGISTERS
const LANES = vec2u(8u, 1u); // one subgroup: others would only wait for it
const OWNED: u32 = ROWS / HEIGHT;
#else
const LANES = vec2u(WIDTH, HEIGHT);
const OWNED: u32 = ROWS;
#endif

// One block of columns of the product of the rows of workgroup `group`.
fn block(number: u32, group: u32, local: vec2u, columns: u32, k: u32) {
#if REGISTERS
    product(vec2u(number, group / HEIGHT), vec2u(local.x, group % HEIGHT), dims.batch, columns, 0u, k);
#else
    product(vec2u(number, group), local, dims.batch, columns, 0u, k);
#endif
}
