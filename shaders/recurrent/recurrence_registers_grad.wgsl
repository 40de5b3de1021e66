// recurrence_registers_grad.wgsl: gradients as recurrence_grad.wgsl, for GPUs: one workgroup a sequence, W in registers.
//
// in      as recurrence_grad.wgsl: w (gates · hidden, hidden), y, dy (batch, time, hidden), h0, c0, f32; mask u32
// out     as recurrence_grad.wgsl: dz, of a GRU the gradient of W h + b, dh, dc
// launch  a workgroup of THREADS for each sequence; its teams of LANES invocations, lib/recurrent/recurrence_registers.wgsl, own four
//         units: four columns of W. Lane q has unit q % 4 of them, whose dh and dc stay in its registers
// memory  32 · LANES · BLOCKS bytes, about 8 · gates · hidden; without SHUFFLE 20 · THREADS more
// cost    2 · batch · hidden · gates · hidden flop a step. W is read once a workgroup, but for blocks beyond HELD; the
//         values that the forward pass saved come a step ahead. A step is a chain as in recurrence_registers.wgsl. The gradient of w is one
//         product over all steps, elsewhere
// numeric f32 sums by lanes, then over lanes in a fixed order
// source  Werbos 1990; Diamos et al. 2016, "Persistent RNNs: Stashing recurrent weights on-chip"

#if W4
@group(0) @binding(1) var<storage, read> w: array<vec4f>; // hidden is a multiple of 4
#else
@group(0) @binding(1) var<storage, read> w: array<f32>;
#endif
@group(0) @binding(2) var<storage, read> y: array<f32>;
@group(0) @binding(3) var<storage, read> dy: array<f32>;
@group(0) @binding(4) var<storage, read> h0: array<f32>;
@group(0) @binding(5) var<storage, read> c0: array<f32>;
@group(0) @binding(6) var<storage, read> mask: array<u32>;
@group(0) @binding(7) var<storage, read_write> out: array<f32>;
#import recurrent/recurrence_registers

// Row k of W at a team's four units, 0 where it has none.
fn units_at(team: u32, k: u32) -> vec4f {
    var four = vec4f();
    if (k < gates() * dims.hidden && 4u * team < dims.hidden) {
#if W4
        four = w[k * (dims.hidden / 4u) + team];
#else
        let units = 4u * team + vec4u(0u, 1u, 2u, 3u);
        let at = k * dims.hidden + min(units, vec4u(dims.hidden - 1u));
        four = vec4f(w[at.x], w[at.y], w[at.z], w[at.w]); // sums of units that are not there are never read
#endif
    }
    return four;
}
fn block_at(team: u32, place: u32) -> Block {
    let k = 4u * place;
    return Block(units_at(team, k), units_at(team, k + 1u), units_at(team, k + 2u), units_at(team, k + 3u));
}

// Inputs of a unit's step backward.
struct Step {
    dy: f32,
    saved: vec4f, // h of a tanh cell, else the values that the forward pass saved
    cell: f32,    // an LSTM's
    before: f32,  // an LSTM's cell or a GRU's state, a step earlier
    real: bool
}
fn step_of(row: u32, unit: u32) -> Step {
    let n = dims.hidden;
    let at = step_at(row, 1u) + unit;
    var result: Step;
    result.dy = dy[at];
    result.real = is_real(row);
    if (CELL == TANH) {
        result.saved.x = y[at];
        return result;
    }
    let saved = dims.saved + step_at(row, 4u) + unit;
    result.saved = vec4f(y[saved], y[saved + n], y[saved + 2u * n], y[saved + 3u * n]);
    if (CELL == LSTM) {
        result.cell = y[dims.cells + at];
        if (now > 0u) { result.before = y[dims.cells + at - n]; } else { result.before = c0[row * n + unit]; }
    } else {
        if (now > 0u) { result.before = y[at - n]; } else { result.before = h0[row * n + unit]; }
    }
    return result;
}

@compute @workgroup_size(THREADS)
fn recurrence_registers_grad(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
                             @builtin(local_invocation_index) local: u32) {
    let row = linear_group(group, groups);
    if (row >= dims.batch) {
        return; // the whole workgroup returns
    }
    let team = local / LANES;
    let lane = local % LANES;
    let n = dims.hidden;
    let unit = 4u * team + lane % 4u;
    let is_there = unit < n && lane < 4u;
    let known = min(unit, n - 1u);
    var held: array<Block, 8>;
    hold(team, lane, &held);
    for (var i = local; i < 8u * PLANE; i += THREADS) {
        inner[i] = 0.0;
    }
    var dh = 0.0;
    var dc = 0.0;
    now = dims.time - 1u;
    var next = step_of(row, known); // loaded while the step after it runs
    workgroupBarrier();
    for (var t = dims.time; t > 0u; t -= 1u) {
        let here = next;
        now = max(t, 2u) - 2u;
        next = step_of(row, known);
        now = t - 1u;
        let g = dh + here.dy;
        let saved = here.saved;
        var direct = 0.0; // gradient of the earlier state that does not pass through W
        var dz = vec4f(); // by gate, and of W h + b
        var recurrent = vec4f();
        if (CELL == TANH) {
            dz.x = g * (1.0 - saved.x * saved.x);
            recurrent = dz;
        } else if (CELL == LSTM) {
            let c = tanh_exact(here.cell);
            let through = dc + g * saved.w * (1.0 - c * c);
            dz = vec4f(through * saved.z * saved.x * (1.0 - saved.x), through * here.before * saved.y * (1.0 - saved.y),
                       through * saved.x * (1.0 - saved.z * saved.z), g * c * saved.w * (1.0 - saved.w));
            recurrent = dz;
            dc = select(dc, through * saved.y, here.real);
        } else {
            let dn = g * (1.0 - saved.y) * (1.0 - saved.z * saved.z);
            dz = vec4f(dn * saved.w * saved.x * (1.0 - saved.x), g * (here.before - saved.z) * saved.y * (1.0 - saved.y), dn, 0.0);
            recurrent = vec4f(dz.xy, dn * saved.x, 0.0);
            direct = g * saved.y;
        }
        dz = select(vec4f(), dz, here.real);
        recurrent = select(vec4f(), recurrent, here.real);
        direct = select(g, direct, here.real);
        let buffer = t % 2u;
        if (is_there) {
            let at = step_at(row, gates()) + unit;
            out[at] = dz.x;
            put(buffer, unit, recurrent.x);
            if (CELL != TANH) {
                out[at + n] = dz.y;
                out[at + 2u * n] = dz.z;
                put(buffer, n + unit, recurrent.y);
                put(buffer, 2u * n + unit, recurrent.z);
            }
            if (CELL == LSTM) {
                out[at + 3u * n] = dz.w;
                put(buffer, 3u * n + unit, recurrent.w);
            }
            if (CELL == GRU) {
                out[dims.recurrent + at] = recurrent.x;
                out[dims.recurrent + at + n] = recurrent.y;
                out[dims.recurrent + at + 2u * n] = recurrent.z;
            }
        }
        workgroupBarrier();
        dh = direct + own_sum(local, part(buffer, team, lane, &held));
    }
    if (is_there) {
        out[dims.dh + row * n + unit] = dh;
        if (CELL == LSTM) {
            out[dims.dc + row * n + unit] = dc;
        }
    }
}
