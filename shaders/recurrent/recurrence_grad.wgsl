// recurrence_grad.wgsl: gradients of recurrence.wgsl, from the last step to the first. dh is the gradient of h[t] from above
// and from step t + 1:
//   tanh  dz = dh (1 − h²)
//   LSTM  dc += dh o (1 − tanh(c)²);  dz = (dc g i', dc c[t−1] f', dc i g', dh tanh(c) o');  dc = dc f
//   GRU   dn = dh (1 − u) (1 − n²);  dz = (dn a_n r', dh (h[t−1] − n) u', dn);  recurrent (…, …, dn r)
//   then dh = Wᵀ recurrent (+ dh u of a GRU); of a step that is not real dz = 0 and dh stays.
//
// in      w (gates · hidden, hidden), y: output of recurrence.wgsl, dy (batch, time, hidden), h0, c0 (batch, hidden); f32; mask
// out     dz (batch, time, gates · hidden); of a GRU also the gradient of W h + b, which for the others is dz; dh and dc
//         (batch, hidden): their values after the first step, the gradients of h0 and c0
// launch  as recurrence.wgsl; steps last - 1 down to first
// memory  as recurrence.wgsl
// cost    2 · batch · hidden · gates · hidden flop a step. The gradient of w is one product over all steps, elsewhere
// numeric f32 sums in order of k
// source  Werbos 1990, "Backpropagation through time"

@group(0) @binding(1) var<storage, read> w: array<T>;
@group(0) @binding(2) var<storage, read> y: array<T>;
@group(0) @binding(3) var<storage, read> dy: array<T>;
@group(0) @binding(4) var<storage, read> h0: array<T>;
@group(0) @binding(5) var<storage, read> c0: array<T>;
@group(0) @binding(6) var<storage, read> mask: array<u32>;
@group(0) @binding(7) var<storage, read_write> out: array<T>;
#import recurrent/recurrence

var<private> first_col: u32;
fn columns(cols: vec4u) {
    first_col = cols.x;
}
#if VEC4
fn lhs4_at(row: u32, k: u32) -> vec4f {
    return out[dims.recurrent + step_at(row, gates()) + k / 4u];
}
fn rhs_at(k: u32, cols: vec4u) -> vec4f {
    return w[(k * dims.hidden + first_col) / 4u];
}
fn store(row: u32, col: u32, sums: vec4f) {
    out[dims.dh + row * width() + col / 4u] += sums;
}
#else
fn lhs_at(row: u32, k: u32) -> f32 {
    return out[dims.recurrent + step_at(row, gates()) + k];
}
fn rhs_at(k: u32, cols: vec4u) -> vec4f {
    let at = k * dims.hidden + cols;
    return vec4f(w[at.x], w[at.y], w[at.z], w[at.w]);
}
fn store(row: u32, col: u32, sums: vec4f) {
    for (var j = 0u; j < min(4u, dims.hidden - col); j += 1u) {
        out[dims.dh + row * width() + col + j] += sums[j];
    }
}
#endif

// Gradients of a unit's preactivations, and the gradient that reaches its earlier state without passing through W.
fn backward(row: u32, unit: u32) {
    let state = row * width() + unit;
    let at = step_at(row, 1u) + unit;
    let dz = step_at(row, gates()) + unit;
    let recurrent = dims.recurrent + dz;
    var dh = dy[at];
    if (now + 1u < dims.time) {
        dh += out[dims.dh + state];
    }
    let real = is_real(row);
    let n = width();
    if (CELL == TANH) {
        out[dz] = select(T(0.0), dh * (1.0 - y[at] * y[at]), real);
        out[dims.dh + state] = select(dh, T(0.0), real);
        return;
    }
    let saved = dims.saved + step_at(row, 4u) + unit;
    if (CELL == LSTM) {
        let i = y[saved];
        let f = y[saved + n];
        let g = y[saved + 2u * n];
        let o = y[saved + 3u * n];
        let c = tanh_exact(y[dims.cells + at]);
        var before = T(0.0);
        if (now > 0u) {
            before = y[dims.cells + at - n];
        } else {
            before = c0[state];
        }
        var later = T(0.0);
        if (now + 1u < dims.time) {
            later = out[dims.dc + state];
        }
        let dc = later + dh * o * (1.0 - c * c);
        out[dz] = select(T(0.0), dc * g * i * (1.0 - i), real);
        out[dz + n] = select(T(0.0), dc * before * f * (1.0 - f), real);
        out[dz + 2u * n] = select(T(0.0), dc * i * (1.0 - g * g), real);
        out[dz + 3u * n] = select(T(0.0), dh * c * o * (1.0 - o), real);
        out[dims.dc + state] = select(later, dc * f, real);
        out[dims.dh + state] = select(dh, T(0.0), real);
        return;
    }
    let r = y[saved];
    let u = y[saved + n];
    let candidate = y[saved + 2u * n];
    var before = T(0.0);
    if (now > 0u) {
        before = y[at - n];
    } else {
        before = h0[state];
    }
    let dn = select(T(0.0), dh * (1.0 - u) * (1.0 - candidate * candidate), real);
    let dr = dn * y[saved + 3u * n] * r * (1.0 - r);
    let du = select(T(0.0), dh * (before - candidate) * u * (1.0 - u), real);
    out[dz] = dr;
    out[dz + n] = du;
    out[dz + 2u * n] = dn;
    out[recurrent] = dr;
    out[recurrent + n] = du;
    out[recurrent + 2u * n] = dn * r;
    out[dims.dh + state] = select(dh, dh * u, real);
}

@compute @workgroup_size(LANES.x, LANES.y)
fn recurrence_grad(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_id) local: vec3u,
                   @builtin(local_invocation_index) index: u32) {
    let units = min(OWNED, dims.batch - group.x * OWNED) * width();
#if UNITS
    now = dims.first;
    let i = group.y * LANES.x * LANES.y + index;
    if (i < units) {
        backward(group.x * OWNED + i / width(), i % width());
    }
#elif PRODUCT
    now = dims.first;
    block(group.y, group.x, local.xy, dims.hidden, gates() * dims.hidden);
#else
    for (var t = dims.last; t > dims.first; t -= 1u) {
        now = t - 1u;
        for (var i = index; i < units; i += LANES.x * LANES.y) {
            backward(group.x * OWNED + i / width(), i % width());
        }
        storageBarrier();
        for (var number = 0u; number * COLUMNS < dims.hidden; number += 1u) {
            block(number, group.x, local.xy, dims.hidden, gates() * dims.hidden);
        }
        storageBarrier();
    }
#endif
}
