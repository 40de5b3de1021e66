// loss_scale_step.wgsl: the next step's loss scale. Half of it where the gradient was not finite, twice after `interval`
// good steps in a row, at most 2³⁰.
//
// in      step_state (4) u32 in place: words 2 and 3, see lib/update/loss_scale.wgsl; word 1 is set once the training has failed
//         squares (partials) f32: partial sums of the squared gradients
// out     skipped () f32: number of skipped steps so far
// launch  one invocation, after the updates, which read the same sums
// memory  none
// cost    `partials` additions
// numeric exact; the sums are added in the order of lib/update/update.wgsl
// source  PyTorch's GradScaler

#import update/loss_scale

struct Dims { first: u32, interval: u32, partials: u32 }
@group(0) @binding(0) var<uniform> dims: Dims;
@group(0) @binding(1) var<storage, read_write> step_state: array<u32>;
@group(0) @binding(2) var<storage, read> squares: array<f32>;
@group(0) @binding(3) var<storage, read_write> skipped: array<f32>;

@compute @workgroup_size(1)
fn loss_scale_step() {
    var sum = 0.0;
    for (var i = 0u; i < dims.partials; i += 1u) {
        sum += squares[i];
    }
    var scale = log2_of_scale(step_state[2], dims.first);
    var good = step_state[3] & 0xffffu;
    var left_out = step_state[3] >> 16u;
    if (step_state[1] == 0u) {
        if (is_finite(sum)) {
            good += 1u;
            if (good >= dims.interval) {
                good = 0u;
                scale = min(scale + 1, 30);
            }
        } else {
            good = 0u;
            scale -= 1; // not below 0: there the update has set word 1
            left_out = min(left_out + 1u, 0xffffu);
        }
    }
    step_state[2] = u32(scale + 1);
    step_state[3] = good | (left_out << 16u);
    skipped[0] = f32(left_out);
}
