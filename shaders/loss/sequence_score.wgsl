// sequence_score.wgsl: per sequence the hits at labeled positions, the labeled positions, and 1 if all are hits.
//
// in      hits   (batch, time) f32   1 right, 0 wrong
//         labels (batch, time) u32   a label of `classes` or more is none
// out     score (batch, 3) f32
// launch  one invocation per sequence; workgroups of 256
// memory  none
// cost    8 bytes per position: bound by memory
// numeric counts, exact up to 2^24
// source  definition

#import grid

struct Dims { batch: u32, time: u32, classes: u32 }
@group(0) @binding(0) var<uniform> dims: Dims;
@group(0) @binding(1) var<storage, read> hits: array<f32>;
@group(0) @binding(2) var<storage, read> labels: array<u32>;
@group(0) @binding(3) var<storage, read_write> score: array<f32>;

@compute @workgroup_size(256)
fn sequence_score(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
                  @builtin(local_invocation_index) local: u32) {
    let row = linear_index(group, groups, local);
    if (row >= dims.batch) {
        return;
    }
    var right = 0.0;
    var labeled = 0.0;
    for (var t = 0u; t < dims.time; t += 1u) {
        if (labels[row * dims.time + t] < dims.classes) {
            right += hits[row * dims.time + t];
            labeled += 1.0;
        }
    }
    score[3u * row] = right;
    score[3u * row + 1u] = labeled;
    score[3u * row + 2u] = select(0.0, 1.0, labeled > 0.0 && right == labeled);
}
