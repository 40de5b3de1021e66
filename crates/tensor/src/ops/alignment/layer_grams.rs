//! The Gram matrices of several layers in one dispatch, and their gradient in another.

use crate::device::caps::Caps;
use crate::error::Result;
use crate::graph::Var;
use crate::graph::facts::Facts;
use crate::graph::op::{Arg, Dispatch, Lowered, Op, TestCase, awkward_size};
use crate::kernel;
use crate::ops::alignment::center_layers::CenterLayers;
use crate::ops::alignment::gram::{Products, products};
use crate::ops::gemm::members::Layout;
use crate::ops::movement::concat::Pack;
use crate::shape::TensorType;
use trellis_rng::Rng;

/// `K = X Xᵀ` of each of several layers of the same examples: `[layers, n, n]`. Input: their activations `[n, p]`, each of its
/// own width, laid out by [`Pack::layout`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LayerGrams {
    /// Examples.
    pub n: usize,
    /// Features of each layer, multiples of 4.
    pub widths: Vec<usize>,
}

/// `dX = 2 M X` of each of several layers, laid out as they are. Inputs: symmetric `M [layers, n, n]`, the layers. Gaps between
/// two layers are not written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LayerGramsGrad {
    /// The layers.
    pub of: LayerGrams,
}

impl LayerGrams {
    /// Greatest number of layers that one launch takes.
    pub const LAYERS: usize = 28;

    fn layout(&self) -> Pack {
        Pack::layout(self.widths.iter().map(|width| self.n * width))
    }

    fn widest(&self) -> usize {
        self.widths.iter().copied().max().unwrap_or(0)
    }

    /// Number of features of all layers.
    fn features(&self) -> usize {
        self.widths.iter().sum()
    }

    fn check(&self, layers: &TensorType) -> Result<TensorType, String> {
        let sane = self.n > 0 && (1..=Self::LAYERS).contains(&self.widths.len());
        if !sane || self.widths.iter().any(|width| *width == 0 || !width.is_multiple_of(4)) {
            let Self { n, widths } = self;
            return Err(format!(
                "takes 1 to {} layers of multiples of 4 features, not {widths:?} of {n} examples",
                Self::LAYERS
            ));
        }
        let wanted = TensorType::f32([self.layout().size]);
        if *layers != wanted {
            return Err(format!("{:?} features of {} examples lie in {wanted}, not in {layers}", self.widths, self.n));
        }
        Ok(TensorType::f32([self.widths.len(), self.n, self.n]))
    }

    /// Offset and width of each layer.
    fn places(&self) -> Vec<usize> {
        self.layout().offsets.into_iter().zip(&self.widths).flat_map(|(offset, &width)| [offset, width]).collect()
    }

    /// One matrix, computed by [`Op::reference`], for each layer of `x`.
    fn each(&self, x: &[f64], value: impl Fn(usize, &[f64], usize) -> Vec<f64>) -> Vec<Vec<f64>> {
        let layers = self.layout().offsets.into_iter().zip(&self.widths).enumerate();
        layers.map(|(number, (offset, &p))| value(number, &x[offset..offset + self.n * p], p)).collect()
    }
}

impl Op for LayerGrams {
    fn name(&self) -> &'static str {
        "layer_grams"
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<TensorType, String> {
        let [layers] = inputs else { return Err("takes packed activations".to_string()) };
        self.check(layers)
    }

    fn backward<'g>(&self, x: &[Var<'g>], _: Var<'g>, dk: Var<'g>) -> Result<Vec<Option<Var<'g>>>> {
        let m = dk.symmetrized()?;
        Ok(vec![Some(dk.graph().push(LayerGramsGrad { of: self.clone() }, &[m, x[0]])?)])
    }

    fn lower(&self, caps: &Caps, _: &[&TensorType], _: &TensorType) -> Lowered {
        let (n, entries, length) = (self.n, self.widths.len(), self.widest());
        let chosen = caps.gemm_variant(Layout::NT, [n, n, length]).for_triangle();
        let fours = chosen.reads_vec4();
        products(caps, chosen, Products { n, entries, length }, |dispatch| {
            dispatch
                .flag("PACKED", true)
                .flag("X4", fours)
                .flag("K4", fours)
                .flag("LHS_K4", fours)
                .flag("RHS_K", true)
                .dims(&[0, 0, 1, 0])
                .dims(&self.places())
                .flops(n * (n + 1) * self.features())
        })
    }

    fn reference(&self, inputs: &mut [Vec<f64>], _: &[&TensorType], _: &TensorType) -> Vec<f64> {
        let n = self.n;
        let gram = |_, x: &[f64], p: usize| {
            let dot = |i: usize, j: usize| (0..p).map(|k| x[i * p + k] * x[j * p + k]).sum();
            (0..n * n).map(|at| dot(at / n, at % n)).collect()
        };
        self.each(&inputs[0], gram).concat()
    }

    fn sample(rng: &mut Rng) -> TestCase {
        let n = awkward_size(rng, 70);
        let widths: Vec<usize> = (0..1 + rng.below(4)).map(|_| 4 * awkward_size(rng, 60)).collect();
        let centered = rng.below(2) == 0;
        let sample = TestCase::new(move |x| if centered { Var::centered_layer_grams(x) } else { Var::layer_grams(x) });
        widths.into_iter().fold(sample, |sample, width| sample.normal(rng, [n, width]))
    }
}

