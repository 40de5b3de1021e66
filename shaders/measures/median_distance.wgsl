// median_distance.wgsl: the median of the positive squared distances |x_i − x_j|² = G_ii + G_jj − 2 G_ij.
//
// in      g (entries, n, n) f32: Gram matrices of centered activations
// out     out (entries) f32: scale · median; of an even number the lower one. `scale` where no two rows differ
// launch  one workgroup of 256 for each entry. Radix selection: four rounds fix eight bits each of the answer's pattern, which orders
//         positive floats as the numbers do; a round counts the candidates by their next eight bits
// memory  1 KiB of counters
// cost    5 reads of G, 8 flop per element and round
// numeric exact selection, counted with integers: same bits every time. A distance of less than 1e-6 (G_ii + G_jj) is
//         rounding, and counts as 0: duplicated examples do not determine the bandwidth
// source  median heuristic: Gretton et al. 2012, JMLR 13, section 8

struct Dims { n: u32, scale: f32 }
@group(0) @binding(0) var<uniform> dims: Dims;
@group(0) @binding(1) var<storage, read> g: array<f32>;
@group(0) @binding(2) var<storage, read_write> out: array<f32>;

var<private> matrix: u32; // of this entry in g
var<workgroup> counts: array<atomic<u32>, 256>;
var<workgroup> found: vec2u; // the bits fixed so far, and how many candidates lie below the median's bin

fn squared_distance(row: u32, column: u32) -> f32 {
    let sum = g[matrix + row * dims.n + row] + g[matrix + column * dims.n + column];
    let squared = sum - 2.0 * g[matrix + row * dims.n + column];
    return select(squared, 0.0, squared <= 1e-6 * sum);
}

@compute @workgroup_size(256)
fn median_distance(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) local: u32) {
    matrix = group.x * dims.n * dims.n;
    var prefix = 0u;
    var rank = 0u; // of the median among the candidates, once they are counted
    for (var round = 0u; round < 4u; round += 1u) {
        let shift = 24u - 8u * round;
        atomicStore(&counts[local], 0u);
        workgroupBarrier();
        // Invocation i takes rows i, i + 256, …, and of each the part left of the diagonal.
        for (var row = local; row < dims.n; row += 256u) {
            for (var column = 0u; column < row; column += 1u) {
                let squared = squared_distance(row, column);
                let bits = bitcast<u32>(squared);
                // Shifts by 32 are undefined: in the first round every positive number is a candidate.
                let candidate = round == 0u || (bits >> ((shift + 8u) % 32u)) == (prefix >> ((shift + 8u) % 32u));
                if (squared > 0.0 && candidate) {
                    atomicAdd(&counts[(bits >> shift) & 255u], 1u);
                }
            }
        }
        workgroupBarrier();
        if (local == 0u) {
            if (round == 0u) {
                var total = 0u;
                for (var bin = 0u; bin < 256u; bin += 1u) {
                    total += atomicLoad(&counts[bin]);
                }
                rank = (max(total, 1u) - 1u) / 2u;
                found.y = total;
            }
            var bin = 0u;
            for (; bin < 255u; bin += 1u) {
                let count = atomicLoad(&counts[bin]);
                if (rank < count) {
                    break;
                }
                rank -= count;
            }
            found.x = prefix | (bin << shift);
        }
        workgroupBarrier();
        prefix = workgroupUniformLoad(&found).x;
    }
    if (local == 0u) {
        out[group.x] = dims.scale * select(bitcast<f32>(prefix), 1.0, found.y == 0u);
    }
}
