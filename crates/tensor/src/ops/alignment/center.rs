//! Mean-centering of activations over the batch.

use crate::device::caps::Caps;
use crate::error::Result;
use crate::graph::Var;
use crate::graph::facts::Facts;
use crate::graph::op::{Arg, Dispatch, Lowered, Op, TestCase, awkward_size};
use crate::kernel;
use crate::shape::{DType, TensorType};
use trellis_rng::Rng;

/// `Xc = X − 1 meanᵀ`: activations `[n, p]` with every column centered. A constant column gives 0: residues of rounding are set
/// to 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Center;

/// Rows and columns of f32 activations, if the type fits.
pub(crate) fn activations(x: &TensorType) -> Result<[usize; 2], String> {
    activations_of(&[DType::F32], x)
}

/// Rows and columns of activations of one of these types, if the type fits.
pub(crate) fn activations_of(types: &[DType], x: &TensorType) -> Result<[usize; 2], String> {
    match x.shape[..] {
        [n, p] if n > 0 && p > 0 && types.contains(&x.dtype) => Ok([n, p]),
        _ => {
            let names: Vec<String> = types.iter().map(|dtype| format!("{dtype}[batch, features]")).collect();
            Err(format!("takes activations {}, not {x}", names.join(" or ")))
        }
    }
}

/// Greatest number of layers that one dispatch centers: WebGPU grants eight storage bindings at least.
pub(crate) const CENTERED_TOGETHER: usize = 7;

/// Invocations of a workgroup, and the number of them that share a column of `n` rows. `columns` counts columns, or vectors of
/// four. If they are few, more invocations share each, down to 8 columns a workgroup, so that a GPU's multiprocessors are busy.
/// On a software adapter they are shared only if the loop over rows would be too long.
fn workgroup(caps: &Caps, n: usize, columns: usize) -> (usize, usize) {
    if caps.software {
        return (32, 32.min(n.div_ceil(16_384).next_power_of_two()));
    }
    (256, [8, 16].into_iter().find(|lanes| columns * lanes >= 256 * 132).unwrap_or(32))
}

/// Centers input number `input`, `[n, p]`, into the output from element `start` on.
pub(crate) fn center_one(caps: &Caps, [n, p]: [usize; 2], input: usize, start: usize) -> Dispatch {
    let vec4 = p.is_multiple_of(4) && start.is_multiple_of(4);
    let unit = if vec4 { 4 } else { 1 };
    let (size, lanes) = workgroup(caps, n, p / unit);
    let groups = Dispatch::per_group(kernel!("alignment/center"), (p / unit).div_ceil(size / lanes)).flag("ONE", true);
    sized(groups.flag("VEC4", vec4), (size, lanes), n, &[[p / unit, start / unit]])
        .args(sources(&[input]))
        .flops(3 * n * p)
}

/// Centers up to seven inputs `[n, p]`, given as input number, p and start, p and start being multiples of 4.
pub(crate) fn center_several(caps: &Caps, n: usize, layers: &[[usize; 3]]) -> Dispatch {
    let fours: Vec<[usize; 2]> = layers.iter().map(|[_, p, start]| [p / 4, start / 4]).collect();
    let widest = fours.iter().map(|[p, _]| *p).max().unwrap_or(0);
    let (size, lanes) = workgroup(caps, n, widest * layers.len());
    let groups = Dispatch::grid(kernel!("alignment/center"), [widest.div_ceil(size / lanes), layers.len(), 1]);
    let inputs: Vec<usize> = layers.iter().map(|[input, ..]| *input).collect();
    sized(groups.flag("VEC4", true), (size, lanes), n, &fours)
        .args(sources(&inputs))
        .flops(3 * n * layers.iter().map(|[_, p, _]| p).sum::<usize>())
}

fn sized(dispatch: Dispatch, (size, lanes): (usize, usize), n: usize, layers: &[[usize; 2]]) -> Dispatch {
    let unused = vec![0; 2 * (CENTERED_TOGETHER + 1 - layers.len())];
    let dispatch = dispatch.constant("SIZE", size as u32).constant("LANES", lanes as u32);
    dispatch.iterations(2 * n.div_ceil(lanes)).dims(&[n, 0, 0, 0]).dims(layers.as_flattened()).dims(&unused)
}

fn sources(inputs: &[usize]) -> impl Iterator<Item = Arg> {
    let source = |i: usize| inputs.get(i).map_or(Arg::Unused, |&input| Arg::Input(input));
    (0..CENTERED_TOGETHER).map(source).chain([Arg::Output])
}

impl Op for Center {
    fn name(&self) -> &'static str {
        "center"
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<TensorType, String> {
        let [x] = inputs else { return Err("takes activations".to_string()) };
        activations(x).map(TensorType::f32)
    }

    fn backward<'g>(&self, _: &[Var<'g>], _: Var<'g>, dy: Var<'g>) -> Result<Vec<Option<Var<'g>>>> {
        Ok(vec![Some(dy.without_mean()?)])
    }

    fn facts(&self, _: &[Facts]) -> Facts {
        Facts { columns_sum_to_zero: true, ..Facts::default() }
    }

    fn lower(&self, caps: &Caps, inputs: &[&TensorType], _: &TensorType) -> Lowered {
        let [n, p] = [inputs[0].shape[0], inputs[0].shape[1]];
        center_one(caps, [n, p], 0, 0).into()
    }

    fn reference(&self, inputs: &mut [Vec<f64>], types: &[&TensorType], _: &TensorType) -> Vec<f64> {
        let [n, p] = [types[0].shape[0], types[0].shape[1]];
        let x = &inputs[0];
        let mean: Vec<f64> = (0..p).map(|j| (0..n).map(|i| x[i * p + j]).sum::<f64>() / n as f64).collect();
        x.iter().enumerate().map(|(at, v)| v - mean[at % p]).collect()
    }

    fn sample(rng: &mut Rng) -> TestCase {
        let shape = [awkward_size(rng, 70), awkward_size(rng, 300)];
        let offset = [0.0, 3.0][rng.below(2)];
        TestCase::new(|x| x[0].center()).values(shape, || f64::from(rng.normal()) + offset)
    }
}

impl<'g> Var<'g> {
    /// Mean-centered activations: `[n, …]` to `[n, features]`, with the mean over the batch subtracted from each feature. A
    /// feature that is the same for every example gives exactly 0.
    ///
    /// # Errors
    /// [`Error::Shape`](crate::Error::Shape) without a batch axis.
    pub fn center(self) -> Result<Var<'g>> {
        self.graph().push(Center, &[self.flatten()?])
    }
}
