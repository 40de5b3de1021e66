// copy.wgsl: out[start + r·pitch + i] = x[r, i]: a run-wise copy, one part of a concatenation or of a pack.
//
// in      x (runs, run) f32
// out     out, where run r of x goes to out[start + r·pitch ..]
// launch  one invocation per element of x, or per four (VEC4: run, pitch and start are multiples of 4); workgroups of 256
// memory  none
// cost    8 bytes per element: bound by memory
// numeric exact copy
// source  definition

#import grid

#if VEC4
alias T = vec4f;
#else
alias T = f32;
#endif

struct Dims { n: u32, run: u32, pitch: u32, start: u32 } // in units of T
@group(0) @binding(0) var<uniform> dims: Dims;
@group(0) @binding(1) var<storage, read> x: array<T>;
@group(0) @binding(2) var<storage, read_write> out: array<T>;

@compute @workgroup_size(256)
fn copy(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
        @builtin(local_invocation_index) local: u32) {
    let i = linear_index(group, groups, local);
    if (i < dims.n) {
        out[dims.start + (i / dims.run) * dims.pitch + i % dims.run] = x[i];
    }
}
