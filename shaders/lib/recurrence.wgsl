// What the recurrence kernels share: sizes, element types, which workgroup owns which sequences, and which steps are real.
//
// A workgroup owns some sequences of the batch (rows) and takes them through time, so nothing but its own barrier orders its
// steps. The product of a step runs on lib/product*.wgsl over all columns of these rows; sequences are rows because their
// states are contiguous.
#if VEC4
alias T = vec4f; // hidden is a multiple of 4, and subgroups have 8
const UNIT: u32 = 4u;
#else
alias T = f32;
const UNIT: u32 = 1u;
#endif
#import activation

// Steps first to last of `time`; hidden in elements; where the other parts of the packed tensors begin, in units of T.
struct Dims {
    batch: u32, time: u32, hidden: u32, first: u32, last: u32, padding: u32,
    saved: u32, cells: u32, recurrent: u32, dh: u32, dc: u32
}
@group(0) @binding(0) var<uniform> dims: Dims;

override CELL: u32 = 0u; // 0 tanh, 1 LSTM, 2 GRU
override MASK: u32 = 0u; // 0 every step is real, 1 the first mask[row] are, 2 those whose id is not `padding`
const TANH: u32 = 0u;
const LSTM: u32 = 1u;
const GRU: u32 = 2u;

var<private> now: u32; // the step

fn gates() -> u32 {
    return select(select(3u, 4u, CELL == LSTM), 1u, CELL == TANH);
}
// Units of T in a state.
fn width() -> u32 {
    return dims.hidden / UNIT;
}
// Where step `now` of a sequence lies in a tensor of `parts` states a step.
fn step_at(row: u32, parts: u32) -> u32 {
    return (row * dims.time + now) * parts * width();
}
fn is_real(row: u32) -> bool {
    switch MASK {
        case 1u: { return now < mask[row]; }
        case 2u: { return mask[row * dims.time + now] != dims.padding; }
        default: { return true; }
    }
}
fn skip(row: u32, rows: u32, col: u32) -> bool {
    return false;
}
fn seek(k: u32) {}
fn advance() {}

#import product
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
