// Loads of the output's gradient for the tiled attention kernels, like those of q, k and v in
// lib/attention/attention_tiles.wgsl. The importing kernel binds dout.
#if VEC4
fn dout_unit(at: u32, c: u32) -> vec4f {
    return dout[at + c];
}
#else
fn dout_unit(at: u32, c: u32) -> vec4f {
    let e = at + min(elements(c), vec4u(HEAD - 1u));
    return select(vec4f(), vec4f(dout[e.x], dout[e.y], dout[e.z], dout[e.w]), elements(c) < vec4u(HEAD));
}
#endif
fn dout_or_none(batch: u32, head: u32, row: u32, c: u32) -> vec4f {
    let there = dout_unit(out_at(batch, head, min(row, dims.queries - 1u)), min(c, INNER - 1u));
    return select(vec4f(), there, row < dims.queries && c < INNER);
}
fn dout_rows(batch: u32, head: u32, row: u32, c: u32) -> mat4x4f {
    let last = dims.queries - 1u;
    return mat4x4f(dout_unit(out_at(batch, head, min(row, last)), c), dout_unit(out_at(batch, head, min(row + 1u, last)), c),
                   dout_unit(out_at(batch, head, min(row + 2u, last)), c), dout_unit(out_at(batch, head, min(row + 3u, last)), c));
}
