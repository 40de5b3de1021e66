// gather_images.wgsl: out[j, :] = scale * table[index[j], :] + shift from bytes, or 0 where there is no such image.
//
// in      table (rows, width) u8, four to a word, the lowest byte first
//         index (b) u32
// out     out (b, width) f32
// launch  one invocation per output element, or per four of them (VEC4, when width is a multiple of 4, so that every
//         image starts on a word); workgroups of 256
// memory  none
// cost    2 flop, 1 byte read and 4 written per element: bound by memory
// numeric one multiply-add per byte
// source  definition

#import grid
#if VEC4
alias T = vec4f;
#else
alias T = f32;
#endif

struct Dims { n: u32, width: u32, rows: u32, scale: f32, shift: f32 } // n and width in units of T
@group(0) @binding(0) var<uniform> dims: Dims;
@group(0) @binding(1) var<storage, read> table: array<u32>;
@group(0) @binding(2) var<storage, read> index: array<u32>;
@group(0) @binding(3) var<storage, read_write> out: array<T>;

#if VEC4
fn load(at: u32) -> T {
    return vec4f((vec4u(table[at]) >> vec4u(0u, 8u, 16u, 24u)) & vec4u(255u));
}
#else
fn load(at: u32) -> T {
    return f32((table[at / 4u] >> (8u * (at % 4u))) & 255u);
}
#endif

@compute @workgroup_size(256)
fn gather_images(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
                 @builtin(local_invocation_index) local: u32) {
    let i = linear_index(group, groups, local);
    if (i >= dims.n) {
        return;
    }
    let row = index[i / dims.width];
    var value = T(0.0);
    if (row < dims.rows) {
        value = dims.scale * load(row * dims.width + i % dims.width) + dims.shift;
    }
    out[i] = value;
}
