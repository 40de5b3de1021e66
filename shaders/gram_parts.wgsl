// gram_parts.wgsl: the second pass of a Gram matrix whose inner axis was cut into parts:  K = Σ over parts of K_part
//
// in      partial (parts, size) f32: what gram.wgsl made of each part
// out     out (size) f32
// launch  one invocation per element of K
// memory  none
// cost    parts additions and 4·(parts + 1) bytes per element
// numeric added up in order of the parts, so two runs give the same bits
// source  ours; "split-K"

#import grid

struct Dims { size: u32, parts: u32 }
@group(0) @binding(0) var<uniform> dims: Dims;
@group(0) @binding(1) var<storage, read> partial: array<f32>;
@group(0) @binding(2) var<storage, read_write> out: array<f32>;

@compute @workgroup_size(256)
fn gram_parts(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
              @builtin(local_invocation_index) local: u32) {
    let i = linear_index(group, groups, local);
    if (i >= dims.size) {
        return;
    }
    var sum = 0.0;
    for (var part = 0u; part < dims.parts; part += 1u) {
        sum += partial[part * dims.size + i];
    }
    out[i] = sum;
}
