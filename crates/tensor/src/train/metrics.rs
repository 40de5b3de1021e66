//! Metrics: a ring of rows on the GPU, one row a step, copied out while later steps run.

use std::sync::mpsc::{self, Receiver, TryRecvError};

use crate::device::gpu::Gpu;
use crate::error::{Error, Result};
use crate::graph::{Graph, Var};
use crate::ops::EndStep;
use crate::shape::TensorType;
use crate::tensor::Tensor;
use crate::train::schedule::StepState;

/// Metrics of a training loop. [`Log::record`] writes those of a step into its row; [`Log::request`] after a chunk of steps
/// starts copying the rows, [`Log::collect`] fetches them when they have arrived.
pub struct Log {
    gpu: Gpu,
    ring: Tensor,
    columns: usize,
    pending: Vec<Request>,
}

/// The metrics of one step.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// The step.
    pub step: u32,
    /// The step at which a gradient was first not finite, if that has happened.
    pub failed_step: Option<u32>,
    /// Metrics in the order of [`Log::record`].
    pub values: Vec<f32>,
}

struct Request {
    first: u32,
    count: usize,
    staging: wgpu::Buffer,
    arrived: Receiver<Result<(), wgpu::BufferAsyncError>>,
}

impl Log {
    /// Rows that the ring holds: steps that may run between two requests.
    pub const CAPACITY: usize = 64;

    /// A log of `metrics` numbers a step.
    ///
    /// # Errors
    /// When memory does not allow it.
    pub fn new(gpu: &Gpu, metrics: usize) -> Result<Self> {
        let columns = metrics + 1;
        let ring = Tensor::zeros(gpu, "metrics", TensorType::f32([Self::CAPACITY, columns]))?;
        Ok(Self { gpu: gpu.clone(), ring, columns, pending: Vec::new() })
    }

    /// The ring, `f32[64, columns]`: a row has the step that failed + 1 or 0, then the metrics.
    pub fn ring(&self) -> &Tensor {
        &self.ring
    }

    /// Records metrics of a step into its row. The first element of a tensor is a metric; of a tensor `[rows, …]` of two axes the
    /// first element of each row. Missing metrics of an unguided step, say, are left out at the end.
    ///
    /// # Errors
    /// [`Error::Shape`] when there are more metrics than the log has columns. [`Plan::new`](crate::Plan::new) refuses metrics of a
    /// step that does not end: update parameters with the same step state, or call [`StepState::advance`].
    pub fn record<'g>(&self, graph: &'g Graph, step_state: &StepState, metrics: &[Var<'g>]) -> Result<()> {
        let _scope = graph.scope("metrics");
        let (step_state, ring) = (graph.leaf(step_state.tensor()), graph.leaf(&self.ring));
        let chunks: Vec<&[Var<'g>]> =
            if metrics.is_empty() { vec![&[]] } else { metrics.chunks(EndStep::TENSORS).collect() };
        let mut first = 1;
        for chunk in chunks {
            let end = EndStep { first, advance: false };
            graph.push(end, &[&[step_state, ring], chunk].concat())?;
            first += chunk.iter().map(|tensor| EndStep::metrics(&tensor.ty())).sum::<usize>();
        }
        Ok(())
    }

    /// Starts to copy the rows of `count` steps, the first being `first`, without blocking.
    ///
    /// # Panics
    /// If `count` exceeds [`Log::CAPACITY`]: those rows are overwritten already.
    pub fn request(&mut self, first: u32, count: usize) {
        assert!(count <= Self::CAPACITY, "rows of more steps than the ring holds");
        let bytes = self.ring.ty().bytes() as u64;
        let staging = self.gpu.device().create_buffer(&wgpu::BufferDescriptor {
            label: Some("metrics on their way"),
            size: bytes,
            usage: wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        });
        let mut encoder = self.gpu.device().create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        encoder.copy_buffer_to_buffer(self.ring.buffer().raw(), self.ring.offset() as u64, &staging, 0, Some(bytes));
        self.gpu.submit(encoder.finish());
        self.gpu.count_readback();
        let (sender, arrived) = mpsc::channel();
        // If the log is gone nothing reads the rows.
        staging.map_async(wgpu::MapMode::Read, .., move |outcome| drop(sender.send(outcome)));
        self.pending.push(Request { first, count, staging, arrived });
    }

    /// Rows that have arrived, oldest first. With `wait` it blocks for all that were requested. Else it blocks only if more
    /// than one request is open, so that the CPU runs at most one chunk ahead.
    ///
    /// # Errors
    /// [`Error::DeviceLost`].
    pub fn collect(&mut self, wait: bool) -> Result<Vec<Row>> {
        let mut rows = Vec::new();
        while let Some(request) = self.pending.first() {
            let lost = |message: String| Error::DeviceLost { message };
            let outcome = if wait || self.pending.len() > 1 {
                self.gpu.wait()?;
                // Another thread that polls may have taken the callback, and be about to call it.
                request.arrived.recv().map_err(|error| lost(error.to_string()))?
            } else {
                self.gpu.poll();
                match request.arrived.try_recv() {
                    Err(TryRecvError::Empty) => break,
                    arrived => arrived.map_err(|error| lost(error.to_string()))?,
                }
            };
            outcome.map_err(|error| lost(error.to_string()))?;
            let request = self.pending.remove(0);
            let view = request.staging.get_mapped_range(..).map_err(|error| lost(error.to_string()))?;
            let values: Vec<f32> = bytemuck::pod_collect_to_vec(&view);
            for step in request.first..request.first + request.count as u32 {
                let start = step as usize % Self::CAPACITY * self.columns;
                let row = &values[start..start + self.columns];
                let failed_step = (row[0] > 0.0).then(|| row[0] as u32 - 1);
                rows.push(Row { step, failed_step, values: row[1..].to_vec() });
            }
        }
        Ok(rows)
    }
}
