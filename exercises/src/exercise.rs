//! An exercise: a kernel with a hole, cases with their answers in f64, hints, and the map from invocations to data.

use std::path::PathBuf;

use trellis_rng::Rng;

/// One exercise.
pub(crate) struct Exercise {
    /// Entry point of the kernel, and name of its file behind the number.
    pub(crate) name: &'static str,
    /// The task in a line.
    pub(crate) title: &'static str,
    /// From a nudge to nearly the answer.
    pub(crate) hints: [&'static str; 3],
    /// Cases, the smallest first.
    pub(crate) cases: fn() -> Vec<Case>,
    /// Map from invocations to data.
    pub(crate) map: Map,
}

/// The map from invocations to the elements of one tensor.
pub(crate) struct Map {
    /// Name of that tensor among those of a case.
    pub(crate) of: &'static str,
    /// Meaning of an entry: "reads", "owns".
    pub(crate) verb: &'static str,
    /// Workgroup, and invocation within it, of the element at row and column. Given the shape.
    pub(crate) owner: fn([usize; 2], [usize; 2]) -> [usize; 2],
}

/// Named values of a shape `[rows, columns]`.
#[derive(Clone)]
pub(crate) struct Values {
    pub(crate) name: &'static str,
    pub(crate) shape: [usize; 2],
    pub(crate) values: Vec<f32>,
}

/// Inputs of a kernel, how it is launched, and the right answer.
pub(crate) struct Case {
    /// A few words: sizes, and what is special.
    pub(crate) about: String,
    /// Tensors bound to 1, 2, …
    pub(crate) inputs: Vec<Values>,
    /// Tensor bound last, as it is before.
    pub(crate) output: Values,
    /// Words of the uniform: sizes, then numbers.
    pub(crate) dims: Vec<usize>,
    pub(crate) floats: Vec<f32>,
    /// Workgroups.
    pub(crate) groups: [usize; 3],
    /// Output afterwards, in f64.
    pub(crate) expected: Vec<f64>,
}

/// Folder of the kernels with a hole, for the learner to fill. The others are in `solutions`.
pub(crate) const KERNELS: &str = "kernels";

impl Exercise {
    /// Path of exercise `number`, counted from 1, in a folder of kernels.
    pub(crate) fn path(&self, number: usize, folder: &str) -> PathBuf {
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(folder).join(format!("{number:02}_{}.wgsl", self.name))
    }
}

impl Values {
    /// Given values.
    pub(crate) fn new(name: &'static str, shape: [usize; 2], values: Vec<f32>) -> Self {
        assert_eq!(shape[0] * shape[1], values.len(), "{name}");
        Self { name, shape, values }
    }

    /// Standard normal values around `mean`.
    pub(crate) fn normal(name: &'static str, shape: [usize; 2], mean: f32) -> Self {
        let mut rng = Rng::new(17, (shape[0] * 1000 + shape[1]) as u64 + u64::from(name.as_bytes()[0]) * 1_000_000);
        Self { name, shape, values: (0..shape[0] * shape[1]).map(|_| mean + rng.normal()).collect() }
    }

    /// Zeros, for an output.
    pub(crate) fn zeros(name: &'static str, shape: [usize; 2]) -> Self {
        Self { name, shape, values: vec![0.0; shape[0] * shape[1]] }
    }

    /// The element at row and column, in f64.
    pub(crate) fn at(&self, row: usize, column: usize) -> f64 {
        f64::from(self.values[row * self.shape[1] + column])
    }

    /// Each element as `of` its row and column.
    pub(crate) fn expected(&self, of: impl Fn(usize, usize) -> f64) -> Vec<f64> {
        let [rows, columns] = self.shape;
        (0..rows * columns).map(|at| of(at / columns, at % columns)).collect()
    }
}
