//! Joining tensors: along an axis, or flat into one buffer.

use std::any::Any;

use crate::device::caps::Caps;
use crate::device::gpu::ALIGNMENT;
use crate::error::{Error, Result};
use crate::graph::Var;
use crate::graph::facts::Facts;
use crate::graph::op::{Arg, Dispatch, Lowered, Op, TestCase};
use crate::kernel;
use crate::ops::movement::view::Slice;
use crate::shape::{DType, Shape, TensorType};
use trellis_rng::Rng;

/// Joins tensors along one axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Concat {
    /// The axis.
    pub axis: usize,
}

/// Lays tensors out flat in one buffer, each at its offset; gaps are zero. A plan lets the producers write into the
/// buffer directly where it can, so that an optimizer sees all gradients as one tensor at no cost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pack {
    /// Offset of each input in elements, a multiple of 64, ascending without overlap.
    pub offsets: Vec<usize>,
    /// Elements of the output.
    pub size: usize,
}

/// A copy of an input into the output, as runs of `run` elements, one every `pitch`, the first at `start`.
#[derive(Clone, Copy)]
struct Part {
    input: usize,
    elements: usize,
    run: usize,
    pitch: usize,
    start: usize,
}

impl Part {
    /// Greatest number of parts that one dispatch copies: WebGPU grants eight storage bindings at least.
    const TOGETHER: usize = 7;

    /// Greatest number of elements of a part that is copied together with others.
    const SMALL: usize = 1 << 18;

    /// Copies of parts: several small ones in one dispatch, as dispatches that write one buffer wait for each other.
    fn copies(parts: impl IntoIterator<Item = Self>) -> Vec<Dispatch> {
        let (small, large): (Vec<Self>, Vec<Self>) = parts.into_iter().partition(|part| part.elements <= Self::SMALL);
        let together = |parts: &[Self]| if let [only] = parts { only.alone() } else { Self::several(parts) };
        small.chunks(Self::TOGETHER).map(together).chain(large.iter().map(|part| part.alone())).collect()
    }

    fn alone(&self) -> Dispatch {
        copy_runs(self.elements, self.run, self.pitch, self.start).args([Arg::Input(self.input), Arg::Output])
    }

    fn several(parts: &[Self]) -> Dispatch {
        let sizes = |part: &Self| [part.start, part.elements, part.run.max(1), part.pitch];
        let vec4 = parts.iter().flat_map(sizes).all(|size| size.is_multiple_of(4));
        let unit = if vec4 { 4 } else { 1 };
        let dims: Vec<usize> = parts.iter().flat_map(sizes).map(|size| size / unit).collect();
        let longest = parts.iter().map(|part| part.elements / unit).max().unwrap_or(0);
        let sources = (0..Self::TOGETHER).map(|i| parts.get(i).map_or(Arg::Unused, |part| Arg::Input(part.input)));
        Dispatch::grid(kernel!("movement/pack"), [longest.div_ceil(256).max(1), parts.len(), 1])
            .flag("VEC4", vec4)
            .dims(&dims)
            .dims(&vec![0; 4 * (Self::TOGETHER - parts.len())])
            .args(sources.chain([Arg::Output]))
    }
}

/// A copy of `elements` as runs of `run` elements, one every `pitch`, the first at `start`.
pub(crate) fn copy_runs(elements: usize, run: usize, pitch: usize, start: usize) -> Dispatch {
    let vec4 = [elements, run, pitch, start].iter().all(|size| size.is_multiple_of(4));
    let unit = if vec4 { 4 } else { 1 };
    Dispatch::linear(kernel!("movement/copy"), elements / unit).flag("VEC4", vec4).dims(&[
        elements / unit,
        run / unit,
        pitch / unit,
        start / unit,
    ])
}

impl Op for Concat {
    fn name(&self) -> &'static str {
        "concat"
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<TensorType, String> {
        let Some(first) = inputs.first().filter(|x| self.axis < x.shape.rank() && x.dtype == DType::F32) else {
            return Err(format!("takes f32 tensors that have an axis {}, not {inputs:?}", self.axis));
        };
        let mut sizes = first.shape.to_vec();
        for x in &inputs[1..] {
            let same =
                x.shape.rank() == sizes.len() && (0..sizes.len()).all(|a| a == self.axis || x.shape[a] == sizes[a]);
            if !same || x.dtype != DType::F32 {
                return Err(format!("{x} does not continue {first} along axis {}", self.axis));
            }
            sizes[self.axis] += x.shape[self.axis];
        }
        Ok(TensorType::f32(sizes))
    }

