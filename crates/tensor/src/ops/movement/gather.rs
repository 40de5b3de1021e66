//! Rows of a table by index: examples of a data set, labels, embeddings.

use crate::device::caps::Caps;
use crate::error::Result;
use crate::graph::Var;
use crate::graph::op::{Arg, Dispatch, Lowered, Op, TestCase, awkward_size};
use crate::kernel;
use crate::shape::{DType, Shape, TensorType};
use trellis_rng::Rng;

/// `out[j] = table[index[j]]`, a row of zeros where the index is out of range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gather;

/// `dtable[row] = Σ dy[j]` over the j with `index[j] = row`, in order of j: the gradient of [`Gather`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GatherGrad {
    /// Rows of the table.
    pub rows: usize,
}

/// `out[j] = table[index[j]]` of a u32 table, `u32::MAX` (the label that losses ignore) where the index is out of range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GatherLabels;

/// `out[j] = scale · table[index[j]] + shift` of a u8 table, zeros where the index is out of range.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GatherImages {
    /// Factor of a byte.
    pub scale: f32,
    /// Summand.
    pub shift: f32,
}

/// The shape of `index` in front of a table's axes but the first.
fn gathered(inputs: &[&TensorType], dtype: DType) -> Result<Shape, String> {
    match inputs {
        [table, index] if table.dtype == dtype && table.shape.rank() > 0 && index.dtype == DType::U32 => {
            Ok([&index.shape[..], &table.shape[1..]].concat().into())
        }
        _ => Err(format!("takes {dtype}[rows, …] and u32 indices, not {inputs:?}")),
    }
}

/// `row(r)` for each index r below the number of rows, `width` times `missing` for the others.
fn gather_rows(inputs: &[Vec<f64>], table: &Shape, missing: f64, map: impl Fn(f64) -> f64) -> Vec<f64> {
    let width: usize = table[1..].iter().product();
    let row = |&index: &f64| match index as usize {
        row if row < table[0] => inputs[0][row * width..(row + 1) * width].iter().map(|&v| map(v)).collect(),
        _ => vec![missing; width],
    };
    inputs[1].iter().flat_map(row).collect()
}

/// A launch over `elements` in rows of `width`, as vec4 if that divides it: its dims are n, width and rows.
fn by_rows(kernel: crate::Kernel, elements: usize, width: usize, rows: usize) -> Dispatch {
    let vec4 = width.is_multiple_of(4);
    let unit = if vec4 { 4 } else { 1 };
    Dispatch::linear(kernel, elements / unit).flag("VEC4", vec4).dims(&[elements / unit, width / unit, rows])
}

fn lower_bits(inputs: &[&TensorType], output: &TensorType, missing: u32) -> Lowered {
    let table = &inputs[0].shape;
    by_rows(kernel!("movement/gather"), output.elements(), table[1..].iter().product(), table[0])
        .dims(&[missing as usize])
        .bind(2)
        .into()
}

/// A random table's shape and the shape of indices into it.
fn sample_shapes(rng: &mut Rng) -> (Vec<usize>, Vec<usize>) {
    let mut table = vec![awkward_size(rng, 70)];
    table.extend((0..rng.below(4)).map(|_| awkward_size(rng, 9)));
    let index = if rng.below(4) == 0 { vec![1 + rng.below(5), 1 + rng.below(5)] } else { vec![awkward_size(rng, 65)] };
    (table, index)
}

impl Op for Gather {
    fn name(&self) -> &'static str {
        "gather"
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<TensorType, String> {
        gathered(inputs, DType::F32).map(TensorType::f32)
    }

    fn backward<'g>(&self, x: &[Var<'g>], _: Var<'g>, dy: Var<'g>) -> Result<Vec<Option<Var<'g>>>> {
        let rows = x[0].shape()[0];
        Ok(vec![Some(dy.graph().push(GatherGrad { rows }, &[dy, x[1]])?), None])
    }

    fn lower(&self, _: &Caps, inputs: &[&TensorType], output: &TensorType) -> Lowered {
        lower_bits(inputs, output, 0)
    }

    fn reference(&self, inputs: &mut [Vec<f64>], types: &[&TensorType], _: &TensorType) -> Vec<f64> {
        gather_rows(inputs, &types[0].shape, 0.0, |v| v)
    }

    fn sample(rng: &mut Rng) -> TestCase {
        let (table, index) = sample_shapes(rng);
        let bound = table[0] + 2;
        TestCase::new(|x| x[0].gather(x[1])).normal(rng, table).index(rng, index, bound)
    }
}

impl Op for GatherGrad {
    fn name(&self) -> &'static str {
        "gather_grad"
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<TensorType, String> {
        match inputs {
            [dy, index]
                if dy.dtype == DType::F32 && index.dtype == DType::U32 && dy.shape.starts_with(&index.shape) =>
            {
                Ok(TensorType::f32([&[self.rows], &dy.shape[index.shape.rank()..]].concat()))
            }
            _ => Err(format!("takes u32 indices and an f32 tensor whose first axes are theirs, not {inputs:?}")),
        }
    }

