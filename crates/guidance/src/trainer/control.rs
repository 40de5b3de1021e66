//! Controls: what the guide sees, or what stands in its place, to find out what its effect is.
//!
//! A guide may help because of what it knows of each example, because of the shape of its Gram matrices, or because any geometry of the
//! inputs would do. Each control keeps some of these and takes the others away (docs/alignment.md, "Controls").

use serde::{Deserialize, Serialize};
use trellis_data::Place;
use trellis_rng::Rng;
use trellis_tensor::{Gpu, Graph, Layout, StepState, Tensor, Var};

use super::guidance::Guidance;
use crate::alignment::GuideSide;
use crate::data::Batch;
use crate::error::{Error, Result};
use crate::network::{Input, Output};

/// Control: what the guide of an arm sees, or what stands in its place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Control {
    /// The guide's layers on the batch: no control.
    #[default]
    None,
    /// The guide's layers with the rows of another example: the same spectrum, no correspondence of examples.
    Permuted,
    /// The guide's layers on noise in place of the batch: of images standard normal, of tokens uniform.
    Noise,
    /// Random Gram matrices `Q K Qᵀ` with the spectrum of the guide's, centered like them.
    Rotated,
    /// The input of the batch: pixels, or one-hot tokens.
    Input,
    /// The one-hot labels of the batch.
    Labels,
}

impl Control {
    /// The control in words, to stand behind the name of a guide.
    pub fn describe(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Permuted => " with permuted rows",
            Self::Noise => " on noise",
            Self::Rotated => " with rotated Gram matrices",
            Self::Input => "'s place: the input",
            Self::Labels => "'s place: the labels",
        }
    }
}

/// Examples of noise, for each of a batch.
const NOISE: usize = 8;
/// Largest number of rows of a table of one-hot vectors.
const MOST_CLASSES: usize = 8192;
/// Streams of [`Rng`].
const NOISE_STREAM: u64 = 0x6e6f_6973_6500;
const ROTATION_STREAM: u64 = 0x726f_7461_7465;

/// Source of noise that is another one at each step: the step state and a seed.
pub type Draws<'a> = Option<(&'a StepState, u64)>;

/// Records the guide side of each pair on a batch, as the control of `guidance` has it.
///
/// # Errors
/// As [`Guide::forward`](crate::Guide::forward); [`Error::Config`] for noise without `draws`, and for one-hot vectors of too many
/// classes.
pub fn guide_sides<'g>(
    graph: &'g Graph,
    gpu: &Gpu,
    batch: &Batch<'g>,
    output: Output,
    guidance: &Guidance,
    pairs: &[(usize, usize)],
    draws: Draws<'_>,
) -> Result<Vec<GuideSide<'g>>> {
    let n = batch.input.batch();
    let layers = || -> Result<Vec<Var<'g>>> {
        let (input, order) = seen_by_guide(graph, gpu, batch, guidance, draws)?;
        let numbers = pairs.iter().map(|&(guide, _)| guide);
        let layers =
            guidance.guide.layers_on(graph, (batch, draws.map(|(now, _)| now)), input, guidance.capture, numbers)?;
        layers.into_iter().map(|layer| reordered(layer, order)).collect()
    };
    // One Gram matrix for all pairs.
    let all = |same: Var<'g>| Ok::<_, Error>(vec![GuideSide::Gram(guidance.align.gram(same)?); pairs.len()]);
    Ok(match guidance.control {
        Control::None | Control::Permuted | Control::Noise => {
            let side = |(layer, &(guide, _)): (Var<'g>, &(usize, usize))| match guidance.guide.is_gram(guide) {
                true => GuideSide::Gram(layer),
                false => GuideSide::Activations(layer),
            };
            layers()?.into_iter().zip(pairs).map(side).collect()
        }
        Control::Rotated => {
            if !guidance.align.is_doubly_centered() {
                let problem =
                    format!("the Gram matrices of {} do not stay what they are under a rotation", guidance.align);
                let hint = "compare by `cka`, `rbf_cka` or `ridge`, or choose another control";
                return Err(Error::config(Place::setting("arm"), "control", problem, hint));
            }
            let rotation = graph.leaf(&Tensor::from_f32(gpu, "rotation of Gram matrices", [n, n], &rotation(n))?);
            let rotated = |layer: Var<'g>| {
                let gram = guidance.align.gram(layer)?;
                if gram.shape().rank() != 2 {
                    let problem = "cannot be rotated: each layer has a Gram matrix for each time step";
                    return Err(Error::config(
                        Place::setting("arm"),
                        "control",
                        problem,
                        "compare flattened sequences",
                    ));
                }
                let turned = rotation.matmul(gram, Layout::NN)?.matmul(rotation, Layout::NT)?;
                Ok(GuideSide::Gram(turned))
            };
            layers()?.into_iter().map(rotated).collect::<Result<_>>()?
        }
        Control::Input => all(match batch.input {
            Input::Images(images) => images,
            Input::Tokens(ids, shape) => one_hot(graph, gpu, ids, shape.vocabulary)?,
        })?,
        Control::Labels => all(one_hot(graph, gpu, batch.labels, output.classes)?)?,
    })
}

