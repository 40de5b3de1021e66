// Shared part of the recurrences that keep W in registers, recurrence_registers.wgsl and recurrence_registers_grad.wgsl.
//
// A workgroup takes one sequence through time. A team of it, LANES neighboring invocations, owns four sums over the inner
// axis of a step's product, and lane q of the team those parts of W that meet four inner elements 4 (q + i LANES), for i below
// BLOCKS: a block. The first HELD blocks are loaded once and stay in registers, named by constants, as an array that a variable
// indexes would live in memory. The others are read in each step, from the L1 or L2 cache.
//
// The inner vector (a state, or the gradients of preactivations) lies in workgroup memory, twice: one is read while the next
// is written, so a step has one barrier. Element k lies in plane k % 4, place k / 4. So neighboring lanes read neighboring
// words, without bank conflicts, and one invocation writes one word: WGSL makes no promise where two write parts of a vector.
//
// The four sums of a team's lanes are joined by shuffles (SHUFFLE: teams lie within subgroups): two halvings, after which a
// lane has one sum, and a butterfly. 3 + log2(LANES / 4) shuffles, 100 cycles. Else through workgroup memory, a barrier more.
#import recurrent/recurrence_cell
#import grid

// Sizes: THREADS of a workgroup, a multiple of LANES, which is a power of two from 4 to 32; BLOCKS of a lane, at least 1; HELD, at
// most BLOCKS and 8.
const PLANE: u32 = LANES * BLOCKS;

// Four inner elements by the sums of a team: three of a GRU going forward.
#if THREE
alias Sums = vec3f;
alias Block = mat4x3f;
fn four_sums(sums: Sums) -> vec4f { return vec4f(sums, 0.0); }
#else
alias Sums = vec4f;
alias Block = mat4x4f;
fn four_sums(sums: Sums) -> vec4f { return sums; }
#endif

var<workgroup> inner: array<f32, 8u * PLANE>; // [2][4][PLANE]

fn put(buffer: u32, k: u32, value: f32) {
    inner[(4u * buffer + k % 4u) * PLANE + k / 4u] = value;
}
fn four_at(buffer: u32, place: u32) -> vec4f {
    let at = 4u * buffer * PLANE + place;
    return vec4f(inner[at], inner[at + PLANE], inner[at + 2u * PLANE], inner[at + 3u * PLANE]);
}

// The importing kernel declares block_at(team, place): the block of inner elements 4 place to 4 place + 3, 0 where there is none.
fn hold(team: u32, lane: u32, held: ptr<function, array<Block, 8>>) {
#unroll i 8
    if (HELD > $iu) { (*held)[$i] = block_at(team, lane + $iu * LANES); }
#end
}
fn add_block(sums: Sums, block: Block, four: vec4f) -> Sums {
    return (((sums + block[0] * four.x) + block[1] * four.y) + block[2] * four.z) + block[3] * four.w;
}
// A lane's part of its team's sums.
fn part(buffer: u32, team: u32, lane: u32, held: ptr<function, array<Block, 8>>) -> vec4f {
    var sums = Sums();
#unroll i 8
    if (HELD > $iu) { sums = add_block(sums, (*held)[$i], four_at(buffer, lane + $iu * LANES)); }
#end
    for (var i = HELD; i < BLOCKS; i += 1u) {
        let place = lane + i * LANES;
        sums = add_block(sums, block_at(team, place), four_at(buffer, place));
    }
    return four_sums(sums);
}

#if SHUFFLE
override SHUFFLE_SIZE: u32 = 32u; // of a subgroup

// Sum number lane % 4 of the team, the same bits in every lane that has it.
fn own_sum(local: u32, part: vec4f) -> f32 {
    let high = (local & 2u) == 2u;
    let odd = (local & 1u) == 1u;
    let away = select(part.zw, part.xy, high);
    let pair = select(part.xy, part.zw, high) + vec2f(subgroupShuffleXor(away.x, 2u), subgroupShuffleXor(away.y, 2u));
    var sum = select(pair.x, pair.y, odd) + subgroupShuffleXor(select(pair.y, pair.x, odd), 1u);
    for (var distance = 4u; distance < LANES; distance *= 2u) {
        sum += subgroupShuffleXor(sum, distance);
    }
    return sum;
}
// The values of lanes 0 to 3 of each four.
fn of_four(local: u32, value: f32) -> vec4f {
    let first = (local % SHUFFLE_SIZE) & ~3u;
    return vec4f(subgroupShuffle(value, first), subgroupShuffle(value, first + 1u), subgroupShuffle(value, first + 2u),
                 subgroupShuffle(value, first + 3u));
}
#else
var<workgroup> parts: array<vec4f, THREADS>;
var<workgroup> values: array<f32, THREADS>;

fn own_sum(local: u32, part: vec4f) -> f32 {
    parts[local] = part;
    workgroupBarrier();
    let first = local - local % LANES;
    var sum = 0.0;
    for (var i = 0u; i < LANES; i += 1u) {
        sum += parts[first + i][local % 4u];
    }
    return sum;
}
fn of_four(local: u32, value: f32) -> vec4f {
    values[local] = value;
    workgroupBarrier();
    let first = local & ~3u;
    return vec4f(values[first], values[first + 1u], values[first + 2u], values[first + 3u]);
}
#endif
