//! The checker: runs a kernel on every case and compares with f64.

use trellis_tensor::{Dispatch, Gpu, GpuOptions, Kernel, Plan, Result, Tensor};

use crate::exercise::{Case, Exercise};
use crate::map::{draw_wrong, name};

/// Greatest difference that rounding explains, relative to the greatest element that is expected.
const TOLERANCE: f64 = 2e-5;

/// Outcome of a check.
pub(crate) enum Outcome {
    /// Right in so many cases.
    Right(usize),
    /// A description of the first difference, with a picture.
    Wrong(String),
    /// The kernel does not compile or run: the message of the compiler.
    Refused(String),
}

/// A device that checks bounds: a kernel with a mistake then reads zeros and writes nothing, and does not harm others.
///
/// # Errors
/// If there is no adapter.
pub(crate) fn open() -> Result<Gpu> {
    Gpu::with(&GpuOptions { checked_shaders: true, ..GpuOptions::from_env()? })
}

/// Runs the kernel `source` on the cases of `exercise`, up to the first that it gets wrong.
pub(crate) fn check(gpu: &Gpu, exercise: &Exercise, source: &'static str) -> Outcome {
    let cases = (exercise.cases)();
    for (number, case) in (1..).zip(&cases) {
        match run(gpu, exercise, source, case) {
            Err(error) => return Outcome::Refused(error.to_string()),
            Ok(found) => {
                if let Some(difference) = difference(exercise, case, &found) {
                    let head = format!("case {number} of {}: {}\n", cases.len(), case.about);
                    return Outcome::Wrong(head + &difference);
                }
            }
        }
    }
    Outcome::Right(cases.len())
}

fn run(gpu: &Gpu, exercise: &Exercise, source: &'static str, case: &Case) -> Result<Vec<f32>> {
    let tensors = case.inputs.iter().chain([&case.output]);
    let tensors = tensors.map(|values| Tensor::from_f32(gpu, values.name, values.shape, &values.values));
    let tensors = tensors.collect::<Result<Vec<_>>>()?;
    let kernel = Kernel { name: exercise.name, source };
    let dispatch = Dispatch::grid(kernel, case.groups).dims(&case.dims).floats(&case.floats);
    Plan::of_dispatches(gpu, &[(dispatch, &tensors.iter().collect::<Vec<_>>())])?.run(1)?;
    tensors[tensors.len() - 1].read_f32()
}

/// Description of the differences; `None` without one.
fn difference(exercise: &Exercise, case: &Case, found: &[f32]) -> Option<String> {
    let greatest = case.expected.iter().fold(0.0, |most: f64, value| most.max(value.abs()));
    let allowed = TOLERANCE * greatest.max(1e-6);
    // Not a number is no difference below anything.
    let right = |(found, expected): (&f32, &f64)| (f64::from(*found) - expected).abs() <= allowed;
    let wrong: Vec<bool> = found.iter().zip(&case.expected).map(|pair| !right(pair)).collect();
    let first = wrong.iter().position(|wrong| *wrong)?;
    let (output, count) = (&case.output, wrong.iter().filter(|wrong| **wrong).count());
    let [row, column] = [first / output.shape[1], first % output.shape[1]];
    let mut text = format!(
        "{count} of {} elements are wrong. The first is {}[{row}, {column}]: expected {}, got {}\n",
        found.len(),
        output.name,
        case.expected[first] as f32,
        found[first]
    );
    if exercise.map.of == output.name {
        let owner = name((exercise.map.owner)(output.shape, [row, column]));
        text += &format!("Invocation {owner} writes it (see --map).\n");
    }
    if found[first].is_nan() {
        text += "NaN: workgroup memory may have been read before it was written. Is there a barrier?\n";
    }
    Some(text + &draw_wrong(output, &wrong))
}