impl Op for LayerGramsGrad {
    fn name(&self) -> &'static str {
        "layer_grams_grad"
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<TensorType, String> {
        let [m, layers] = inputs else { return Err("takes M and packed activations".to_string()) };
        let wanted = self.of.check(layers)?;
        if **m == wanted { Ok((*layers).clone()) } else { Err(format!("M is {m}, not {wanted}")) }
    }

    fn backward<'g>(&self, _: &[Var<'g>], y: Var<'g>, _: Var<'g>) -> Result<Vec<Option<Var<'g>>>> {
        Err(y.not_differentiable())
    }

    fn facts(&self, inputs: &[Facts]) -> Facts {
        Facts { layers_sum_to_zero: inputs[0].rows_sum_to_zero, ..Facts::default() }
    }

    fn lower(&self, caps: &Caps, _: &[&TensorType], _: &TensorType) -> Lowered {
        let LayerGrams { n, widths } = &self.of;
        let widest = self.of.widest();
        let chosen = caps.gemm_variant(Layout::NN, [*n, widest, *n]);
        let args = [Arg::Input(0), Arg::Unused, Arg::Unused, Arg::Unused, Arg::Input(1), Arg::Output];
        let dispatch: Dispatch = chosen
            .dispatch(kernel!("alignment/gram_grad"), [*n, widest], widths.len())
            .flag("PACKED", true)
            .flag("LHS_K4", chosen.reads_vec4() && n.is_multiple_of(4))
            .flag("VEC4", true)
            .dims(&[*n, 0, 0, 0])
            .dims(&self.of.places())
            .args(args)
            .flops(2 * n * n * self.of.features());
        dispatch.into()
    }

    fn reference(&self, inputs: &mut [Vec<f64>], _: &[&TensorType], output: &TensorType) -> Vec<f64> {
        let n = self.of.n;
        let product = |number: usize, x: &[f64], p: usize| {
            let m = &inputs[0][number * n * n..];
            let dot = |i: usize, k: usize| 2.0 * (0..n).map(|j| m[i * n + j] * x[j * p + k]).sum::<f64>();
            (0..n * p).map(|at| dot(at / p, at % p)).collect()
        };
        let mut packed = vec![0.0; output.elements()];
        for (offset, values) in self.of.layout().offsets.into_iter().zip(self.of.each(&inputs[1], product)) {
            packed[offset..offset + values.len()].copy_from_slice(&values);
        }
        packed
    }

    fn sample(rng: &mut Rng) -> TestCase {
        // With a multiple of 16 examples and 4 features there are no gaps between layers.
        let n = 16 * (1 + rng.below(5));
        let widths: Vec<usize> = (0..1 + rng.below(4)).map(|_| 4 * awkward_size(rng, 60)).collect();
        let (count, of) = (widths.len(), LayerGrams { n, widths });
        let size = of.layout().size;
        TestCase::forward_only(LayerGramsGrad { of }).normal(rng, [count, n, n]).normal(rng, [size])
    }
}

impl<'g> Var<'g> {
    /// The Gram matrices `X Xᵀ`, `[layers, n, n]`, of layers `[n, p]` of the same examples, most often centered
    /// ([`Var::center`]). They take one dispatch, and the gradients of all layers another. Widths may differ; they are
    /// multiples of 4. Activations are written side by side, so all live at once. Cost: n²·p flop a layer.
    ///
    /// # Errors
    /// [`Error::Shape`](crate::Error::Shape) for no layers, more than [`LayerGrams::LAYERS`], or layers of another shape.
    pub fn layer_grams(layers: &[Var<'g>]) -> Result<Var<'g>> {
        let op = LayerGrams::of(layers)?;
        let packed = layers[0].graph().push(op.layout(), layers)?;
        packed.graph().push(op, &[packed])
    }

    /// [`Var::layer_grams`] of layers `[n, …]` that are centered first: small ones seven in one dispatch.
    ///
    /// # Errors
    /// As [`Var::layer_grams`].
    pub fn centered_layer_grams(layers: &[Var<'g>]) -> Result<Var<'g>> {
        if layers.iter().any(|layer| layer.ty().elements() > CENTERED_TOGETHER) {
            return Var::layer_grams(&layers.iter().map(|layer| layer.center()).collect::<Result<Vec<_>>>()?);
        }
        let layers = layers.iter().map(|layer| layer.flatten()).collect::<Result<Vec<_>>>()?;
        let op = LayerGrams::of(&layers)?;
        let centered = layers[0].graph().push(CenterLayers, &layers)?;
        centered.graph().push(op, &[centered])
    }
}

/// Greatest number of elements, 1 MiB of them, of a layer that is centered together with others. For a larger one the launch
/// costs little, and it is better centered and freed as soon as it exists.
const CENTERED_TOGETHER: usize = 1 << 18;

impl LayerGrams {
    /// The op for layers `[n, p]`.
    fn of(layers: &[Var<'_>]) -> Result<Self> {
        let shape = |problem: String| {
            let layer = layers.first().map(|first| first.graph().layer()).unwrap_or_default();
            crate::error::Error::Shape { op: "layer_grams", layer, problem }
        };
        let first = layers.first().ok_or_else(|| shape("there are no layers".to_string()))?;
        let same = |layer: &Var<'_>| matches!(layer.shape()[..], [n, _] if n == first.shape()[0]);
        if let Some(other) = layers.iter().find(|layer| !same(layer)) {
            return Err(shape(format!(
                "takes layers [n, features] of the same examples, not {} and {}",
                first.ty(),
                other.ty()
            )));
        }
        Ok(LayerGrams { n: first.shape()[0], widths: layers.iter().map(|layer| layer.shape()[1]).collect() })
    }
}
