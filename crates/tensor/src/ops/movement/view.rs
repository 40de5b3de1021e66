//! Ops that only move elements: permute, expand, slice, and the padding that undoes a slice.

use crate::device::caps::Caps;
use crate::error::{Error, Result};
use crate::graph::Var;
use crate::graph::op::{Dispatch, Lowered, Op, TestCase, awkward_size};
use crate::kernel;
use crate::shape::{DType, Shape, TensorType};
use trellis_rng::Rng;

/// Greatest number of axes in broadcasting and moving kernels.
pub(crate) const MAX_AXES: usize = 6;

/// Reorders axes: axis `i` of the output is axis `order[i]` of the input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Permute {
    /// Input axis of each output axis.
    pub order: Vec<usize>,
}

/// Stretches axes of size 1 (and adds leading ones) to `shape`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expand {
    /// The output's shape.
    pub shape: Shape,
}

/// `length` indices of one axis, from `start`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slice {
    /// The axis.
    pub axis: usize,
    /// First index.
    pub start: usize,
    /// Number of indices.
    pub length: usize,
}

/// Embeds the input in zeros along one axis, so that `start` is its first index: the gradient of [`Slice`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pad {
    /// The axis.
    pub axis: usize,
    /// Index at which the input starts.
    pub start: usize,
    /// The axis's size in the output.
    pub size: usize,
}

/// Mapping from each output element to its input element.
struct Walk {
    offset: i64,
    strides: Vec<usize>,
    low: Vec<usize>,
    high: Vec<usize>,
}

impl Walk {
    fn everywhere(output: &Shape, offset: usize, strides: Vec<usize>) -> Self {
        Self { offset: offset as i64, strides, low: vec![0; output.rank()], high: output.to_vec() }
    }

    fn lower(&self, output: &TensorType) -> Lowered {
        let Merged { axes: merged, vec4 } = self.merged(&output.shape);
        let unit = if vec4 { 4 } else { 1 };
        let each = |part: fn(&MergedAxis) -> usize| merged.iter().map(part).collect::<Vec<usize>>();
        Dispatch::linear(kernel!("movement/strided"), output.elements() / unit)
            .flag("VEC4", vec4)
            .constant("AXES", merged.len() as u32)
            .dims(&[output.elements() / unit, (self.offset / unit as i64) as i32 as u32 as usize, 0, 0])
            .dims(&axes(&each(|axis| axis.size), 1))
            .dims(&axes(&each(|axis| axis.stride), 0))
            .dims(&axes(&each(|axis| axis.low), 0))
            .dims(&axes(&each(|axis| axis.high), 1))
            .bind(1)
            .into()
    }

    /// The walk with as few axes as possible, since each costs a division. It takes four neighbors at once if they are
    /// contiguous.
    fn merged(&self, shape: &[usize]) -> Merged {
        let mut axes: Vec<MergedAxis> = Vec::new();
        for (a, &size) in shape.iter().enumerate() {
            let (stride, low, high) = (self.strides[a], self.low[a], self.high[a]);
            let whole = low == 0 && high >= size;
            if size == 1 && whole {
                continue;
            }
            match axes.last_mut() {
                Some(outer) if whole && outer.stride == stride * size => {
                    let MergedAxis { size: s, low, high, .. } = *outer;
                    *outer = MergedAxis { size: s * size, stride, low: low * size, high: high * size };
                }
                _ => axes.push(MergedAxis { size, stride, low, high }),
            }
        }
        let fours = |n: usize| n.is_multiple_of(4);
        let vec4 = match axes.split_last_mut() {
            Some((last, others)) => {
                let together = last.stride == 1 && [last.size, last.low, last.high].into_iter().all(fours);
                together && self.offset % 4 == 0 && others.iter().all(|axis| fours(axis.stride))
            }
            None => false,
        };
        if let (true, Some((last, others))) = (vec4, axes.split_last_mut()) {
            *last = MergedAxis { size: last.size / 4, low: last.low / 4, high: last.high / 4, ..*last };
            others.iter_mut().for_each(|axis| axis.stride /= 4);
        }
        Merged { axes, vec4 }
    }

