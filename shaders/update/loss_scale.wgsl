// loss_scale.wgsl: scale = the power of two that this step's loss is multiplied by.
//
// in      step_state (4) u32: word 2, see lib/update/loss_scale.wgsl
// out     scale () f32
// launch  one invocation
// memory  none
// cost    a few integer operations
// numeric exact
// source  Micikevicius et al. 2018, "Mixed precision training", arXiv:1710.03740, section 3.2

#import update/loss_scale

struct Dims { first: u32 }
@group(0) @binding(0) var<uniform> dims: Dims;
@group(0) @binding(1) var<storage, read> step_state: array<u32>;
@group(0) @binding(2) var<storage, read_write> scale: array<f32>;

@compute @workgroup_size(1)
fn loss_scale() {
    scale[0] = power_of_two(log2_of_scale(step_state[2], dims.first));
}
