// Shared part of the tiled attention kernels that own queries and meet keys: q lies in own_a, k in met_a and v in met_b.

// Unit c of four rows of q.
#if OWN_CACHED
fn q4(spot: Spot, row: u32, c: u32) -> mat4x4f {
    return q_rows(spot.batch, spot.head, spot.row, c);
}
#else
fn q4(spot: Spot, row: u32, c: u32) -> mat4x4f {
    return own_a4(row, c);
}
#endif
// Loads k and v of MET keys from `key` on.
fn meet_keys(local: u32, batch: u32, head: u32, key: u32) {
    for (var n = 0u; n < MET_LOADS; n += 1u) {
        let i = n * THREADS + local;
        let at = turned(i / STRIDE, i % STRIDE);
        met_a[at] = k_or_none(batch, head, key + i / STRIDE, i % STRIDE);
        met_b[at] = v_or_none(batch, head, key + i / STRIDE, i % STRIDE);
    }
}