    fn reference(&self, x: &[f64], output: &Shape) -> Vec<f64> {
        let position = output.strides();
        (0..output.elements())
            .map(|flat| {
                let index: Vec<usize> = (0..output.rank()).map(|a| flat / position[a] % output[a]).collect();
                let inside = (0..output.rank()).all(|a| (self.low[a]..self.high[a]).contains(&index[a]));
                let step: usize = index.iter().zip(&self.strides).map(|(i, stride)| i * stride).sum();
                if inside { x[(self.offset + step as i64) as usize] } else { 0.0 }
            })
            .collect()
    }
}

/// Axes of a walk that are left when neighbors are joined, in units of four elements with `vec4`.
struct Merged {
    axes: Vec<MergedAxis>,
    vec4: bool,
}

struct MergedAxis {
    size: usize,
    stride: usize,
    low: usize,
    high: usize,
}

/// Eight words for a kernel's `Axes`: aligned at the right, `fill` in front.
pub(crate) fn axes(sizes: &[usize], fill: usize) -> [usize; 8] {
    let mut padded = [fill; 8];
    padded[MAX_AXES - sizes.len()..MAX_AXES].copy_from_slice(sizes);
    padded
}

fn one_f32<'t>(inputs: &[&'t TensorType]) -> Result<&'t TensorType, String> {
    match inputs {
        [x] if x.dtype == DType::F32 && x.shape.rank() <= MAX_AXES => Ok(x),
        _ => Err(format!("takes one f32 tensor of at most {MAX_AXES} axes, not {inputs:?}")),
    }
}

impl Permute {
    fn walk(&self, x: &Shape, output: &Shape) -> Walk {
        let strides = x.strides();
        Walk::everywhere(output, 0, self.order.iter().map(|&axis| strides[axis]).collect())
    }
}

impl Op for Permute {
    fn name(&self) -> &'static str {
        "permute"
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<TensorType, String> {
        let x = one_f32(inputs)?;
        let mut sorted = self.order.clone();
        sorted.sort_unstable();
        if sorted != (0..x.shape.rank()).collect::<Vec<_>>() {
            return Err(format!("order {:?} does not name each axis of {} once", self.order, x.shape));
        }
        Ok(TensorType::f32(self.order.iter().map(|&axis| x.shape[axis]).collect::<Vec<_>>()))
    }

    fn backward<'g>(&self, _: &[Var<'g>], _: Var<'g>, dy: Var<'g>) -> Result<Vec<Option<Var<'g>>>> {
        let mut inverse = vec![0; self.order.len()];
        self.order.iter().enumerate().for_each(|(to, &from)| inverse[from] = to);
        Ok(vec![Some(dy.permute(&inverse)?)])
    }

    fn lower(&self, _: &Caps, inputs: &[&TensorType], output: &TensorType) -> Lowered {
        self.walk(&inputs[0].shape, &output.shape).lower(output)
    }

    fn reference(&self, inputs: &mut [Vec<f64>], types: &[&TensorType], output: &TensorType) -> Vec<f64> {
        self.walk(&types[0].shape, &output.shape).reference(&inputs[0], &output.shape)
    }

    fn sample(rng: &mut Rng) -> TestCase {
        let shape: Vec<usize> = (0..1 + rng.below(5)).map(|_| 1 + rng.below(9)).collect();
        let mut order: Vec<usize> = (0..shape.len()).collect();
        rng.shuffle(&mut order);
        TestCase::new(move |x| x[0].permute(&order)).normal(rng, shape)
    }
}

impl Expand {
    fn walk(&self, x: &Shape) -> Walk {
        Walk::everywhere(&self.shape, 0, x.broadcast_strides(&self.shape))
    }
}

