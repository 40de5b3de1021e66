// recurrence.wgsl: the states of a recurrent layer, h[t] from h[t−1] and the projected input z[t]. With a = W h[t−1] + b:
//   tanh  h = tanh(z + a)
//   LSTM  i, f, g, o = σ, σ, tanh, σ of z + a;  c = f c[t−1] + i g;  h = o tanh(c)
//   GRU   r, u = σ of z + a;  n = tanh(z_n + r a_n);  h = (1 − u) n + u h[t−1]
//   A step that is not real keeps h and c.
//
// in      z (batch, time, gates · hidden), w (gates · hidden, hidden), bias (gates · hidden), h0 and c0 (batch, hidden); f32;
//         mask u32: see lib/recurrent/recurrence.wgsl
// out     h (batch, time, hidden); then of an LSTM i, f, g, o (batch, time, 4, hidden) and c (batch, time, hidden), of a GRU r,
//         u, n, a_n (batch, time, 4, hidden)
// launch  a workgroup for every OWNED sequences; it loops over the time steps first to last - 1. PRODUCT and UNITS: of
//         one step, a workgroup for every OWNED sequences and COLUMNS columns, or for every OWNED sequences and LANES of their units
// memory  that of the product's loop: lib/gemm/product_subgroup.wgsl, lib/gemm/product_block.wgsl
// cost    2 · batch · hidden · gates · hidden flop a step; w is read once a step and workgroup, from cache
// numeric f32 sums in order of k
// source  Hochreiter and Schmidhuber 1997 and Gers et al. 2000 (LSTM), Cho et al. 2014, arXiv:1406.1078 (GRU, in PyTorch's
//         form: the reset gate multiplies W_n h + b_n)

@group(0) @binding(1) var<storage, read> z: array<T>;
@group(0) @binding(2) var<storage, read> w: array<T>;
@group(0) @binding(3) var<storage, read> bias: array<T>;
@group(0) @binding(4) var<storage, read> h0: array<T>;
@group(0) @binding(5) var<storage, read> c0: array<T>;
@group(0) @binding(6) var<storage, read> mask: array<u32>;
@group(0) @binding(7) var<storage, read_write> out: array<T>;
#import recurrent/recurrence

fn state_before(row: u32, unit: u32) -> T {
    if (now == 0u) {
        return h0[row * width() + unit];
    }
    return out[(row * dims.time + now - 1u) * width() + unit];
}
fn cell_before(row: u32, unit: u32) -> T {
    if (now == 0u) {
        return c0[row * width() + unit];
    }
    return out[dims.cells + (row * dims.time + now - 1u) * width() + unit];
}

fn columns(cols: vec4u) {}
#if VEC4
fn lhs4_at(row: u32, k: u32) -> vec4f {
    return state_before(row, k / 4u);
}
fn rhs4_at(col: u32, k: u32) -> vec4f {
    return w[(col * dims.hidden + k) / 4u];
}
fn store(row: u32, col: u32, sums: vec4f) {
    preactivation(row, col / 4u, sums);
}
#else
fn lhs_at(row: u32, k: u32) -> f32 {
    return state_before(row, k);
}
fn rhs_at(k: u32, cols: vec4u) -> vec4f {
    let at = cols * dims.hidden + k;
    return vec4f(w[at.x], w[at.y], w[at.z], w[at.w]);
}
fn store(row: u32, col: u32, sums: vec4f) {
    for (var j = 0u; j < min(4u, gates() * dims.hidden - col); j += 1u) {
        preactivation(row, col + j, sums[j]);
    }
}
#endif

// Stores one sum of the product, plus bias and input. For a tanh cell that gives the state.
fn preactivation(row: u32, column: u32, sum: T) {
    let gate = column / width();
    var a = sum + bias[column];
    let is_candidate = CELL == GRU && gate == 2u;
    if (!is_candidate) {
        a += z[step_at(row, gates()) + column];
    }
    if (CELL == TANH) {
        let h = select(state_before(row, column), tanh_exact(a), is_real(row));
        out[step_at(row, 1u) + column] = h;
        return;
    }
    out[dims.saved + step_at(row, 4u) + select(column, column + width(), is_candidate)] = a;
}

// From the preactivations of a unit to its state.
fn update(row: u32, unit: u32) {
    let at = dims.saved + step_at(row, 4u) + unit;
    let before = state_before(row, unit);
    var h: T;
    if (CELL == LSTM) {
        let i = sigmoid(out[at]);
        let f = sigmoid(out[at + width()]);
        let g = tanh_exact(out[at + 2u * width()]);
        let o = sigmoid(out[at + 3u * width()]);
        let earlier = cell_before(row, unit);
        let c = select(earlier, f * earlier + i * g, is_real(row));
        h = o * tanh_exact(c);
        out[at] = i;
        out[at + width()] = f;
        out[at + 2u * width()] = g;
        out[at + 3u * width()] = o;
        out[dims.cells + step_at(row, 1u) + unit] = c;
    } else {
        let r = sigmoid(out[at]);
        let u = sigmoid(out[at + width()]);
        let n = tanh_exact(z[step_at(row, 3u) + 2u * width() + unit] + r * out[at + 3u * width()]);
        h = (1.0 - u) * n + u * before;
        out[at] = r;
        out[at + width()] = u;
        out[at + 2u * width()] = n;
    }
    out[step_at(row, 1u) + unit] = select(before, h, is_real(row));
}

@compute @workgroup_size(LANES.x, LANES.y)
fn recurrence(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_id) local: vec3u,
              @builtin(local_invocation_index) index: u32) {
    let all = gates() * dims.hidden;
    let units = min(OWNED, dims.batch - group.x * OWNED) * width();
#if PRODUCT
    now = dims.first;
    block(group.y, group.x, local.xy, all, dims.hidden);
#elif UNITS
    now = dims.first;
    let i = group.y * LANES.x * LANES.y + index;
    if (i < units) {
        update(group.x * OWNED + i / width(), i % width());
    }
#else
    for (var t = dims.first; t < dims.last; t += 1u) {
        now = t;
        for (var number = 0u; number * COLUMNS < all; number += 1u) {
            block(number, group.x, local.xy, all, dims.hidden);
        }
        storageBarrier();
        if (CELL != TANH) {
            for (var i = index; i < units; i += LANES.x * LANES.y) {
                update(group.x * OWNED + i / width(), i % width());
            }
            storageBarrier();
        }
    }
#endif
}
