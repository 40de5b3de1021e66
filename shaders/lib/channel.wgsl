// Walks the elements of one channel of x (batch, channels, inner), LANES invocations at once; import reduce before it.
// The channel and the lane of an invocation depend on where neighbors in memory lie. With inner > 1: the lanes
// of a channel are neighbors. With inner = 1 (ACROSS): neighbors take neighboring channels.
// If there are few channels, PARTS workgroups share each: a part is a range of its n elements.
override PARTS: u32 = 1u;
fn part_of(group: u32, n: u32) -> vec2u {
    let length = (n + PARTS - 1u) / PARTS;
    return min(vec2u(group % PARTS, group % PARTS + 1u) * length, vec2u(n));
}
override ACROSS: u32 = 0u;

fn lane_spacing() -> u32 {
    return select(1u, 256u / LANES, ACROSS == 1u);
}
fn channel_of(first: u32, local: u32) -> u32 {
    return first + select(local / LANES, local % (256u / LANES), ACROSS == 1u);
}
// Divisions happen once, here; a step of the walk has none.
struct Walk {
    at: u32, // in x
    i: u32,  // in inner
    inner: u32,
    step_at: u32,
    step_i: u32,
    wrap: u32,
}
fn walk(channel: u32, first: u32, channels: u32, inner: u32) -> Walk {
    let i = first % inner;
    let step_i = LANES % inner;
    return Walk(((first / inner) * channels + channel) * inner + i, i, inner,
                (LANES / inner) * channels * inner + step_i, step_i, (channels - 1u) * inner);
}
fn advance(w: ptr<function, Walk>) {
    (*w).at += (*w).step_at;
    (*w).i += (*w).step_i;
    if ((*w).i >= (*w).inner) {
        (*w).i -= (*w).inner;
        (*w).at += (*w).wrap;
    }
}
