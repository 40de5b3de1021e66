//! The [`Op`] trait: the whole description of one operation, in one place.
//!
//! An op is a plain struct that implements [`Op`]. Those of this crate lie in `ops/<family>/<op>.rs` and stand in the `ops!` list of
//! `ops/mod.rs`, which hands their random cases to the generic test. Ops defined elsewhere are recorded in the same way
//! ([`Graph::push`](crate::Graph::push)) and take the same checks ([`check_op`](crate::check_op)).

use std::any::Any;
use std::fmt;
use std::rc::Rc;

use half::f16;

use crate::device::caps::Caps;
use crate::error::Result;
use crate::graph::Var;
use crate::graph::facts::Facts;
use crate::plan::kernel::{Kernel, Variant};
use crate::shape::{DType, Shape, TensorType};
use trellis_rng::Rng;

/// One operation: its shapes, gradient, kernels, definition and random cases. `examples/own_op.rs` is one from outside this crate.
pub trait Op: fmt::Debug + Any {
    /// Name in errors, prints and profiles.
    fn name(&self) -> &'static str;

    /// The shape rule: the output's type, or the rule that the inputs break.
    fn infer(&self, inputs: &[&TensorType]) -> Result<TensorType, String>;

    /// The backward rule: records the gradient of every input, given inputs `x`, output `y` and its gradient `dy`.
    /// `None` stands for a zero gradient, or one that is already counted in another input's.
    ///
    /// # Errors
    /// [`Var::not_differentiable`] where there is no rule.
    fn backward<'g>(&self, x: &[Var<'g>], y: Var<'g>, dy: Var<'g>) -> Result<Vec<Option<Var<'g>>>>;

    /// Facts of the output, given those of the inputs, for any numbers.
    fn facts(&self, inputs: &[Facts]) -> Facts {
        let _ = inputs;
        Facts::default()
    }

    /// The dispatches that compute it on an adapter, with their costs.
    fn lower(&self, caps: &Caps, inputs: &[&TensorType], output: &TensorType) -> Lowered;

    /// The definition: the same in f64 on the CPU, as a reader would write it. An op that updates inputs in place
    /// writes them here too.
    fn reference(&self, inputs: &mut [Vec<f64>], types: &[&TensorType], output: &TensorType) -> Vec<f64>;

    /// A random legal case for the generic test: odd sizes, 1, 0 where legal, larger than a tile.
    fn sample(rng: &mut Rng) -> TestCase
    where
        Self: Sized;

    /// Inputs that the op updates in place. Such an op always runs, even if nothing reads its output.
    fn updates(&self) -> &'static [usize] {
        &[]
    }

    /// Number of the input that is the step state at which this op updates parameters. A plan with such an op advances it at
    /// its end.
    fn step_state(&self) -> Option<usize> {
        None
    }

    /// Fusion rule: an op that computes `consumer` right after `self`. `self`'s output is `consumer`'s input number `position`,
    /// and no other op reads it. The inputs of the fused op are those of `self`, then the other inputs of `consumer`. `own` is
    /// the type of `self`'s output, `inputs` are the types of all inputs of `consumer`.
    fn fuse_consumer(
        &self,
        consumer: &dyn Op,
        position: usize,
        own: &TensorType,
        inputs: &[&TensorType],
    ) -> Option<Rc<dyn Op>> {
        let _ = (consumer, position, own, inputs);
        None
    }
}

/// An op as dispatches. Most are one.
#[derive(Clone, Debug)]
pub struct Lowered {
    /// The launches, in order.
    pub dispatches: Vec<Dispatch>,
    /// Sizes in bytes of buffers that live only within the op.
    pub scratch: Vec<usize>,
}

impl From<Dispatch> for Lowered {
    fn from(dispatch: Dispatch) -> Self {
        Self { dispatches: vec![dispatch], scratch: Vec::new() }
    }
}

/// One kernel launch.
#[derive(Clone, Debug)]
pub struct Dispatch {
    /// The kernel and its specialization.
    pub variant: Variant,
    /// Words of the uniform `dims` (at most 64; floats by their bits).
    pub dims: Vec<u32>,
    /// Buffers bound to storage bindings 1, 2, …
    pub args: Vec<Arg>,
    /// Workgroups.
    pub groups: [u32; 3],
    /// Floating-point operations, a multiply-add counted as two.
    pub flops: u64,
    /// Greatest number of loop iterations of one invocation, where it may be large; see [`Dispatch::iterations`].
    pub iterations: usize,
}