    fn backward<'g>(&self, x: &[Var<'g>], _: Var<'g>, dy: Var<'g>) -> Result<Vec<Option<Var<'g>>>> {
        let mut start = 0;
        x.iter()
            .map(|part| {
                let length = part.shape()[self.axis];
                start += length;
                dy.slice(self.axis, start - length, length).map(Some)
            })
            .collect()
    }

    fn lower(&self, _: &Caps, inputs: &[&TensorType], output: &TensorType) -> Lowered {
        let inner: usize = output.shape[self.axis + 1..].iter().product();
        let pitch = output.shape[self.axis] * inner;
        let mut start = 0;
        let part = |(input, x): (usize, &&TensorType)| {
            let run = x.shape[self.axis] * inner;
            start += run;
            Part { input, elements: x.elements(), run, pitch, start: start - run }
        };
        Lowered { dispatches: Part::copies(inputs.iter().enumerate().map(part)), scratch: Vec::new() }
    }

    fn reference(&self, inputs: &mut [Vec<f64>], types: &[&TensorType], output: &TensorType) -> Vec<f64> {
        let outer: usize = output.shape[..self.axis].iter().product();
        let mut joined = Vec::with_capacity(output.elements());
        for o in 0..outer {
            for (x, ty) in inputs.iter().zip(types) {
                let run = ty.elements() / outer;
                joined.extend_from_slice(&x[o * run..(o + 1) * run]);
            }
        }
        joined
    }

    fn sample(rng: &mut Rng) -> TestCase {
        let shape: Vec<usize> = (0..1 + rng.below(3)).map(|_| 1 + rng.below(7)).collect();
        let axis = rng.below(shape.len());
        if rng.below(4) == 0 {
            let cut = 1 + rng.below(6);
            let mut whole = shape;
            whole[axis] = 7;
            return TestCase::new(move |x| {
                let parts = [x[0].slice(axis, 0, cut)?, x[0].slice(axis, cut, 7 - cut)?];
                Var::concat(&parts, axis)
            })
            .normal(rng, whole);
        }
        let mut sample = TestCase::new(move |x| Var::concat(x, axis));
        for _ in 0..1 + rng.below(4) {
            let mut part = shape.clone();
            part[axis] = 1 + rng.below(7);
            sample = sample.normal(rng, part);
        }
        sample
    }
}

impl Pack {
    /// A layout for tensors of the given sizes: each starts on a boundary that every adapter can bind.
    pub fn layout(sizes: impl IntoIterator<Item = usize>) -> Self {
        let mut size = 0;
        let offsets = sizes
            .into_iter()
            .map(|elements| {
                let offset = size;
                size += elements.next_multiple_of(ALIGNMENT / 4);
                offset
            })
            .collect();
        Self { offsets, size }
    }

    /// Greatest number of elements of a part that is not written in place if there are several such.
    const SMALL: usize = 1 << 14;

    /// True if a part of `elements`, in a pack of parts of these sizes, is better copied than written in place. All parts lie
    /// in one buffer, so each dispatch that writes one in place waits for those before it. For a weight's gradient that costs
    /// nothing: its barrier serves the dispatches that run beside it. Small parts, such as biases, would wait for it; copies of
    /// seven wait once.
    pub(crate) fn is_copied(elements: usize, sizes: impl Iterator<Item = usize>) -> bool {
        elements <= Self::SMALL && sizes.filter(|&size| size <= Self::SMALL).nth(2).is_some()
    }

    /// Copies of some parts, by their numbers, among inputs of these types.
    pub(crate) fn copies(&self, parts: impl IntoIterator<Item = usize>, inputs: &[&TensorType]) -> Vec<Dispatch> {
        let part = |input: usize| {
            let elements = inputs[input].elements();
            Part { input, elements, run: elements, pitch: elements, start: self.offsets[input] }
        };
        Part::copies(parts.into_iter().map(part))
    }
}

