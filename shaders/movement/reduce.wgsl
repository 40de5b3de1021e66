// reduce.wgsl: out[o, i] = scale * sum (or max) over r of x[o, r, i]; x is (outer, n, inner).
//
// in      x (outer, n, inner) f32
// out     out (outer, inner) f32
// launch  256 / LANES outputs per workgroup, LANES invocations share one output and stride over r. Neighboring
//         invocations take neighboring outputs, so that reads run along `inner`; with inner = 1, LANES is 256 and they
//         run along r. LANES = 1 on software adapters.
// memory  1 KiB: one partial result per invocation
// cost    1 flop and 4 bytes per element of x: bound by memory
// numeric each lane sums in order of r, then a fixed tree: same bits every time. max keeps NaN.
// source  Harris 2007, "Optimizing parallel reduction in CUDA"

#import grid
#import reduce

struct Dims { outputs: u32, n: u32, inner: u32, scale: f32 }
@group(0) @binding(0) var<uniform> dims: Dims;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> out: array<f32>;

override FUNCTION: u32 = 0u; // 0 sum, 1 max, 2 sum of squares

@compute @workgroup_size(256)
fn reduce(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
          @builtin(local_invocation_index) local: u32) {
    let per_group = 256u / LANES;
    let o = linear_group(group, groups) * per_group + local % per_group;
    // Idle invocations redo the last output: barriers need all invocations.
    let at = min(o, dims.outputs - 1u);
    let start = (at / dims.inner) * dims.n * dims.inner + at % dims.inner;
    let lane = lane_of(local, per_group);
    var result = 0.0;
    if (FUNCTION == 1u) {
        result = x[start];
        for (var r = lane; r < dims.n; r += LANES) {
            result = nan_max(result, x[start + r * dims.inner]);
        }
        result = lane_max(local, per_group, result);
    } else {
        for (var r = lane; r < dims.n; r += LANES) {
            let v = x[start + r * dims.inner];
            result += select(v, v * v, FUNCTION == 2u);
        }
        result = dims.scale * lane_sum(local, per_group, result);
    }
    if (o < dims.outputs && lane == 0u) {
        out[o] = result;
    }
}
