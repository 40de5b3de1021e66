// What every optimiser shares: the gradient clipped to a global norm, and the stop at a gradient that is not finite.
var<workgroup> clip_factor: f32;

// min(1, max_norm / |g|), from partial sums of squares. All invocations of the workgroup must call it.
fn clipping(local: u32, max_norm: f32, partials: u32) -> f32 {
    if (local == 0u) {
        var sum = 0.0;
        for (var i = 0u; i < partials; i += 1u) {
            sum += squares[i];
        }
        clip_factor = select(1.0, max_norm / (sqrt(sum) + 1e-6), partials > 0u && sqrt(sum) > max_norm);
    }
    workgroupBarrier();
    return clip_factor;
}
// Once a gradient is infinite or NaN the clock says so, and no later step changes a parameter.
fn halted() -> bool {
    return atomicLoad(&clock[1]) != 0u;
}
#if VEC4
alias Mask = vec4<bool>;
fn every(mask: Mask) -> bool {
    return all(mask);
}
#else
alias Mask = bool;
fn every(mask: Mask) -> bool {
    return mask;
}
#endif
// Which gradients are finite; only those change their parameter.
fn finite(g: T) -> Mask {
    let mask = abs(g) <= T(3.4e38);
    if (!every(mask)) {
        atomicMax(&clock[1], atomicLoad(&clock[0]) + 1u);
    }
    return mask;
}
