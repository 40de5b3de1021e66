//! A small tensor and autograd engine on wgpu. Record a step once, replay it many times.
//!
//! ```text
//! Graph  --grad-->  Graph  --Plan::new-->  Plan  --run(n)-->  n × one compute pass
//! record ops,       append     fuse, share buffers,           nothing allocated,
//! check shapes      backward   compile kernels                compiled or read back
//! ```
//!
//! Read in this order: [`shape`](Shape), [`op`](Op), `ops/gemm/matmul.rs` with `shaders/gemm/matmul_naive.wgsl`, [`graph`](Graph),
//! `autograd.rs`, `fuse.rs`, [`plan`](Plan).
//!
//! ```
//! use trellis_tensor::{Gpu, Graph, Layout, Plan, Tensor};
//!
//! let gpu = Gpu::new()?;
//! let w = Tensor::from_f32(&gpu, "w", [2, 3], &[1., 2., 3., 4., 5., 6.])?;
//!
//! let graph = Graph::new();
//! let w = graph.leaf(&w);
//! let gram = w.matmul(w, Layout::NT)?; // w wᵀ, [2, 2]
//! let loss = gram.sum_all()?;
//! let grad = graph.grad(loss, &[w])?[0];
//!
//! let plan = Plan::new(&gpu, &graph, &[loss, grad])?;
//! plan.run(1)?;
//! assert_eq!(plan.read(loss)?, [155.0]); // |(5, 7, 9)|²
//! assert_eq!(plan.read(grad)?, [10., 14., 18., 10., 14., 18.]);
//! # Ok::<(), trellis_tensor::Error>(())
//! ```

mod device;
mod error;
mod graph;
pub mod ops;
mod plan;
pub mod rng;
mod shape;
mod tensor;
mod train;

pub use device::adapter::AdapterSummary;
pub use ops::attention::form::{AttentionForm, AttentionTile};
pub use ops::attention::mask::{AttentionDropout, AttentionMask, KeyMask};
pub use ops::alignment::cost_model::{CkaCost, CkaForm, CkaSizes};
pub use train::schedule::{Clock, Curve};
pub use error::{Error, Result};
pub use device::gpu::{Caps, Counters, Gpu};
pub use device::options::{GpuOptions, user_cache};
pub use graph::{Graph, Scope, Var};
pub use train::init::Init;
#[doc(hidden)]
pub use plan::kernel::file_name;
pub use plan::kernel::{Access, Kernel, Variant};
pub use train::metrics::{Log, Row};
pub use graph::op::{Arg, Dispatch, Lowered, Op, Record, Registered, Sample, SampleInput};
pub use ops::{Cell, Layout, LossScale, RecurrentLayer};
pub use train::optimizer::{Optimizer, OptimizerConfig, Rule};
pub use train::params::{InitialValues, ParamSpec, Params};
pub use plan::{LaunchInfo, Plan};
pub use ops::gemm::variant::{Block, ProductLoop, TunedProduct, Tuning, Units};
pub use plan::timing::{LaunchTime, StepTime};
pub use graph::recompute::Recompute;
pub use ops::recurrent::form::RecurrenceForm;
pub use graph::interpreter::Reference;
pub use shape::{DType, Shape, TensorType};
pub use tensor::Tensor;