impl Op for Expand {
    fn name(&self) -> &'static str {
        "expand"
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<TensorType, String> {
        let x = one_f32(inputs)?;
        if x.shape.broadcast(&self.shape).as_ref() != Some(&self.shape) || self.shape.rank() > MAX_AXES {
            return Err(format!("{} does not stretch to {}", x.shape, self.shape));
        }
        Ok(TensorType::f32(self.shape.clone()))
    }

    fn backward<'g>(&self, x: &[Var<'g>], _: Var<'g>, dy: Var<'g>) -> Result<Vec<Option<Var<'g>>>> {
        Ok(vec![Some(dy.sum_to(x[0].shape())?)])
    }

    fn lower(&self, _: &Caps, inputs: &[&TensorType], output: &TensorType) -> Lowered {
        self.walk(&inputs[0].shape).lower(output)
    }

    fn reference(&self, inputs: &mut [Vec<f64>], types: &[&TensorType], output: &TensorType) -> Vec<f64> {
        self.walk(&types[0].shape).reference(&inputs[0], &output.shape)
    }

    fn sample(rng: &mut Rng) -> TestCase {
        let shape: Vec<usize> = (0..1 + rng.below(4)).map(|_| awkward_size(rng, 9)).collect();
        let from: Vec<usize> =
            shape[rng.below(shape.len() + 1)..].iter().map(|&size| if rng.below(2) == 0 { size } else { 1 }).collect();
        TestCase::new(move |x| x[0].graph().push(Expand { shape: shape.clone().into() }, x)).normal(rng, from)
    }
}

impl Slice {
    fn walk(&self, x: &Shape, output: &Shape) -> Walk {
        let strides = x.strides();
        Walk::everywhere(output, self.start * strides[self.axis], strides)
    }
}

impl Slice {
    /// Offset of its first element in a tensor of this shape, if the slice is contiguous.
    pub(crate) fn contiguous(&self, x: &Shape) -> Option<usize> {
        let one_piece = x[..self.axis].iter().all(|&size| size == 1);
        one_piece.then(|| self.start * x.strides()[self.axis])
    }
}

impl Op for Slice {
    fn name(&self) -> &'static str {
        "slice"
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<TensorType, String> {
        let x = one_f32(inputs)?;
        let Self { axis, start, length } = *self;
        if axis >= x.shape.rank() || start + length > x.shape[axis] || length == 0 {
            return Err(format!("indices {start}..{} of axis {axis} do not exist in {}", start + length, x.shape));
        }
        let mut sizes = x.shape.to_vec();
        sizes[axis] = length;
        Ok(TensorType::f32(sizes))
    }

    fn backward<'g>(&self, x: &[Var<'g>], _: Var<'g>, dy: Var<'g>) -> Result<Vec<Option<Var<'g>>>> {
        let pad = Pad { axis: self.axis, start: self.start, size: x[0].shape()[self.axis] };
        Ok(vec![Some(dy.graph().push(pad, &[dy])?)])
    }

    fn lower(&self, _: &Caps, inputs: &[&TensorType], output: &TensorType) -> Lowered {
        self.walk(&inputs[0].shape, &output.shape).lower(output)
    }

    fn reference(&self, inputs: &mut [Vec<f64>], types: &[&TensorType], output: &TensorType) -> Vec<f64> {
        self.walk(&types[0].shape, &output.shape).reference(&inputs[0], &output.shape)
    }

    fn sample(rng: &mut Rng) -> TestCase {
        let shape: Vec<usize> = (0..1 + rng.below(4)).map(|_| awkward_size(rng, 12)).collect();
        let axis = rng.below(shape.len());
        let start = rng.below(shape[axis]);
        let length = 1 + rng.below(shape[axis] - start);
        TestCase::new(move |x| x[0].slice(axis, start, length)).normal(rng, shape)
    }
}

