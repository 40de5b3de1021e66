// pack.wgsl: out[start_p + (i / run_p)·pitch_p + i % run_p] = x_p[i]: up to seven tensors into their places in one buffer.
//
// in      x0..x6 f32: the tensors; those without a part are not read
// out     out f32
// launch  a row of workgroups of 256 for each part, an invocation per element of the longest, or per four (VEC4: all sizes are
//         multiples of 4)
// memory  none
// cost    8 bytes per element; a dispatch in place of seven, which would wait for each other as they write one buffer
// numeric exact copy
// source  definition

#if VEC4
alias T = vec4f;
#else
alias T = f32;
#endif

struct Dims { parts: array<vec4u, 7> } // start, elements, run and pitch of each, in units of T
@group(0) @binding(0) var<uniform> dims: Dims;
@group(0) @binding(1) var<storage, read> x0: array<T>;
@group(0) @binding(2) var<storage, read> x1: array<T>;
@group(0) @binding(3) var<storage, read> x2: array<T>;
@group(0) @binding(4) var<storage, read> x3: array<T>;
@group(0) @binding(5) var<storage, read> x4: array<T>;
@group(0) @binding(6) var<storage, read> x5: array<T>;
@group(0) @binding(7) var<storage, read> x6: array<T>;
@group(0) @binding(8) var<storage, read_write> out: array<T>;

fn load(part: u32, i: u32) -> T {
    switch part {
        case 0u: { return x0[i]; }
        case 1u: { return x1[i]; }
        case 2u: { return x2[i]; }
        case 3u: { return x3[i]; }
        case 4u: { return x4[i]; }
        case 5u: { return x5[i]; }
        default: { return x6[i]; }
    }
}

@compute @workgroup_size(256)
fn pack(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) local: u32) {
    let i = group.x * 256u + local;
    let part = dims.parts[group.y]; // start, elements, run, pitch
    if (i < part.y) {
        out[part.x + (i / part.z) * part.w + i % part.z] = load(group.y, i);
    }
}
