//! Parameters: many named tensors in few buffers, so that an optimizer updates them all in one dispatch.

use std::collections::HashMap;
use std::sync::Arc;

use crate::device::gpu::Gpu;
use crate::device::pool::Buffer;
use crate::error::Result;
use crate::ops::Pack;
use crate::shape::{Shape, TensorType};
use crate::tensor::Tensor;
use crate::train::init::Init;
use trellis_rng::Rng;

/// Description of a parameter: its name, shape and initial values.
#[derive(Clone, Debug)]
pub struct ParamSpec {
    /// Name, unique within a network: `fc1.weight`.
    pub name: String,
    /// Shape.
    pub shape: Shape,
    /// Initial values.
    pub values: InitialValues,
}

/// Initial values of a parameter.
#[derive(Clone, Debug)]
pub enum InitialValues {
    /// Given values, row-major.
    Given(Vec<f32>),
    /// Drawn from a stream of random numbers, in blocks, when the parameter is placed on the GPU.
    Drawn(Init, Rng),
}

impl From<Vec<f32>> for InitialValues {
    fn from(values: Vec<f32>) -> Self {
        Self::Given(values)
    }
}

/// The parameters of a network, in the order in which they were given.
#[derive(Clone, Debug, Default)]
pub struct Params {
    tensors: Vec<Tensor>,
    /// Place of each name in `tensors`.
    names: HashMap<String, usize>,
    arenas: Vec<Arena>,
}

/// One buffer of parameters, as large as the adapter can bind.
#[derive(Clone, Debug)]
pub(crate) struct Arena {
    /// The whole buffer as `f32[size]`.
    pub(crate) whole: Tensor,
    /// The parameters in it, and their offsets.
    pub(crate) tensors: Vec<Tensor>,
    pub(crate) layout: Pack,
}

impl Params {
    /// Places parameters on the GPU.
    ///
    /// # Errors
    /// When one is larger than the adapter can bind, or memory does not allow it.
    pub fn new(gpu: &Gpu, specs: &[ParamSpec]) -> Result<Self> {
        let limit = Self::largest(gpu);
        let mut params = Self::default();
        let mut rest = specs;
        while !rest.is_empty() {
            let mut size = 0;
            let fitting = rest.iter().take_while(|spec| {
                size += spec.shape.elements().next_multiple_of(64);
                size <= limit
            });
            let (now, later) = rest.split_at(fitting.count().max(1));
            params.add_arena(gpu, now)?;
            rest = later;
        }
        Ok(params)
    }

    /// Places tensors on the GPU, each in a buffer of its own. This is for tensors that each layer updates by itself, as
    /// dispatches that write one buffer wait for each other.
    ///
    /// # Errors
    /// As [`Params::new`].
    pub fn apart(gpu: &Gpu, specs: &[ParamSpec]) -> Result<Self> {
        let mut params = Self::default();
        specs.chunks(1).try_for_each(|spec| params.add_arena(gpu, spec))?;
        Ok(params)
    }

    /// Greatest number of values in one buffer of parameters, with a margin of a size class below the adapter's limit.
    pub fn largest(gpu: &Gpu) -> usize {
        gpu.caps().max_binding.min(gpu.caps().max_buffer) as usize / 5
    }

    fn add_arena(&mut self, gpu: &Gpu, specs: &[ParamSpec]) -> Result<()> {
        let layout = Pack::layout(specs.iter().map(|spec| spec.shape.elements()));
        let label = format!("parameters {} …", specs[0].name);
        let buffer = Arc::new(Buffer::new(gpu, &label, 4 * layout.size)?);
        let whole = Tensor::view(gpu, &label, TensorType::f32([layout.size]), buffer.clone(), 0);
        whole.clear();
        let mut tensors = Vec::with_capacity(specs.len());
        for (spec, offset) in specs.iter().zip(&layout.offsets) {
            let ty = TensorType::f32(spec.shape.clone());
            let tensor = Tensor::view(gpu, &spec.name, ty, buffer.clone(), 4 * offset);
            if !gpu.is_dry_run() {
                spec.write(&tensor)?;
            }
            tensors.push(tensor);
        }
        self.add(&tensors);
        self.arenas.push(Arena { whole, tensors, layout });
        Ok(())
    }

    /// Of several tensors of one name the first is found by it.
    fn add(&mut self, tensors: &[Tensor]) {
        for tensor in tensors {
            self.names.entry(tensor.name().to_string()).or_insert(self.tensors.len());
            self.tensors.push(tensor.clone());
        }
    }

    /// These parameters and `others`, the same tensors, for one optimizer.
    pub fn and(&self, others: &Self) -> Self {
        let mut all = self.clone();
        all.add(&others.tensors);
        all.arenas.extend(others.arenas.iter().cloned());
        all
    }

    /// All parameters.
    pub fn tensors(&self) -> &[Tensor] {
        &self.tensors
    }

    /// The parameter called `name`.
    pub fn get(&self, name: &str) -> Option<&Tensor> {
        self.names.get(name).map(|&at| &self.tensors[at])
    }

    pub(crate) fn arenas(&self) -> &[Arena] {
        &self.arenas
    }
}

impl ParamSpec {
    /// Writes the initial values.
    fn write(&self, tensor: &Tensor) -> Result<()> {
        let (init, mut rng) = match &self.values {
            InitialValues::Given(values) => return tensor.write_f32(values),
            InitialValues::Drawn(init, rng) => (*init, rng.clone()),
        };
        let mut values = init.sequence(&self.shape, &mut rng);
        // One block is in the CPU's memory, and one on its way to the GPU.
        let mut block: Vec<f32> = Vec::new();
        for first in (0..self.shape.elements()).step_by(Tensor::TRANSFER_BLOCK) {
            block.clear();
            block.extend(values.by_ref().take(Tensor::TRANSFER_BLOCK));
            tensor.write_f32_at(first, &block)?;
            if block.len() == Tensor::TRANSFER_BLOCK {
                tensor.gpu().flush()?;
            }
        }
        Ok(())
    }
}
