// The logarithm of the softmax's divisor, and out · dout, of queries `row` to `row + 3` of a head: for the tiled gradient kernels.
// The importing kernel binds rows.
fn known_rows(batch: u32, head: u32, row: u32) -> mat2x4f {
    let first = (batch * dims.heads + head) * dims.queries;
    let at = first + min(row + vec4u(0u, 1u, 2u, 3u), vec4u(dims.queries - 1u));
    return transpose(mat4x2f(rows[at.x], rows[at.y], rows[at.z], rows[at.w]));
}
