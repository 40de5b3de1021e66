// advance.wgsl: ends a step: adds 1 to the step counter.
//
// in      step_state (4) u32 in place: word 0 the step
// out     nothing
// launch  one invocation: the last dispatch of a step without metrics
// memory  none
// cost    one word
// numeric exact
// source  ours

@group(0) @binding(1) var<storage, read_write> step_state: array<u32>;

@compute @workgroup_size(1)
fn advance() {
    step_state[0] += 1u;
}
