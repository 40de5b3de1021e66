// Shared part of all recurrence kernels: sizes, element types, and the mask of real steps.
#if VEC4
alias T = vec4f; // hidden is a multiple of 4, and the loop of products loads by fours
const UNIT: u32 = 4u;
#else
alias T = f32;
const UNIT: u32 = 1u;
#endif
#import activation

// Steps first to last of `time`; hidden in elements; offsets of the other parts of the packed tensors, in units of T.
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
// Offset of step `now` of a sequence in a tensor of `parts` states a step.
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
