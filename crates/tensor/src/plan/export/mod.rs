//! Export: recorded plans as a document that any WebGPU program can replay. `docs/plan-format.md` describes it.
//!
//! A plan is data already: buffers, and dispatches that bind them. The document has the buffers with what a step finds in them, the
//! text of each kernel after the preprocessor, and the list of dispatches. Seeds, the step and schedules lie in buffers or
//! in the words of a dispatch, so a replay needs nothing from outside: running the list again is the next step.

mod document;
mod limits;
pub(crate) mod settings;

use std::collections::HashMap;
use std::sync::Arc;

use super::{BufferSlice, Plan};
use crate::device::gpu::Gpu;
use crate::device::pool::Buffer;
use crate::error::{Error, Result};
use crate::graph::Var;
use crate::plan::kernel::{Access, Variant};
use crate::shape::TensorType;
use crate::tensor::{Tensor, read_back};
use limits::Needs;

/// Plans of one device as a document, with the tensors that the reader of it may write or read. Plans that share buffers, such as
/// the guided and the unguided steps of one run, share them in the document too.
///
/// ```
/// use trellis_tensor::{Export, Gpu, GpuOptions, Graph, Plan, Tensor};
///
/// let gpu = Gpu::with(&GpuOptions { portable: true, ..GpuOptions::from_env()? })?;
/// let x = Tensor::from_f32(&gpu, "x", [3], &[1.0, 2.0, 3.0])?;
/// let graph = Graph::new();
/// let y = graph.leaf(&x).tanh()?;
/// let plan = Plan::new(&gpu, &graph, &[y])?;
///
/// let mut export = Export::new(&gpu);
/// export.plan("tanh", &plan, &[("y", y)])?;
/// export.tensor("x", &x)?;
/// let document = export.to_json();
/// assert_eq!(document["plans"]["tanh"]["dispatches"][0]["kernel"], 0);
/// assert_eq!(document["tensors"]["x"]["shape"], serde_json::json!([3]));
/// # Ok::<(), trellis_tensor::Error>(())
/// ```
pub struct Export {
    gpu: Gpu,
    buffers: Vec<Exported>,
    numbers: HashMap<*const Buffer, usize>,
    kernels: Vec<ExportedKernel>,
    kernel_numbers: HashMap<String, usize>,
    plans: Vec<ExportedPlan>,
    tensors: Vec<(String, Place)>,
    settings: Vec<settings::Setting>,
}

/// A buffer, and what a step finds in it; `None` if it writes before it reads.
struct Exported {
    buffer: Arc<Buffer>,
    contents: Option<Vec<u8>>,
}

/// A kernel with its flags and constants fixed.
struct ExportedKernel {
    variant: Variant,
    text: String,
    access: Vec<Access>,
    needs: Needs,
}

struct ExportedPlan {
    name: String,
    dispatches: Vec<ExportedDispatch>,
    outputs: Vec<(String, Place)>,
}

struct ExportedDispatch {
    kernel: usize,
    groups: [u32; 3],
    dims: Vec<u32>,
    bind: Vec<Binding>,
    op: &'static str,
    layer: String,
    flops: u64,
    bytes: u64,
}

/// Part of a buffer that a dispatch binds.
struct Binding {
    buffer: usize,
    offset: usize,
    bytes: usize,
}

/// A tensor within a buffer.
struct Place {
    buffer: usize,
    offset: usize,
    ty: TensorType,
}

impl Export {
    /// A document without plans.
    pub fn new(gpu: &Gpu) -> Self {
        Self {
            gpu: gpu.clone(),
            buffers: Vec::new(),
            numbers: HashMap::new(),
            kernels: Vec::new(),
            kernel_numbers: HashMap::new(),
            plans: Vec::new(),
            tensors: Vec::new(),
            settings: Vec::new(),
        }
    }

