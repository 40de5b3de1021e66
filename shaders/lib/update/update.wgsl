// Shared part of every optimizer: the gradient divided by the loss scale and clipped to a global norm, and the rule for one
// that is not finite.
#import update/loss_scale
var<workgroup> clip_factor: f32;

// From partial sums of squares: min(1, max_norm / |g|), or 1 where max_norm is 0, over the loss scale; negative to change
// nothing. Where the norm is infinite or NaN, nothing changes: with a scale of 2 or more in this step (loss_scale_step.wgsl
// divides it by 2); with a scale of 1, or none, in this step and all later ones, which the step state records. Every workgroup adds up the
// same sums, so all of them do the same. All invocations of the workgroup must call it.
fn clipping(local: u32, max_norm: f32, partials: u32, first_scale: u32) -> f32 {
    if (local == 0u) {
        var sum = 0.0;
        for (var i = 0u; i < partials; i += 1u) {
            sum += squares[i];
        }
        let scale = log2_of_scale(atomicLoad(&step_state[2]), first_scale);
        let norm = sqrt(sum) * power_of_two(-scale);
        clip_factor = select(1.0, max_norm / (norm + 1e-6), max_norm > 0.0 && norm > max_norm) * power_of_two(-scale);
        if (!is_finite(sum)) {
            if (scale == 0 && atomicLoad(&step_state[1]) == 0u) {
                atomicMax(&step_state[1], atomicLoad(&step_state[0]) + 1u);
            }
            clip_factor = -1.0;
        } else if (atomicLoad(&step_state[1]) != 0u) {
            clip_factor = -1.0;
        }
    }
    workgroupBarrier();
    return clip_factor;
}

// Number of updates before this one: those that Adam's moments include.
fn updates() -> f32 {
    return f32(atomicLoad(&step_state[0]) - (atomicLoad(&step_state[3]) >> 16u));
}