    fn backward<'g>(&self, x: &[Var<'g>], _: Var<'g>, dtable: Var<'g>) -> Result<Vec<Option<Var<'g>>>> {
        Ok(vec![Some(dtable.gather(x[1])?), None])
    }

    fn lower(&self, _: &Caps, inputs: &[&TensorType], output: &TensorType) -> Lowered {
        let (rows, b) = (self.rows, inputs[1].elements());
        let links = Dispatch::linear(kernel!("movement/gather_links"), rows + b)
            .dims(&[rows, b])
            .args([Arg::Input(1), Arg::Scratch(0)])
            .iterations(b);
        let sums =
            by_rows(kernel!("movement/gather_grad"), output.elements(), output.shape[1..].iter().product(), rows)
                .args([Arg::Input(0), Arg::Scratch(0), Arg::Output])
                .iterations(b)
                .flops(inputs[0].elements());
        Lowered { dispatches: vec![links, sums], scratch: vec![4 * (rows + b)] }
    }

    fn reference(&self, inputs: &mut [Vec<f64>], _: &[&TensorType], output: &TensorType) -> Vec<f64> {
        let width: usize = output.shape[1..].iter().product();
        let mut table = vec![0.0; output.elements()];
        for (j, &index) in inputs[1].iter().enumerate().filter(|(_, index)| **index < self.rows as f64) {
            for column in 0..width {
                table[index as usize * width + column] += inputs[0][j * width + column];
            }
        }
        table
    }

    fn sample(rng: &mut Rng) -> TestCase {
        let (table, index) = sample_shapes(rng);
        let op = GatherGrad { rows: table[0] };
        let dy = [&index[..], &table[1..]].concat();
        TestCase::new(move |x| x[0].graph().push(op, x)).normal(rng, dy).index(rng, index, table[0] + 2)
    }
}

impl Op for GatherLabels {
    fn name(&self) -> &'static str {
        "gather_labels"
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<TensorType, String> {
        gathered(inputs, DType::U32).map(TensorType::u32)
    }

    fn backward<'g>(&self, _: &[Var<'g>], y: Var<'g>, _: Var<'g>) -> Result<Vec<Option<Var<'g>>>> {
        Err(y.not_differentiable())
    }

    fn lower(&self, _: &Caps, inputs: &[&TensorType], output: &TensorType) -> Lowered {
        lower_bits(inputs, output, u32::MAX)
    }

    fn reference(&self, inputs: &mut [Vec<f64>], types: &[&TensorType], _: &TensorType) -> Vec<f64> {
        gather_rows(inputs, &types[0].shape, f64::from(u32::MAX), |v| v)
    }

    fn sample(rng: &mut Rng) -> TestCase {
        let (table, index) = sample_shapes(rng);
        let bound = table[0] + 2;
        TestCase::forward_only(GatherLabels).index(rng, table, 1000).index(rng, index, bound)
    }
}

impl Op for GatherImages {
    fn name(&self) -> &'static str {
        "gather_images"
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<TensorType, String> {
        gathered(inputs, DType::U8).map(TensorType::f32)
    }

    fn backward<'g>(&self, _: &[Var<'g>], y: Var<'g>, _: Var<'g>) -> Result<Vec<Option<Var<'g>>>> {
        Err(y.not_differentiable())
    }

    fn lower(&self, _: &Caps, inputs: &[&TensorType], output: &TensorType) -> Lowered {
        let table = &inputs[0].shape;
        by_rows(kernel!("movement/gather_images"), output.elements(), table[1..].iter().product(), table[0])
            .floats(&[self.scale, self.shift])
            .bind(2)
            .flops(2 * output.elements())
            .into()
    }

    fn reference(&self, inputs: &mut [Vec<f64>], types: &[&TensorType], _: &TensorType) -> Vec<f64> {
        let (scale, shift) = (f64::from(self.scale), f64::from(self.shift));
        gather_rows(inputs, &types[0].shape, 0.0, |byte| scale * byte + shift)
    }

    fn sample(rng: &mut Rng) -> TestCase {
        let (table, index) = sample_shapes(rng);
        let ty = TensorType::u8(table);
        let (rows, bytes) = (ty.shape[0], (0..ty.elements()).map(|_| rng.below(256) as f64).collect());
        let op = GatherImages { scale: rng.range(0.001, 0.1), shift: rng.normal() };
        TestCase::forward_only(op).input(ty, bytes).index(rng, index, rows + 2)
    }
}

impl<'g> Var<'g> {
    /// Rows of this table by index; zeros where an index is out of range. It is also the embedding of tokens.
    /// Shapes: table f32 `[rows, d…]`, index u32 `[b…]`, to f32 `[b…, d…]`.
    ///
    /// # Errors
    /// [`Error::Shape`](crate::Error::Shape) when the types are not these.
    pub fn gather(self, index: Var<'g>) -> Result<Var<'g>> {
        self.graph().push(Gather, &[self, index])
    }

    /// Labels by index; `u32::MAX`, which losses ignore, where an index is out of range.
    /// Shapes: labels u32 `[n]`, index u32 `[b…]`, to u32 `[b…]`.
    ///
    /// # Errors
    /// [`Error::Shape`](crate::Error::Shape) when the types are not these.
    pub fn gather_labels(self, index: Var<'g>) -> Result<Var<'g>> {
        self.graph().push(GatherLabels, &[self, index])
    }

    /// `scale · byte + shift` of stored images by index; zeros where an index is out of range. It has no gradient.
    /// Shapes: images u8 `[n, c, h, w]`, index u32 `[b]`, to f32 `[b, c, h, w]`; any number of axes will do.
    ///
    /// # Errors
    /// [`Error::Shape`](crate::Error::Shape) when the types are not these.
    pub fn gather_images(self, index: Var<'g>, scale: f32, shift: f32) -> Result<Var<'g>> {
        self.graph().push(GatherImages { scale, shift }, &[self, index])
    }
}
