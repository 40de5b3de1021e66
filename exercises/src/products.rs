//! Exercises on products: tiles, Gram matrices, a step of guidance.

use crate::exercise::{Case, Exercise, Map, Values};

/// Invocation and workgroup of an element where workgroups are 8 × 8 and cover the matrix row by row.
pub(crate) fn of_blocks([_, columns]: [usize; 2], [row, column]: [usize; 2]) -> [usize; 2] {
    [row / 8 * columns.div_ceil(8) + column / 8, row % 8 * 8 + column % 8]
}

pub(crate) const TILED: Exercise = Exercise {
    name: "tiled",
    title: "multiply matrices through tiles in workgroup memory",
    hints: [
        "Four parts: two guarded loads, a barrier, a loop of eight, a barrier. The zeros are there already.",
        "tile_a[at.y][at.x] gets a[row * dims.k + along_a], if row < dims.m and along_a < dims.k.",
        "sum += tile_a[at.y][i] * tile_b[i][at.x], with workgroupBarrier() before the loop and after it.",
    ],
    cases: || {
        [[3, 5, 4], [8, 8, 8], [20, 13, 37]]
            .map(|[m, n, k]| {
                let (a, b) = (Values::normal("a", [m, k], 0.0), Values::normal("b", [k, n], 0.0));
                let output = Values::zeros("c", [m, n]);
                let expected = output.expected(|row, column| (0..k).map(|i| a.at(row, i) * b.at(i, column)).sum());
                let about = format!("a is {m} x {k}, b {k} x {n}");
                let groups = [n.div_ceil(8), m.div_ceil(8), 1];
                Case { about, inputs: vec![a, b], output, dims: vec![m, n, k], floats: Vec::new(), groups, expected }
            })
            .into()
    },
    map: Map { of: "c", verb: "owns", owner: of_blocks },
};

pub(crate) const GRAM: Exercise = Exercise {
    name: "gram",
    title: "dot products between all examples of a layer",
    hints: [
        "Rows i and j of x begin at i * dims.features and j * dims.features.",
        "One loop over the features adds up x[row i] * x[row j]. Then two writes, as k is symmetric.",
        "k[i * dims.examples + j] = sum; and the same with i and j exchanged.",
    ],
    cases: || {
        [[4, 3], [9, 20], [26, 50]]
            .map(|[examples, features]| {
                let x = crate::alignment::centered("x", [examples, features]);
                let output = Values::zeros("k", [examples, examples]);
                let expected = crate::alignment::gram(&x);
                let (groups, about) = (examples.div_ceil(8), format!("{examples} examples, {features} features"));
                let dims = vec![examples, features];
                Case { about, inputs: vec![x], output, dims, floats: Vec::new(), groups: [groups, groups, 1], expected }
            })
            .into()
    },
    map: Map {
        of: "k",
        verb: "owns",
        owner: |shape, [row, column]| of_blocks(shape, [row.min(column), row.max(column)]),
    },
};

pub(crate) const GUIDED_STEP: Exercise = Exercise {
    name: "guided_step",
    title: "a step of a layer's weights, pulled by a guide",
    hints: [
        "The loss is task + alpha * (1 - CKA). Its derivative with respect to y is made of those of task and of CKA: by which factors?",
        "dy = task[at] - dims.alpha * alike[at]. With a plus, the guide would push the layer away.",
        "gradient += dy * x[n * dims.inputs + i];",
    ],
    cases: || {
        [([4, 3, 2], 1.0), ([16, 9, 20], 0.5), ([30, 17, 10], 0.0)]
            .map(|([n, inputs, outputs], alpha)| {
                let (x, task) = (Values::normal("x", [n, inputs], 0.0), Values::normal("task", [n, outputs], 0.0));
                let (alike, output) =
                    (Values::normal("alike", [n, outputs], 0.0), Values::normal("w", [outputs, inputs], 0.0));
                let (rate, alpha) = (0.1_f32, alpha);
                let expected = output.expected(|o, i| {
                    let dy = |n| task.at(n, o) - f64::from(alpha) * alike.at(n, o);
                    let gradient: f64 = (0..n).map(|n| dy(n) * x.at(n, i)).sum();
                    output.at(o, i) - f64::from(rate) * gradient
                });
                Case {
                    about: format!("{n} examples, {inputs} inputs, {outputs} outputs, alpha {alpha}"),
                    inputs: vec![x, task, alike],
                    output,
                    dims: vec![n, inputs, outputs],
                    floats: vec![rate, alpha],
                    groups: [inputs.div_ceil(8), outputs.div_ceil(8), 1],
                    expected,
                }
            })
            .into()
    },
    map: Map { of: "w", verb: "owns", owner: of_blocks },
};