    /// Adds a plan under a name, with the values that it keeps and a reader wants. Buffers are as they are now.
    ///
    /// # Errors
    /// [`Error::NotPortable`] with the kernel and the limit if it needs more than every WebGPU adapter has; [`Error::NotKept`];
    /// [`Error::DeviceLost`].
    pub fn plan(&mut self, name: &str, plan: &Plan, outputs: &[(&str, Var<'_>)]) -> Result<()> {
        for (place, bytes) in &plan.given {
            self.give(place, *bytes)?;
        }
        let mut dispatches = Vec::with_capacity(plan.launches.len());
        for launch in &plan.launches {
            let (pending, info) = (&launch.pending, &launch.info);
            let kernel = self.kernel(&pending.dispatch.variant)?;
            let mut bind = Vec::with_capacity(pending.bindings.len());
            for (place, bytes) in &pending.bindings {
                limits::check_binding(info.kernel, *bytes)?;
                let bytes = (*bytes).max(16).next_multiple_of(4);
                bind.push(Binding { buffer: self.number(&place.buffer), offset: place.offset, bytes });
            }
            dispatches.push(ExportedDispatch {
                kernel,
                groups: launch.groups,
                dims: pending.dispatch.dims.clone(),
                bind,
                op: info.op,
                layer: info.layer.clone(),
                flops: info.flops,
                bytes: info.bytes,
            });
        }
        let mut places = Vec::with_capacity(outputs.len());
        for (output, var) in outputs {
            let (place, ty) = plan.kept(*var)?;
            places.push((output.to_string(), self.place(place, ty)));
        }
        self.plans.push(ExportedPlan { name: name.to_string(), dispatches, outputs: places });
        Ok(())
    }

    /// Adds a tensor under a name, with its values: one that a reader writes before a step, or reads after it.
    ///
    /// # Errors
    /// [`Error::DeviceLost`].
    pub fn tensor(&mut self, name: &str, tensor: &Tensor) -> Result<()> {
        let slice = BufferSlice { buffer: tensor.buffer().clone(), offset: tensor.offset() };
        self.give(&slice, tensor.ty().bytes())?;
        let place = self.place(&slice, tensor.ty());
        self.tensors.push((name.to_string(), place));
        Ok(())
    }

    fn place(&mut self, place: &BufferSlice, ty: &TensorType) -> Place {
        Place { buffer: self.number(&place.buffer), offset: place.offset, ty: ty.clone() }
    }

    /// The number of a buffer in the document.
    fn number(&mut self, buffer: &Arc<Buffer>) -> usize {
        *self.numbers.entry(Arc::as_ptr(buffer)).or_insert_with(|| {
            self.buffers.push(Exported { buffer: buffer.clone(), contents: None });
            self.buffers.len() - 1
        })
    }

    /// Copies what a step finds in a slice.
    fn give(&mut self, place: &BufferSlice, bytes: usize) -> Result<()> {
        let number = self.number(&place.buffer);
        let words = bytes.div_ceil(4);
        let found: Vec<u32> = read_back(&self.gpu, &place.buffer, place.offset, words)?;
        let Exported { buffer, contents } = &mut self.buffers[number];
        let contents = contents.get_or_insert_with(|| vec![0; buffer.size() as usize]);
        contents[place.offset..place.offset + 4 * words].copy_from_slice(bytemuck::cast_slice(&found));
        Ok(())
    }

    fn kernel(&mut self, variant: &Variant) -> Result<usize> {
        let key = variant.key();
        if let Some(&known) = self.kernel_numbers.get(&key) {
            return Ok(known);
        }
        let (text, access) = (variant.text()?, variant.kernel.bindings()?);
        let needs = Needs::of(variant, &text)?;
        needs.check(variant.kernel.name, access.len())?;
        self.kernels.push(ExportedKernel { variant: variant.clone(), text, access, needs });
        self.kernel_numbers.insert(key, self.kernels.len() - 1);
        Ok(self.kernels.len() - 1)
    }
}

/// A plan that asks for more than every WebGPU adapter has.
fn not_portable(kernel: &str, problem: String) -> Error {
    Error::NotPortable { kernel: kernel.to_string(), problem }
}