/// Buffer that a storage binding is bound to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arg {
    /// Input number i of the op.
    Input(usize),
    /// The op's output.
    Output,
    /// Scratch buffer number i of the op.
    Scratch(usize),
    /// Nothing: the variant does not use this binding.
    Unused,
}

impl Dispatch {
    /// A launch of `kernel` with a one-dimensional grid: `invocations` in workgroups of 256, wrapped into two
    /// dimensions past 65,535 workgroups (`shaders/lib/grid.wgsl` undoes it).
    pub fn linear(kernel: Kernel, invocations: usize) -> Self {
        let groups = invocations.div_ceil(256).max(1);
        let rows = groups.div_ceil(MAX_GROUPS);
        let columns = groups.div_ceil(rows);
        Self::grid(kernel, [columns, rows, 1])
    }

    /// A launch of `kernel` on a grid of workgroups. Past 65,535 in a dimension the engine launches another grid of as many
    /// workgroups, and the kernel still sees the grid asked for ([`Variant::grid`]).
    pub fn grid(kernel: Kernel, groups: [usize; 3]) -> Self {
        let mut variant = Variant::plain(kernel);
        let mut launched = groups;
        if groups.iter().any(|&n| n > MAX_GROUPS) {
            variant.grid = Some(groups.map(|n| n as u32));
            let all = groups.iter().product::<usize>();
            let rows = all.div_ceil(MAX_GROUPS);
            launched = [all.div_ceil(rows), rows, 1];
        }
        let groups = launched.map(|n| n as u32);
        Self { variant, dims: Vec::new(), args: Vec::new(), groups, flops: 0, iterations: 0 }
    }

    /// A launch with one workgroup for each of `items`, wrapped as in [`Dispatch::linear`].
    pub fn per_group(kernel: Kernel, items: usize) -> Self {
        Self::linear(kernel, 256 * items)
    }

    /// Appends sizes to `dims`.
    pub fn dims(mut self, sizes: &[usize]) -> Self {
        self.dims.extend(sizes.iter().map(|&size| size as u32));
        self
    }

    /// Appends floats to `dims`.
    pub fn floats(mut self, values: &[f32]) -> Self {
        self.dims.extend(values.iter().map(|value| value.to_bits()));
        self
    }

    /// Sets an `override` constant of the kernel.
    pub fn constant(mut self, name: &'static str, value: impl Into<f64>) -> Self {
        self.variant.constants.push((name, value.into()));
        self
    }

    /// Sets a constant of the kernel's text: the length of an array, the count of an unrolled loop.
    pub fn size(mut self, name: &'static str, value: usize) -> Self {
        self.variant.sizes.push((name, value as u32));
        self
    }

    /// Sets an `#if` flag of the kernel when `on`.
    pub fn flag(mut self, name: &'static str, on: bool) -> Self {
        if on {
            self.variant.flags.push(name);
        }
        self
    }

    /// Sets the number of invocations of a workgroup that share a sum or maximum, for kernels that import
    /// `shaders/lib/reduce.wgsl`. They use subgroup operations for it if the adapter has them.
    pub fn lanes(self, caps: &Caps, lanes: usize) -> Self {
        let shuffle = caps.shuffle > 0 && lanes > 1;
        let dispatch = self.constant("LANES", lanes as u32).flag("SHUFFLE", shuffle);
        if shuffle { dispatch.constant("SHUFFLE_SIZE", caps.shuffle) } else { dispatch }
    }

    /// Binds inputs 0, 1, … and the output, in that order.
    pub fn bind(self, inputs: usize) -> Self {
        self.args((0..inputs).map(Arg::Input).chain([Arg::Output]))
    }

    /// Sets the buffers bound to the storage bindings.
    pub fn args(mut self, args: impl IntoIterator<Item = Arg>) -> Self {
        self.args = args.into_iter().collect();
        self
    }

    /// Sets the greatest number of loop iterations of one invocation, where the sizes of tensors decide it and nothing bounds
    /// it. Software adapters leave a loop after 65,535 iterations without an error, so a plan for one refuses more.
    pub fn iterations(mut self, iterations: usize) -> Self {
        self.iterations = iterations;
        self
    }

    /// Sets the number of floating-point operations.
    pub fn flops(mut self, flops: usize) -> Self {
        self.flops = flops as u64;
        self
    }
}

/// Loop iterations after which software adapters (Mesa's llvmpipe) leave a loop.
pub(crate) const MAX_TURNS: usize = 65_535;

