//! Exercises on rows and columns: sum, sums of rows, centering, softmax.

use crate::exercise::{Case, Exercise, Map, Values};

pub(crate) const SUM: Exercise = Exercise {
    name: "sum",
    title: "add up numbers by 64 lanes and a tree",
    hints: [
        "`half` is 32 at first: lanes 0 to 31 each have one partner. Which lanes have nothing to do?",
        "The partner of a lane is the lane `half` above it, and its number lies in `lanes` too.",
        "if (lane < half) { lanes[lane] += …; }",
    ],
    cases: || {
        [5, 64, 1000]
            .map(|n| {
                let x = Values::normal("x", [1, n], 0.5);
                let sum = (0..n).map(|i| x.at(0, i)).sum();
                case(format!("n = {n}"), x, Values::zeros("y", [1, 1]), vec![n], 1, vec![sum])
            })
            .into()
    },
    map: Map { of: "x", verb: "reads", owner: |_, [_, column]| [0, column % 64] },
};

pub(crate) const ROW_SUM: Exercise = Exercise {
    name: "row_sum",
    title: "add up each row of a matrix, a workgroup for each",
    hints: [
        "It is the first loop of exercise 1, but within a row.",
        "Row group.x begins at element group.x * dims.columns.",
        "for (var column = lane; column < dims.columns; column += 64u) { own += x[…]; }",
    ],
    cases: || {
        [[3, 7], [5, 64], [4, 200]]
            .map(|shape| {
                let [rows, columns] = shape;
                let (x, y) = (Values::normal("x", shape, 0.5), Values::zeros("y", [rows, 1]));
                let sums = y.expected(|row, _| (0..columns).map(|column| x.at(row, column)).sum());
                case(format!("{rows} rows, {columns} columns"), x, y, vec![rows, columns], rows, sums)
            })
            .into()
    },
    map: Map { of: "x", verb: "reads", owner: |_, [row, column]| [row, column % 64] },
};

pub(crate) const CENTER: Exercise = Exercise {
    name: "center",
    title: "take the mean of each feature away",
    hints: [
        "The mean is the sum that is there, divided by the number of examples.",
        "`f32(dims.examples)` is that number as a float. Then one more loop over the examples.",
        "y[i * dims.features + feature] = x[i * dims.features + feature] - mean;",
    ],
    cases: || {
        [([4, 6], 0.0), ([9, 70], 0.0), ([33, 130], 100.0)]
            .map(|(shape, mean)| {
                let [examples, features] = shape;
                let (x, y) = (Values::normal("x", shape, mean), Values::zeros("y", shape));
                let of = |column| (0..examples).map(|row| x.at(row, column)).sum::<f64>() / examples as f64;
                let expected = y.expected(|row, column| x.at(row, column) - of(column));
                let about = format!("{examples} examples, {features} features around {mean}");
                case(about, x, y, vec![examples, features], features.div_ceil(64), expected)
            })
            .into()
    },
    map: Map { of: "y", verb: "owns", owner: |_, [_, column]| [column / 64, column % 64] },
};

pub(crate) const SOFTMAX: Exercise = Exercise {
    name: "softmax",
    title: "probabilities from logits of any size",
    hints: [
        "exp(1000) is infinite, and infinite / infinite is not a number. exp(0) is 1.",
        "Subtract the greatest logit of the row: then the greatest exponential is 1, and the sum at least 1.",
        "Begin with x[first], then shift = max(shift, …) over the other columns.",
    ],
    cases: || {
        [([3, 5], 0.0), ([70, 10], 0.0), ([5, 8], 1000.0), ([5, 8], -1000.0)]
            .map(|(shape, mean)| {
                let (x, y) = (Values::normal("x", shape, mean), Values::zeros("y", shape));
                let expected = y.expected(|row, column| {
                    let others = (0..shape[1]).map(|other| (x.at(row, other) - x.at(row, column)).exp());
                    1.0 / others.sum::<f64>()
                });
                let about = format!("{} rows of {} logits around {mean}", shape[0], shape[1]);
                case(about, x, y, shape.into(), shape[0].div_ceil(64), expected)
            })
            .into()
    },
    map: Map { of: "y", verb: "owns", owner: |_, [row, _]| [row / 64, row % 64] },
};

fn case(about: String, x: Values, output: Values, dims: Vec<usize>, groups: usize, expected: Vec<f64>) -> Case {
    Case { about, inputs: vec![x], output, dims, floats: Vec::new(), groups: [groups, 1, 1], expected }
}
