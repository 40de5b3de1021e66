// sampler.wgsl: the indices of one batch: in order, in a fresh random order every epoch, or of a slot of a ring.
//
// in      step_state (4) u32   word 0 is the number of the step
// out     out (batch) u32
// launch  one invocation per index; workgroups of 256
// memory  none
// cost    SHUFFLED two Philox calls and on average less than two walks of 8 rounds per index: negligible
// numeric integers, the same on every adapter. IN_ORDER, indices past the end are 0xffffffff
// source  Black and Rogaway 2002, "Ciphers with arbitrary finite domains": a Feistel network on the next power of two,
//         applied until the result is in range; the round function is MurmurHash3's finalizer (Appleby)

#import grid
#import philox

// Position p of the epoch is step % batches * batch + i. A power of two >= n has left + right bits.
// RING: n examples from one of the `batches` slots to the next.
struct Dims { n: u32, batch: u32, batches: u32, seed_low: u32, seed_high: u32, left: u32, right: u32 }
@group(0) @binding(0) var<uniform> dims: Dims;
@group(0) @binding(1) var<storage, read> step_state: array<u32>;
@group(0) @binding(2) var<storage, read_write> out: array<u32>;

override ORDER: u32 = IN_ORDER;
const IN_ORDER = 0u;
const SHUFFLED = 1u;
const RING = 2u;
const STREAM = 0x5a4d504cu; // keeps these random bits apart from those of other ops with the same seed

fn mix(word: u32) -> u32 {
    var h = word;
    h = (h ^ (h >> 16u)) * 0x85ebca6bu;
    h = (h ^ (h >> 13u)) * 0xc2b2ae35u;
    return h ^ (h >> 16u);
}
// Each half is changed by a function of the other alone, so every round can be undone: a bijection for any keys.
fn feistel(value: u32, even: vec4u, odd: vec4u) -> u32 {
    var left = value >> dims.right;
    var right = value & ((1u << dims.right) - 1u);
    for (var round = 0u; round < 4u; round += 1u) {
        left = (left ^ mix(right ^ even[round])) & ((1u << dims.left) - 1u);
        right = (right ^ mix(left ^ odd[round])) & ((1u << dims.right) - 1u);
    }
    return (left << dims.right) | right;
}

@compute @workgroup_size(256)
fn sampler(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
           @builtin(local_invocation_index) local: u32) {
    let i = linear_index(group, groups, local);
    if (i >= dims.batch) {
        return;
    }
    let step = step_state[0];
    var index = (step % dims.batches) * dims.batch + i;
    if (ORDER == RING) {
        index = (step % dims.batches) * dims.n + i;
    } else if (ORDER == SHUFFLED) {
        let key = vec2u(dims.seed_low, dims.seed_high);
        let even = philox(vec4u(step / dims.batches, 0u, 0u, STREAM), key);
        let odd = philox(vec4u(step / dims.batches, 1u, 0u, STREAM), key);
        // Walking along a cycle of the bijection from a point in range comes back into range.
        index = feistel(index, even, odd);
        while (index >= dims.n) {
            index = feistel(index, even, odd);
        }
    } else if (step >= dims.batches || index >= dims.n) {
        index = 0xffffffffu;
    }
    out[i] = index;
}
