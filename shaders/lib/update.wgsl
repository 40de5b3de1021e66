// What every optimiser shares: the gradient clipped to a global norm, and the stop at a gradient that is not finite.
var<workgroup> clip_factor: f32;

// From partial sums of squares: min(1, max_norm / |g|), or 1 where max_norm is 0; negative to change nothing. Once the
// norm is infinite or NaN the clock says so, and neither this step nor a later one changes a parameter: every workgroup
// adds up the same sums, so all of them stop. All invocations of the workgroup must call it.
fn clipping(local: u32, max_norm: f32, partials: u32) -> f32 {
    if (local == 0u) {
        var sum = 0.0;
        for (var i = 0u; i < partials; i += 1u) {
            sum += squares[i];
        }
        clip_factor = select(1.0, max_norm / (sqrt(sum) + 1e-6), max_norm > 0.0 && sqrt(sum) > max_norm);
        if (!(sum <= 3.4e38)) {
            atomicMax(&clock[1], atomicLoad(&clock[0]) + 1u);
            clip_factor = -1.0;
        } else if (atomicLoad(&clock[1]) != 0u) {
            clip_factor = -1.0;
        }
    }
    workgroupBarrier();
    return clip_factor;
}
