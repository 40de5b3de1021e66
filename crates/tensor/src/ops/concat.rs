//! Joining tensors: along an axis, or flat into one buffer.

use std::any::Any;

use crate::error::{Error, Result};
use crate::gpu::{ALIGNMENT, Caps};
use crate::graph::Var;
use crate::kernel;
use crate::op::{Arg, Dispatch, Lowered, Op, Sample};
use crate::ops::view::Slice;
use crate::rng::Rng;
use crate::shape::{DType, TensorType};

/// Joins tensors along one axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Concat {
    /// The axis.
    pub axis: usize,
}

/// Lays tensors out flat in one buffer, each at its offset; gaps are zero. A plan lets the producers write into the
/// buffer directly where it can, so that an optimiser sees all gradients as one tensor at no cost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pack {
    /// Offset of each input in elements, a multiple of 64, ascending without overlap.
    pub offsets: Vec<usize>,
    /// Elements of the output.
    pub size: usize,
}

/// A copy of input `number` as runs of `run` elements, one every `pitch`, the first at `start`.
fn copy_part(number: usize, elements: usize, run: usize, pitch: usize, start: usize) -> Dispatch {
    copy_runs(elements, run, pitch, start).args([Arg::Input(number), Arg::Output])
}

/// A copy of `elements` as runs of `run` elements, one every `pitch`, the first at `start`.
pub(crate) fn copy_runs(elements: usize, run: usize, pitch: usize, start: usize) -> Dispatch {
    let vec4 = [elements, run, pitch, start].iter().all(|size| size.is_multiple_of(4));
    let unit = if vec4 { 4 } else { 1 };
    Dispatch::linear(kernel!("copy"), elements / unit).flag("VEC4", vec4).dims(&[
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
        let dispatches = inputs
            .iter()
            .enumerate()
            .map(|(number, x)| {
                let run = x.shape[self.axis] * inner;
                start += run;
                copy_part(number, x.elements(), run, pitch, start - run)
            })
            .collect();
        Lowered { dispatches, scratch: Vec::new() }
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

    fn sample(rng: &mut Rng) -> Sample {
        let shape: Vec<usize> = (0..1 + rng.below(3)).map(|_| 1 + rng.below(7)).collect();
        let axis = rng.below(shape.len());
        if rng.below(4) == 0 {
            let cut = 1 + rng.below(6);
            let mut whole = shape;
            whole[axis] = 7;
            return Sample::new(move |x| {
                let parts = [x[0].slice(axis, 0, cut)?, x[0].slice(axis, cut, 7 - cut)?];
                Var::concat(&parts, axis)
            })
            .normal(rng, whole);
        }
        let mut sample = Sample::new(move |x| Var::concat(x, axis));
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
        x.iter()
            .zip(&self.offsets)
            .map(|(part, &offset)| dy.slice(0, offset, part.ty().elements())?.reshape(part.shape()).map(Some))
            .collect()
    }

    // One dispatch per input: the plan leaves out those whose input was written in place.
    fn lower(&self, _: &Caps, inputs: &[&TensorType], _: &TensorType) -> Lowered {
        let copy = |(number, (x, &offset)): (usize, (&&TensorType, &usize))| {
            let elements = x.elements();
            copy_part(number, elements, elements, elements, offset)
        };
        let dispatches = inputs.iter().zip(&self.offsets).enumerate().map(copy).collect();
        Lowered { dispatches, scratch: Vec::new() }
    }

    fn reference(&self, inputs: &mut [Vec<f64>], _: &[&TensorType], output: &TensorType) -> Vec<f64> {
        let mut packed = vec![0.0; output.elements()];
        for (x, &offset) in inputs.iter().zip(&self.offsets) {
            packed[offset..offset + x.len()].copy_from_slice(x);
        }
        packed
    }

    fn sample(rng: &mut Rng) -> Sample {
        let sizes: Vec<usize> = (0..1 + rng.below(4)).map(|_| 1 + rng.below(150)).collect();
        let pack = Pack::layout(sizes.iter().copied());
        // Scaled inputs are written in place, bare leaves are copied: both ways are taken.
        let sample = Sample::new(move |x| {
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

/// What `parts` are neighbouring slices of along `axis`, in order: the tensor, the first index and how many.
fn neighbours<'g>(parts: &[Var<'g>], axis: usize) -> Option<(Var<'g>, usize, usize)> {
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
    /// Joins tensors along `axis`. Neighbouring slices of one tensor are joined to a slice of it, which costs nothing.
    ///
    /// # Errors
    /// [`Error::Shape`] when there are none, or they differ in another axis.
    pub fn concat(parts: &[Var<'g>], axis: usize) -> Result<Var<'g>> {
        if let Some((whole, start, length)) = neighbours(parts, axis) {
            return if length == whole.shape()[axis] { Ok(whole) } else { whole.slice(axis, start, length) };
        }
        match parts {
            [] => Err(Error::Shape { op: "concat", layer: String::new(), problem: "nothing to join".to_string() }),
            [only] => Ok(*only),
            [first, ..] => first.graph().push(Concat { axis }, parts),
        }
    }
}