/// Workgroups per grid dimension that every adapter allows.
pub(crate) const MAX_GROUPS: usize = 65_535;

/// A random test case of an op: inputs, and how to record it.
pub struct TestCase {
    /// Inputs in order.
    pub inputs: Vec<TestInput>,
    /// Records the op.
    pub record: BuildCase,
    /// True if the gradient is checked against differences.
    pub differentiable: bool,
    /// True if intermediate values are rounded to f16: only as many digits are compared then.
    pub rounds_to_f16: bool,
    /// Least scale of the comparison: errors are relative to the greatest result, or to this number if all are smaller.
    pub least: f64,
}

/// Records an op on leaves of the sample's types.
pub type BuildCase = Box<dyn for<'g> Fn(&[Var<'g>]) -> Result<Var<'g>>>;

/// One input of a [`TestCase`].
#[derive(Clone, Debug)]
pub struct TestInput {
    /// Type of the input.
    pub ty: TensorType,
    /// Values, exactly representable in the element type.
    pub values: Vec<f64>,
}

impl TestCase {
    /// A case that records with `record`.
    pub fn new(record: impl for<'g> Fn(&[Var<'g>]) -> Result<Var<'g>> + 'static) -> Self {
        Self { inputs: Vec::new(), record: Box::new(record), differentiable: true, rounds_to_f16: false, least: 1e-3 }
    }

    /// A case that pushes `op` itself; for ops that have no gradient of their own, such as gradient kernels.
    pub fn forward_only<O: Op + Clone>(op: O) -> Self {
        let record: BuildCase = Box::new(move |inputs| inputs[0].graph().push(op.clone(), inputs));
        Self { inputs: Vec::new(), record, differentiable: false, rounds_to_f16: false, least: 1e-3 }
    }

    /// Adds an f32 input of standard normal values.
    pub fn normal(self, rng: &mut Rng, shape: impl Into<Shape>) -> Self {
        self.values(shape, || f64::from(rng.normal()))
    }

    /// Marks intermediate values as rounded to f16.
    pub fn rounds_to_f16(self) -> Self {
        Self { rounds_to_f16: true, ..self }
    }

    /// Marks results as differences of numbers of size `least`, which limit their precision.
    pub fn differences_of(self, least: f64) -> Self {
        Self { least, ..self }
    }

    /// Adds an input of standard normal values, f32 or rounded to f16.
    pub fn normal_of(self, rng: &mut Rng, dtype: DType, shape: impl Into<Shape>) -> Self {
        if dtype == DType::F32 {
            return self.normal(rng, shape);
        }
        let ty = TensorType::f16(shape);
        let values = (0..ty.elements()).map(|_| f16::from_f32(rng.normal()).to_f64()).collect();
        self.input(ty, values)
    }

    /// Adds an f32 input of values in `[low, high)`.
    pub fn uniform(self, rng: &mut Rng, shape: impl Into<Shape>, low: f32, high: f32) -> Self {
        self.values(shape, || f64::from(rng.range(low, high)))
    }

    /// Adds a u32 input of values below `bound`.
    pub fn index(mut self, rng: &mut Rng, shape: impl Into<Shape>, bound: usize) -> Self {
        let ty = TensorType::u32(shape);
        let values = (0..ty.elements()).map(|_| rng.below(bound) as f64).collect();
        self.inputs.push(TestInput { ty, values });
        self
    }

    /// Adds an f32 input whose values come from `next`.
    pub fn values(mut self, shape: impl Into<Shape>, mut next: impl FnMut() -> f64) -> Self {
        let ty = TensorType::f32(shape);
        let values = (0..ty.elements()).map(|_| next()).collect();
        self.inputs.push(TestInput { ty, values });
        self
    }

    /// Adds an input of any type.
    pub fn input(mut self, ty: TensorType, values: Vec<f64>) -> Self {
        debug_assert_eq!(ty.elements(), values.len());
        self.inputs.push(TestInput { ty, values });
        self
    }
}

/// A size that is likely to break a kernel: 1, around 16 and 64, or anything below `limit`.
pub(crate) fn awkward_size(rng: &mut Rng, limit: usize) -> usize {
    let edges = [1, 2, 3, 15, 16, 17, 31, 33, 63, 64, 65, 127, 129, 257];
    let candidates: Vec<usize> = edges.into_iter().filter(|&edge| edge <= limit).collect();
    if rng.below(2) == 0 { candidates[rng.below(candidates.len())] } else { 1 + rng.below(limit) }
}