impl Op for Pack {
    fn name(&self) -> &'static str {
        "pack"
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<TensorType, String> {
        if inputs.len() != self.offsets.len() || inputs.iter().any(|x| x.dtype != DType::F32) {
            return Err(format!("takes {} f32 tensors, not {inputs:?}", self.offsets.len()));
        }
        Ok(TensorType::f32([self.size]))
    }

    fn backward<'g>(&self, x: &[Var<'g>], _: Var<'g>, dy: Var<'g>) -> Result<Vec<Option<Var<'g>>>> {
        x.iter().zip(&self.offsets).map(|(part, &offset)| dy.packed_layer(offset, part.shape()).map(Some)).collect()
    }

    // A plan lowers only the parts whose input was not written in place: `Pack::copies`.
    fn lower(&self, _: &Caps, inputs: &[&TensorType], _: &TensorType) -> Lowered {
        Lowered { dispatches: self.copies(0..inputs.len(), inputs), scratch: Vec::new() }
    }

    fn reference(&self, inputs: &mut [Vec<f64>], _: &[&TensorType], output: &TensorType) -> Vec<f64> {
        let mut packed = vec![0.0; output.elements()];
        for (x, &offset) in inputs.iter().zip(&self.offsets) {
            packed[offset..offset + x.len()].copy_from_slice(x);
        }
        packed
    }

    fn sample(rng: &mut Rng) -> TestCase {
        let sizes: Vec<usize> = (0..1 + rng.below(10)).map(|_| 1 + rng.below(300)).collect();
        let pack = Pack::layout(sizes.iter().copied());
        // One or two parts: scaled ones are written in place, bare leaves are copied. More are copied together.
        let sample = TestCase::new(move |x| {
            let parts: Vec<Var<'_>> = x
                .iter()
                .enumerate()
                .map(|(i, v)| if i % 2 == 0 { v.affine(2.0, 0.0) } else { Ok(*v) })
                .collect::<Result<_>>()?;
            x[0].graph().push(pack.clone(), &parts)
        });
        sizes.into_iter().fold(sample, |sample, size| sample.normal(rng, [size]))
    }
}

/// The tensor of which `parts` are neighboring slices along `axis`, in order, with the first index and the number of indices.
fn neighbors<'g>(parts: &[Var<'g>], axis: usize) -> Option<(Var<'g>, usize, usize)> {
    let slice = |part: &Var<'g>| {
        let mut sliced = *part;
        while let Some(from) = sliced.reshaped() {
            sliced = from;
        }
        let op = sliced.op()?;
        let slice = (op.as_ref() as &dyn Any).downcast_ref::<Slice>()?.clone();
        (slice.axis == axis && sliced.shape() == part.shape()).then_some((sliced.inputs()[0], slice))
    };
    let slices = parts.iter().map(slice).collect::<Option<Vec<_>>>()?;
    let ((whole, first), mut end) = (slices.first()?, slices.first()?.1.start);
    for (from, slice) in &slices {
        if from.id() != whole.id() || slice.start != end {
            return None;
        }
        end += slice.length;
    }
    Some((*whole, first.start, end - first.start))
}

impl<'g> Var<'g> {
    /// One of the layers that lie in this value one after another: the one of this shape from element `start` on.
    pub(crate) fn packed_layer(self, start: usize, shape: Shape) -> Result<Self> {
        let layer = self.slice(0, start, shape.elements())?.reshape(shape)?;
        let columns_sum_to_zero = self.facts().layers_sum_to_zero;
        Ok(if columns_sum_to_zero { layer.with_facts(Facts { columns_sum_to_zero, ..layer.facts() }) } else { layer })
    }

    /// Joins tensors along `axis`. Neighboring slices of one tensor are joined to a slice of it, which costs nothing.
    ///
    /// # Errors
    /// [`Error::Shape`] when there are none, or they differ in another axis.
    pub fn concat(parts: &[Var<'g>], axis: usize) -> Result<Var<'g>> {
        if let Some((whole, start, length)) = neighbors(parts, axis) {
            return if length == whole.shape()[axis] { Ok(whole) } else { whole.slice(axis, start, length) };
        }
        match parts {
            [] => Err(Error::Shape { op: "concat", layer: String::new(), problem: "nothing to join".to_string() }),
            [only] => Ok(*only),
            [first, ..] => first.graph().push(Concat { axis }, parts),
        }
    }
}
