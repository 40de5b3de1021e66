// sgd.wgsl: one step of gradient descent with momentum over all parameters at once.
//   g' = g + decay·w,  m = μ m + g',  w −= lr · m   (Nesterov: w −= lr · (g' + μ m))
//
// in      w, m (n) f32 in place; g (n) f32
//         step_state (4) u32: word 0 the step; word 1 is set when the norm of the gradient is not finite; words 2 and 3 are of
//         the loss scale, which g is multiplied by: see lib/update/update.wgsl and lib/update/loss_scale.wgsl
//         squares (partials) f32: partial sums of g², for clipping and for that
// out     nothing
// launch  one invocation per parameter, or per four of them (VEC4); workgroups of 256
// memory  one clipping factor
// cost    about 6 flop and 20 bytes per parameter: bound by memory
// numeric PyTorch's form: the learning rate multiplies the momentum, not the gradient in it
// source  Sutskever et al. 2013, "On the importance of initialization and momentum in deep learning"

#import grid
#import update/schedule
#if VEC4
alias T = vec4f;
#else
alias T = f32;
#endif

struct Dims {
    n: u32, partials: u32, max_norm: f32, weight_decay: f32,
    momentum: f32, first_scale: u32, pad0: u32, pad1: u32,
    rate: Schedule,
}
@group(0) @binding(0) var<uniform> dims: Dims;
@group(0) @binding(1) var<storage, read_write> w: array<T>;
@group(0) @binding(2) var<storage, read> g: array<T>;
@group(0) @binding(3) var<storage, read_write> m: array<T>;
@group(0) @binding(4) var<storage, read_write> step_state: array<atomic<u32>>;
@group(0) @binding(5) var<storage, read> squares: array<f32>;
#import update/update

override NESTEROV: u32 = 0u;

@compute @workgroup_size(256)
fn sgd(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
       @builtin(local_invocation_index) local: u32) {
    let clip = clipping(local, dims.max_norm, dims.partials, dims.first_scale);
    let i = linear_index(group, groups, local);
    if (i >= dims.n || clip < 0.0) {
        return;
    }
    let rate = schedule_value(dims.rate, f32(atomicLoad(&step_state[0])));
    let weight = w[i];
    let gradient = clip * g[i] + dims.weight_decay * weight;
    let velocity = dims.momentum * m[i] + gradient;
    var direction = velocity;
    if (NESTEROV == 1u) {
        direction = gradient + dims.momentum * velocity;
    }
    m[i] = velocity;
    w[i] = weight - rate * direction;
}
