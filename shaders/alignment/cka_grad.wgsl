// cka_grad.wgsl: the gradient of CKA with respect to one Gram matrix,  M = dc · k⁻ (u L l⁻ − v K k⁻).
//
// in      own, other (entries, n, n) f32: the matrix it is for, and the other; stats (entries, 8) f32 from cka.wgsl
//         dc () f32: the gradient of the mean over entries
// out     out (entries, n, n) f32, symmetric, centered as own and other are
// launch  one invocation per element; workgroups of 256
// memory  none
// cost    4 flop and 12 bytes per element: bound by memory
// numeric each matrix is scaled before it is multiplied, so that nothing leaves f32's range
// source  docs/alignment.md

#import grid

struct Dims { n: u32, elements: u32, share: f32 } // elements of all matrices, of one matrix, 1 / entries
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
        let at = 8u * (i / dims.elements);
        let scale = stats[at + 1u + RIGHT];
        let towards = (other[i] * stats[at + 2u - RIGHT]) * stats[at + 3u];
        out[i] = (dc[0] * dims.share) * (scale * (towards - (own[i] * scale) * stats[at + 4u + RIGHT]));
    }
}