impl Pad {
    fn walk(&self, x: &Shape, output: &Shape) -> Walk {
        let strides = x.strides();
        let offset = -((self.start * strides[self.axis]) as i64);
        let mut walk = Walk::everywhere(output, 0, strides);
        walk.offset = offset;
        walk.low[self.axis] = self.start;
        walk.high[self.axis] = self.start + x[self.axis];
        walk
    }
}

impl Op for Pad {
    fn name(&self) -> &'static str {
        "pad"
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<TensorType, String> {
        let x = one_f32(inputs)?;
        if self.axis >= x.shape.rank() || self.start + x.shape[self.axis] > self.size {
            return Err(format!("{} does not fit axis {} of size {} at {}", x.shape, self.axis, self.size, self.start));
        }
        let mut sizes = x.shape.to_vec();
        sizes[self.axis] = self.size;
        Ok(TensorType::f32(sizes))
    }

    fn backward<'g>(&self, x: &[Var<'g>], _: Var<'g>, dy: Var<'g>) -> Result<Vec<Option<Var<'g>>>> {
        Ok(vec![Some(dy.slice(self.axis, self.start, x[0].shape()[self.axis])?)])
    }

    fn lower(&self, _: &Caps, inputs: &[&TensorType], output: &TensorType) -> Lowered {
        self.walk(&inputs[0].shape, &output.shape).lower(output)
    }

    fn reference(&self, inputs: &mut [Vec<f64>], types: &[&TensorType], output: &TensorType) -> Vec<f64> {
        self.walk(&types[0].shape, &output.shape).reference(&inputs[0], &output.shape)
    }

    fn sample(rng: &mut Rng) -> TestCase {
        let shape: Vec<usize> = (0..1 + rng.below(4)).map(|_| awkward_size(rng, 9)).collect();
        let axis = rng.below(shape.len());
        let start = rng.below(5);
        let pad = Pad { axis, start, size: start + shape[axis] + rng.below(5) };
        TestCase::new(move |x| x[0].graph().push(pad.clone(), x)).normal(rng, shape)
    }
}

impl<'g> Var<'g> {
    /// Reorders axes: axis `i` of the result is axis `order[i]` of this.
    ///
    /// # Errors
    /// [`Error::Shape`] unless `order` names each axis once.
    pub fn permute(self, order: &[usize]) -> Result<Var<'g>> {
        if order.iter().enumerate().all(|(to, &from)| to == from) && order.len() == self.shape().rank() {
            return Ok(self);
        }
        self.graph().push(Permute { order: order.to_vec() }, &[self])
    }

    /// Swaps the last two axes. Errors unless there are two.
    pub fn transpose(self) -> Result<Var<'g>> {
        let rank = self.shape().rank();
        let mut order: Vec<usize> = (0..rank).collect();
        if rank < 2 {
            let problem = format!("{} has no two axes to swap", self.shape());
            return Err(Error::Shape { op: "transpose", layer: self.graph().layer(), problem });
        }
        order.swap(rank - 2, rank - 1);
        self.permute(&order)
    }

    /// Stretches axes of size 1 and adds leading axes.
    ///
    /// # Errors
    /// [`Error::Shape`] when the shapes do not broadcast that way.
    pub fn expand(self, shape: impl Into<Shape>) -> Result<Var<'g>> {
        let shape = shape.into();
        if self.shape() == shape {
            return Ok(self);
        }
        if let Some(value) = self.as_constant() {
            return Ok(self.graph().constant(value, shape));
        }
        self.graph().push(Expand { shape }, &[self])
    }

    /// `length` indices of `axis`, from `start`.
    ///
    /// # Errors
    /// [`Error::Shape`] when they do not exist.
    pub fn slice(self, axis: usize, start: usize, length: usize) -> Result<Var<'g>> {
        self.graph().push(Slice { axis, start, length }, &[self])
    }
}
