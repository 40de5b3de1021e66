// schedule.wgsl: out = the value of a schedule at the current step.
//
// in      step_state (4) u32: word 0 is the step
// out     out () f32
// launch  one invocation
// memory  none
// cost    a few flop
// numeric f32; the step is exact up to 2^24
// source  cosine: Loshchilov and Hutter 2017, arXiv:1608.03983, section 3

#import update/schedule

struct Dims { schedule: Schedule }
@group(0) @binding(0) var<uniform> dims: Dims;
@group(0) @binding(1) var<storage, read> step_state: array<u32>;
@group(0) @binding(2) var<storage, read_write> out: array<f32>;

@compute @workgroup_size(1)
fn schedule() {
    out[0] = schedule_value(dims.schedule, f32(step_state[0]));
}
