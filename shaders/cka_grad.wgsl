// cka_grad.wgsl: the gradient of CKA with respect to one Gram matrix,  M = dc · k⁻ (u L l⁻ − v K k⁻).
//
// in      own, other (n, n) f32: the matrix it is for, and the other; stats (8) f32 from cka.wgsl; dc () f32
// out     out (n, n) f32, symmetric, centred as own and other are
// launch  one invocation per element; workgroups of 256
// memory  none
// cost    4 flop and 12 bytes per element: bound by memory
// numeric each matrix is scaled before it is multiplied, so that nothing leaves f32's range
// source  docs/alignment.md

#import grid

struct Dims { n: u32 } // elements
@group(0) @binding(0) var<uniform> dims: Dims;
@group(0) @binding(1) var<storage, read> own: array<f32>;
@group(0) @binding(2) var<storage, read> other: array<f32>;
@group(0) @binding(3) var<storage, read> stats: array<f32>;
@group(0) @binding(4) var<storage, read> dc: array<f32>;
@group(0) @binding(5) var<storage, read_write> out: array<f32>;

override RIGHT: u32 = 0u; // 1: `own` is CKA's second argument

@compute @workgroup_size(256)
fn cka_grad(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
            @builtin(local_invocation_index) local: u32) {
    let i = linear_index(group, groups, local);
    if (i < dims.n) {
        let scale = stats[1u + RIGHT];
        let towards = (other[i] * stats[2u - RIGHT]) * stats[3];
        out[i] = dc[0] * (scale * (towards - (own[i] * scale) * stats[4u + RIGHT]));
    }
}
