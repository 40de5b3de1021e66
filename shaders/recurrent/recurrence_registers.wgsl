// recurrence_registers.wgsl: the states of a recurrent layer, as recurrence.wgsl, for GPUs: one workgroup a sequence, W in registers.
//
// in      as recurrence.wgsl: z (batch, time, gates · hidden), w (gates · hidden, hidden), bias, h0, c0, f32; mask u32
// out     as recurrence.wgsl: h (batch, time, hidden) and what its gradient needs
// launch  a workgroup of THREADS for each sequence. Its teams of LANES invocations, lib/recurrent/recurrence_registers.wgsl, own four units
//         of a tanh cell, or the gates of one unit of another: a lane applies one gate's activation, and all get all gates
// memory  32 · LANES · BLOCKS bytes, about 8 · hidden; without SHUFFLE 20 · THREADS more
// cost    2 · batch · hidden · gates · hidden flop a step. W is read once a workgroup, but for blocks beyond HELD. A step is a chain:
//         reads of workgroup memory, multiply-adds, shuffles, activation, barrier, about 500 cycles; z comes a step ahead.
//         128 tanh units on 512 threads: 2 blocks, 32 registers, 8 reads and 5 shuffles a step
// numeric f32 sums by lanes, then over lanes in a fixed order
// source  Diamos et al. 2016, "Persistent RNNs: Stashing recurrent weights on-chip"; Appleyard et al. 2016, arXiv:1604.01946

@group(0) @binding(1) var<storage, read> z: array<f32>;
#if W4
@group(0) @binding(2) var<storage, read> w: array<vec4f>; // hidden is a multiple of 4
#else
@group(0) @binding(2) var<storage, read> w: array<f32>;
#endif
@group(0) @binding(3) var<storage, read> bias: array<f32>;
@group(0) @binding(4) var<storage, read> h0: array<f32>;
@group(0) @binding(5) var<storage, read> c0: array<f32>;
@group(0) @binding(6) var<storage, read> mask: array<u32>;
@group(0) @binding(7) var<storage, read_write> out: array<f32>;
#import recurrent/recurrence_registers

// Four elements of the row of W for a team's sum i; of the last row if there is none.
#if W4
fn row_at(team: u32, i: u32, place: u32) -> vec4f {
    return w[row_of(team, i) * (dims.hidden / 4u) + place];
}
#else
fn row_at(team: u32, i: u32, place: u32) -> vec4f {
    let k = 4u * place + vec4u(0u, 1u, 2u, 3u);
    let at = row_of(team, i) * dims.hidden + min(k, vec4u(dims.hidden - 1u));
    return select(vec4f(), vec4f(w[at.x], w[at.y], w[at.z], w[at.w]), k < vec4u(dims.hidden));
}
#endif
fn row_of(team: u32, i: u32) -> u32 {
    if (CELL == TANH) {
        return min(4u * team + i, dims.hidden - 1u);
    }
    return i * dims.hidden + min(team, dims.hidden - 1u);
}
fn block_at(team: u32, place: u32) -> Block {
    var block = Block();
    if (4u * place < dims.hidden) {
#if THREE
        block = transpose(mat3x4f(row_at(team, 0u, place), row_at(team, 1u, place), row_at(team, 2u, place)));
#else
        block = transpose(mat4x4f(row_at(team, 0u, place), row_at(team, 1u, place), row_at(team, 2u, place),
                                  row_at(team, 3u, place)));
#endif
    }
    return block;
}

@compute @workgroup_size(THREADS)
fn recurrence_registers(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
                        @builtin(local_invocation_index) local: u32) {
    let row = linear_group(group, groups);
    if (row >= dims.batch) {
        return; // the whole workgroup returns
    }
    let team = local / LANES;
    let lane = local % LANES;
    let n = dims.hidden;
    let own = lane % 4u; // number of the team's sum that a lane finishes
    let unit = select(team, 4u * team + own, CELL == TANH);
    let is_there = unit < n && lane < 4u;
    let known = min(unit, n - 1u);
    let column = known + select(min(own, gates() - 1u) * n, 0u, CELL == TANH);
    var held: array<Block, 8>;
    hold(team, lane, &held);
    for (var i = local; i < 8u * PLANE; i += THREADS) {
        let k = 4u * (i % PLANE) + (i / PLANE) % 4u;
        var value = 0.0;
        if (k < n) {
            value = h0[row * n + k];
        }
        inner[i] = value;
    }
    let b = bias[column];
    var h = h0[row * n + known];
    var c = 0.0;
    if (CELL == LSTM) {
        c = c0[row * n + known];
    }
    // Inputs of the next step, loaded while this one runs.
    now = 0u;
    var next_z = z[step_at(row, gates()) + column];
    var next_candidate = z[step_at(row, gates()) + (gates() - 1u) * n + known];
    var next_real = is_real(row);
    workgroupBarrier();
    for (var t = 0u; t < dims.time; t += 1u) {
        let own_z = next_z;
        let candidate_z = next_candidate;
        let real = next_real;
        now = min(t + 1u, dims.time - 1u);
        next_z = z[step_at(row, gates()) + column];
        if (CELL == GRU) {
            next_candidate = z[step_at(row, gates()) + (gates() - 1u) * n + known];
        }
        next_real = is_real(row);
        now = t;
        let a = own_sum(local, part(t % 2u, team, lane, &held)) + b;
        let at = step_at(row, 1u) + unit;
        let saved = dims.saved + step_at(row, 4u) + unit;
        var writes = is_there;
        if (CELL == TANH) {
            h = select(h, tanh_exact(own_z + a), real);
        } else if (CELL == LSTM) {
            let gate = select(sigmoid(own_z + a), tanh_exact(own_z + a), own == 2u);
            let all = of_four(local, gate);
            c = select(c, all.y * c + all.x * all.z, real);
            h = select(h, all.w * tanh_exact(c), real);
            writes = is_there && own == 0u;
            if (is_there) {
                out[saved + own * n] = gate;
            }
            if (writes) {
                out[dims.cells + at] = c;
            }
        } else {
            // The last lane of four has no gate, and writes n.
            let gate = select(sigmoid(own_z + a), a, own == 2u);
            let all = of_four(local, gate);
            let novel = tanh_exact(candidate_z + all.x * all.z);
            h = select(h, (1.0 - all.y) * novel + all.y * h, real);
            writes = is_there && own == 0u;
            if (is_there) {
                out[saved + select(own, 5u - own, own > 1u) * n] = select(gate, novel, own == 3u);
            }
        }
        if (writes) {
            out[at] = h;
            put((t + 1u) % 2u, unit, h);
        }
        workgroupBarrier();
    }
}
