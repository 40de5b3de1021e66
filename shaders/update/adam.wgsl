// adam.wgsl: one Adam or AdamW step over all parameters at once.
//   m = β1 m + (1−β1) g,  v = β2 v + (1−β2) g²,  w −= lr · m/(1−β1ᵗ) / (√(v/(1−β2ᵗ)) + ε)
//
// in      w, m, v (n) f32 in place; g (n) f32
//         step_state (4) u32: word 0 the step; word 1 is set when the norm of the gradient is not finite; words 2 and 3 are of
//         the loss scale, which g is multiplied by: see lib/update/update.wgsl and lib/update/loss_scale.wgsl
//         squares (partials) f32: partial sums of g², for clipping and for that
// out     nothing
// launch  one invocation per parameter, or per four of them (VEC4); workgroups of 256
// memory  one clipping factor
// cost    about 15 flop and 28 bytes per parameter: bound by memory
// numeric t counts updates from step FIRST on, not skipped steps; 1−βᵗ by a series where it would cancel
// source  Kingma and Ba 2015, arXiv:1412.6980, algorithm 1; decoupled decay: Loshchilov and Hutter 2019, arXiv:1711.05101

#import grid
#import update/schedule
#if VEC4
alias T = vec4f;
#else
alias T = f32;
#endif

struct Dims {
    n: u32, partials: u32, max_norm: f32, weight_decay: f32,
    beta1: f32, beta2: f32, log_beta1: f32, log_beta2: f32,
    epsilon: f32, first_scale: u32, rest1: f32, rest2: f32, // 1 − β₁, 1 − β₂
    rate: Schedule,
}
@group(0) @binding(0) var<uniform> dims: Dims;
@group(0) @binding(1) var<storage, read_write> w: array<T>;
@group(0) @binding(2) var<storage, read> g: array<T>;
@group(0) @binding(3) var<storage, read_write> m: array<T>;
@group(0) @binding(4) var<storage, read_write> v: array<T>;
@group(0) @binding(5) var<storage, read_write> step_state: array<atomic<u32>>;
@group(0) @binding(6) var<storage, read> squares: array<f32>;
#import update/update

override DECOUPLED: u32 = 0u; // 1: AdamW
override FIRST: u32 = 0u; // step before whose update the moments were 0

// 1 − exp(y) for y ≤ 0.
fn one_minus_exp(y: f32) -> f32 {
    let near = -y * (1.0 + y / 2.0 * (1.0 + y / 3.0 * (1.0 + y / 4.0 * (1.0 + y / 5.0 * (1.0 + y / 6.0)))));
    return select(1.0 - exp(y), near, y > -0.3);
}

@compute @workgroup_size(256)
fn adam(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
        @builtin(local_invocation_index) local: u32) {
    let clip = clipping(local, dims.max_norm, dims.partials, dims.first_scale);
    let i = linear_index(group, groups, local);
    if (i >= dims.n || clip < 0.0) {
        return;
    }
    let step = updates() - f32(FIRST);
    let rate = schedule_value(dims.rate, f32(atomicLoad(&step_state[0])));
    var weight = w[i];
    var gradient = clip * g[i];
    if (DECOUPLED == 1u) {
        weight -= rate * dims.weight_decay * weight;
    } else {
        gradient += dims.weight_decay * weight;
    }
    let mean = dims.beta1 * m[i] + dims.rest1 * gradient;
    let square = dims.beta2 * v[i] + dims.rest2 * gradient * gradient;
    let mean_hat = mean / one_minus_exp((step + 1.0) * dims.log_beta1);
    let square_hat = square / one_minus_exp((step + 1.0) * dims.log_beta2);
    m[i] = mean;
    v[i] = square;
    w[i] = weight - rate * mean_hat / (sqrt(square_hat) + dims.epsilon);
}
