//! Exercises on alike layers: HSIC, CKA, the gradient of CKA.

use crate::exercise::{Case, Exercise, Map, Values};
use crate::products::of_blocks;

/// A layer whose features have mean 0 over the examples.
pub(crate) fn centered(name: &'static str, shape: [usize; 2]) -> Values {
    center(Values::normal(name, shape, 0.3))
}

fn center(layer: Values) -> Values {
    let examples = layer.shape[0];
    let mean = |column| (0..examples).map(|row| layer.at(row, column)).sum::<f64>() / examples as f64;
    let values = layer.expected(|row, column| layer.at(row, column) - mean(column));
    Values { values: values.into_iter().map(|value| value as f32).collect(), ..layer }
}

/// The Gram matrix of a layer, in f64.
pub(crate) fn gram(x: &Values) -> Vec<f64> {
    let [n, features] = x.shape;
    let element = |i, j| (0..features).map(|f| x.at(i, f) * x.at(j, f)).sum();
    (0..n * n).map(|at| element(at / n, at % n)).collect()
}

fn matrix(name: &'static str, values: &[f64]) -> Values {
    let n = values.len().isqrt();
    Values::new(name, [n, n], values.iter().map(|&value| value as f32).collect())
}

fn dot(a: &Values, b: &Values) -> f64 {
    a.values.iter().zip(&b.values).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
}

/// CKA of two centered Gram matrices, 0 where one is zero.
fn cka(k: &Values, l: &Values) -> f64 {
    let length = dot(k, k).sqrt() * dot(l, l).sqrt();
    if length > 0.0 { dot(k, l) / length } else { 0.0 }
}

/// A case with one workgroup and one number as its output.
fn of_pair(about: String, k: Values, l: Values, expected: f64) -> Case {
    let (dims, output) = (vec![k.shape[0]], Values::zeros("y", [1, 1]));
    Case { about, inputs: vec![k, l], output, dims, floats: Vec::new(), groups: [1, 1, 1], expected: vec![expected] }
}

pub(crate) const HSIC: Exercise = Exercise {
    name: "hsic",
    title: "covariance of two matrices of similarity",
    hints: [
        "All n * n elements count, and both matrices lie in memory in the same order: one index serves for both.",
        "The loop is that of exercise 1, over products.",
        "own += k[at] * l[at]; and after the loop own /= scale * scale;",
    ],
    cases: || {
        [[4, 3], [20, 9], [50, 40]]
            .map(|[n, features]| {
                let k = matrix("k", &gram(&centered("x", [n, features])));
                let l = matrix("l", &gram(&Values::normal("y", [n, 5], 1.0)));
                let expected = dot(&k, &l) / ((n - 1) as f64).powi(2);
                of_pair(format!("{n} examples"), k, l, expected)
            })
            .into()
    },
    map: Map { of: "k", verb: "reads", owner: |[_, columns], [row, column]| [0, (row * columns + column) % 64] },
};

pub(crate) const CKA: Exercise = Exercise {
    name: "cka",
    title: "cosine of two centered Gram matrices",
    hints: [
        "sums.x is <k, l>, sums.y is |k|² and sums.z is |l|². A cosine divides by both lengths.",
        "sqrt(sums.y) * sqrt(sums.z), and not sqrt(sums.y * sums.z): the largest f32 is 3e38.",
        "Divide only where that product is above 0: 0 / 0 is not a number.",
    ],
    cases: || {
        let k = |n| matrix("k", &gram(&centered("x", [n, 6])));
        let l = |n| matrix("l", &gram(&centered("z", [n, 11])));
        let scaled = |of: Values, by: f32| Values { values: of.values.iter().map(|v| by * v).collect(), ..of };
        let pairs = [
            ("5 examples", k(5), l(5)),
            ("40 examples", k(40), l(40)),
            ("the same layer twice, once five times as large", k(12), scaled(Values { name: "l", ..k(12) }, 25.0)),
            ("a layer that is constant", scaled(k(6), 0.0), l(6)),
            ("large numbers", scaled(k(20), 1e12), scaled(l(20), 1e12)),
        ];
        let case = |(about, k, l): (&str, Values, Values)| {
            let expected = cka(&k, &l);
            of_pair(about.to_string(), k, l, expected)
        };
        pairs.map(case).into()
    },
    map: Map { of: "k", verb: "reads", owner: |[_, columns], [row, column]| [0, (row * columns + column) % 64] },
};

/// The gradient of CKA with respect to a centered layer, in f64.
fn gradient(x: &Values, k: &Values, l: &Values) -> Vec<f64> {
    let (kl, kk, ll) = (dot(k, l), dot(k, k), dot(l, l));
    let length = kk.sqrt() * ll.sqrt();
    let m = |i, j| l.at(i, j) / length - kl / length * k.at(i, j) / kk;
    x.expected(|i, f| 2.0 * (0..x.shape[0]).map(|j| m(i, j) * x.at(j, f)).sum::<f64>())
}

pub(crate) const CKA_GRADIENT: Exercise = Exercise {
    name: "cka_gradient",
    title: "the direction in which a layer becomes more alike",
    hints: [
        "CKA is <k, l> / (|k| |l|). Its derivative by k_ij has two parts, as k is above and below the line.",
        "Above: l_ij / (|k| |l|). Below: -CKA * k_ij / |k|², where |k|² is sums[1].",
        "let c = sums[0] / (length_k * length_l); m = l[at] / (length_k * length_l) - c * k[at] / sums[1];",
    ],
    cases: || {
        [[4, 3], [9, 12], [30, 21]]
            .map(|shape| {
                let [n, features] = shape;
                let x = centered("x", shape);
                let (k, l) = (matrix("k", &gram(&x)), matrix("l", &gram(&centered("z", [n, 7]))));
                let sums = [dot(&k, &l), dot(&k, &k), dot(&l, &l)].map(|sum| sum as f32);
                let expected = gradient(&x, &k, &l);
                Case {
                    about: format!("{n} examples, {features} features"),
                    inputs: vec![x, k, l, Values::new("sums", [1, 3], sums.into())],
                    output: Values::zeros("dx", shape),
                    dims: shape.into(),
                    floats: Vec::new(),
                    groups: [features.div_ceil(8), n.div_ceil(8), 1],
                    expected,
                }
            })
            .into()
    },
    map: Map { of: "dx", verb: "owns", owner: of_blocks },
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reference_of_the_gradient_agrees_with_differences() {
        let x = centered("x", [7, 4]);
        let grams = |x: &Values| (matrix("k", &gram(x)), matrix("l", &gram(&centered("z", [7, 5]))));
        let (k, l) = grams(&x);
        let rule = gradient(&x, &k, &l);
        for (at, rule) in rule.iter().enumerate() {
            let moved = |by: f32| {
                let mut x = x.clone();
                x.values[at] += by;
                let (k, l) = grams(&center(x));
                cka(&k, &l)
            };
            let difference = (moved(1e-2) - moved(-1e-2)) / 2e-2;
            assert!((difference - rule).abs() < 2e-4, "{at}: {difference} {rule}");
        }
    }
}
