// fma_chain.wgsl: y = Σ over 8 chains j of v_j, where v_j starts as x + j and becomes a·v_j + b four times a round.
// It measures the adapter's rate of multiply-adds: only registers are used in between.
//
// in      x (n) f32
// out     y (n) f32
// launch  one invocation per element, workgroups of 256; 8 independent chains, so that none waits for itself
// memory  none
// cost    64·rounds flop and 8 bytes per element: bound by arithmetic
// numeric a < 1, so the chains converge
// source  the peak-FLOP half of the roofline model, Williams et al. 2009

#import grid

struct Dims { n: u32, rounds: u32, a: f32, b: f32 }
@group(0) @binding(0) var<uniform> dims: Dims;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(256)
fn fma_chain(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
             @builtin(local_invocation_index) local: u32) {
    let i = linear_index(group, groups, local);
    if (i >= dims.n) {
        return;
    }
    var p = x[i] + vec4f(0.0, 1.0, 2.0, 3.0);
    var q = x[i] + vec4f(4.0, 5.0, 6.0, 7.0);
    let a = dims.a;
    let b = dims.b;
    for (var round = 0u; round < dims.rounds; round += 1u) {
        p = p * a + b;
        q = q * a + b;
        p = p * a + b;
        q = q * a + b;
        p = p * a + b;
        q = q * a + b;
        p = p * a + b;
        q = q * a + b;
    }
    y[i] = dot(p, vec4f(1.0)) + dot(q, vec4f(1.0));
}
