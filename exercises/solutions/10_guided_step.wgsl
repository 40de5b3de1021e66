// 10. guided_step: one step of guidance on the weights of a layer y = x wᵀ, for the loss  task + α · (1 − CKA).
//
// in      x (n, inputs) f32, the layer's input
//         task (n, outputs) f32, d task / d y; alike (n, outputs) f32, d CKA / d y, of exercise 8
// out     w (outputs, inputs) f32, changed in place: w ← w − rate · d loss / d w
// launch  ceil(inputs / 8) x ceil(outputs / 8) workgroups of 8 x 8
// map     invocation (i, o) owns the weight w_oi, and adds over the examples:  d loss / d w_oi = Σ_n dy_no x_ni
// memory  none
// cost    about 4 n · inputs · outputs flop
// numeric in place is safe here: no other invocation reads this weight

struct Dims { n: u32, inputs: u32, outputs: u32, rate: f32, alpha: f32 }
@group(0) @binding(0) var<uniform> dims: Dims;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> task: array<f32>;
@group(0) @binding(3) var<storage, read> alike: array<f32>;
@group(0) @binding(4) var<storage, read_write> w: array<f32>;

@compute @workgroup_size(8, 8)
fn guided_step(@builtin(global_invocation_id) id: vec3u) {
    let o = id.y;
    let i = id.x;
    if (o >= dims.outputs || i >= dims.inputs) {
        return;
    }
    var gradient = 0.0;
    for (var n = 0u; n < dims.n; n++) {
        let at = n * dims.outputs + o;
        // HOLE: add this example's part of d loss / d w_oi to `gradient`. The loss falls where CKA rises.
        let dy = task[at] - dims.alpha * alike[at];
        gradient += dy * x[n * dims.inputs + i];
        // END
    }
    w[o * dims.inputs + i] -= dims.rate * gradient;
}