/// Input of the guide for a batch, and an order of its rows to be taken in, if the control of `guidance` runs the guide.
///
/// # Errors
/// [`Error::Config`] for noise without `draws`.
pub(super) fn seen_by_guide<'g>(
    graph: &'g Graph,
    gpu: &Gpu,
    batch: &Batch<'g>,
    guidance: &Guidance,
    draws: Draws<'_>,
) -> Result<(Input<'g>, Option<Var<'g>>)> {
    Ok(match guidance.control {
        Control::Permuted => {
            // Batches are drawn at random: the next example is as good as any other.
            let n = batch.input.batch();
            let next: Vec<u32> = (0..n as u32).map(|row| (row + 1) % n as u32).collect();
            let next = Tensor::from_u32(gpu, "permutation of the guide's rows", [n], &next)?;
            (batch.input, Some(graph.leaf(&next)))
        }
        Control::Noise => (noise(graph, gpu, batch.input, draws)?, None),
        Control::None | Control::Rotated | Control::Input | Control::Labels => (batch.input, None),
    })
}

/// A layer with its rows in another order.
pub(super) fn reordered<'g>(layer: Var<'g>, order: Option<Var<'g>>) -> Result<Var<'g>> {
    order.map_or(Ok(layer), |order| Ok(layer.gather(order)?))
}

/// One-hot vectors of ids `u32[n]` or `u32[n, time]` as f32 `[n, classes]` or `[n, time, classes]`; zeros for labels that are ignored.
fn one_hot<'g>(graph: &'g Graph, gpu: &Gpu, ids: Var<'g>, classes: usize) -> Result<Var<'g>> {
    if classes > MOST_CLASSES {
        let problem = format!("one-hot vectors of {classes} classes are too long: at most {MOST_CLASSES}");
        return Err(Error::config(Place::setting("arm"), "control", problem, "choose another control"));
    }
    let mut identity = vec![0.0; classes * classes];
    identity.iter_mut().step_by(classes + 1).for_each(|value| *value = 1.0);
    let identity = graph.leaf(&Tensor::from_f32(gpu, "one-hot vectors", [classes, classes], &identity)?);
    Ok(identity.gather(ids)?)
}

/// Noise like a batch, another one at each step.
fn noise<'g>(graph: &'g Graph, gpu: &Gpu, like: Input<'g>, draws: Draws<'_>) -> Result<Input<'g>> {
    let Some((step_state, seed)) = draws else {
        let problem = "is another one at each step, and fixed batches look the guide up";
        return Err(Error::config(
            Place::setting("arm"),
            "control",
            format!("noise {problem}"),
            "batches = \"random\"",
        ));
    };
    let mut rng = Rng::new(seed, NOISE_STREAM);
    let (Input::Images(values) | Input::Tokens(values, _)) = like;
    let (shape, step) = (values.shape(), graph.leaf(step_state.tensor()));
    let sample = |count: usize| step.sample_batch(NOISE * count, count, seed ^ NOISE_STREAM);
    Ok(match like {
        Input::Images(images) => {
            let stored = [&[NOISE * shape[0]], &shape[1..]].concat();
            let noise: Vec<f32> = (0..NOISE * images.ty().elements()).map(|_| rng.normal()).collect();
            graph.leaf(&Tensor::from_f32(gpu, "noise for the guide", stored, &noise)?).gather(sample(shape[0])?)?.into()
        }
        Input::Tokens(ids, tokens) => {
            let count = ids.ty().elements();
            let noise: Vec<u32> = (0..NOISE * count).map(|_| rng.below(tokens.vocabulary) as u32).collect();
            let noise = graph.leaf(&Tensor::from_u32(gpu, "noise for the guide", [NOISE * count], &noise)?);
            Input::Tokens(noise.gather_labels(sample(count)?)?.reshape(&shape[..])?, tokens)
        }
    })
}

/// A random orthogonal matrix `[n, n]` that leaves the vector of ones as it is, so that what is centered stays centered: `U Vᵀ` of two
/// random bases whose first vector is that of ones. Cost: 10 n³ FLOPs on the CPU: 4 n³ for each
/// basis, 2 n³ for their product.
fn rotation(n: usize) -> Vec<f32> {
    let mut rng = Rng::new(n as u64, ROTATION_STREAM);
    let [u, v] = [basis(n, &mut rng), basis(n, &mut rng)];
    let entry = |row: usize, column: usize| (0..n).map(|k| u[k][row] * v[k][column]).sum::<f64>();
    (0..n * n).map(|at| entry(at / n, at % n) as f32).collect()
}

/// Orthonormal vectors, the first along that of ones, the others random (Gram and Schmidt's method, twice for its rounding).
fn basis(n: usize, rng: &mut Rng) -> Vec<Vec<f64>> {
    let mut basis: Vec<Vec<f64>> = Vec::with_capacity(n);
    for at in 0..n {
        let mut vector: Vec<f64> = (0..n).map(|_| if at == 0 { 1.0 } else { f64::from(rng.normal()) }).collect();
        for _ in 0..2 {
            for other in &basis {
                let along: f64 = other.iter().zip(&vector).map(|(a, b)| a * b).sum();
                vector.iter_mut().zip(other).for_each(|(value, a)| *value -= along * a);
            }
        }
        let length = vector.iter().map(|value| value * value).sum::<f64>().sqrt();
        vector.iter_mut().for_each(|value| *value /= length);
        basis.push(vector);
    }
    basis
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rotation_is_orthogonal_and_leaves_ones() {
        for n in [1, 3, 20] {
            let q = rotation(n);
            for (i, j) in (0..n).flat_map(|i| (0..n).map(move |j| (i, j))) {
                let product: f32 = (0..n).map(|k| q[i * n + k] * q[j * n + k]).sum();
                assert!((product - f32::from(u8::from(i == j))).abs() < 1e-6, "{n}: {i}, {j}: {product}");
            }
            assert!(q.chunks(n).all(|row| (row.iter().sum::<f32>() - 1.0).abs() < 1e-6));
        }
        assert_ne!(rotation(3)[0], 1.0);
    }
}
