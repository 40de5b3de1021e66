// end_step.wgsl: writes metrics into row (step mod capacity) of a ring; the last op of a step advances it too.
//
// in      step_state (4) u32 in place: word 0 the step, word 1 the failed step + 1 or 0
//         ring  (capacity, columns) f32 in place; column 0 is word 1 of the step state
//         m0..m4 f32: the first element of each row is one metric
// out     nothing
// launch  one invocation: the last dispatch of a step
// memory  none
// cost    a few words
// numeric exact copy
// source  ours

struct Dims {
    columns: u32, capacity: u32, first: u32, advance: u32,
    rows0: u32, step0: u32, rows1: u32, step1: u32, rows2: u32, step2: u32, rows3: u32, step3: u32, rows4: u32, step4: u32,
}
@group(0) @binding(0) var<uniform> dims: Dims;
@group(0) @binding(1) var<storage, read_write> step_state: array<u32>;
@group(0) @binding(2) var<storage, read_write> ring: array<f32>;
@group(0) @binding(3) var<storage, read> m0: array<f32>;
@group(0) @binding(4) var<storage, read> m1: array<f32>;
@group(0) @binding(5) var<storage, read> m2: array<f32>;
@group(0) @binding(6) var<storage, read> m3: array<f32>;
@group(0) @binding(7) var<storage, read> m4: array<f32>;

@compute @workgroup_size(1)
fn end_step() {
    let row = (step_state[0] % dims.capacity) * dims.columns;
    var at = row + dims.first;
    for (var i = 0u; i < dims.rows0; i += 1u) {
        ring[at] = m0[i * dims.step0];
        at += 1u;
    }
    for (var i = 0u; i < dims.rows1; i += 1u) {
        ring[at] = m1[i * dims.step1];
        at += 1u;
    }
    for (var i = 0u; i < dims.rows2; i += 1u) {
        ring[at] = m2[i * dims.step2];
        at += 1u;
    }
    for (var i = 0u; i < dims.rows3; i += 1u) {
        ring[at] = m3[i * dims.step3];
        at += 1u;
    }
    for (var i = 0u; i < dims.rows4; i += 1u) {
        ring[at] = m4[i * dims.step4];
        at += 1u;
    }
    if (dims.first == 1u) {
        ring[row] = f32(step_state[1]);
    }
    if (dims.advance == 1u) {
        step_state[0] += 1u;
    }
}
