//! A small tensor and autograd engine on wgpu. Record a step once, replay it many times.
//!
//! ```text
//! Graph  --grad-->  Graph  --Plan::new-->  Plan  --run(n)-->  n × one compute pass
//! record ops,       append     fuse, share buffers,           nothing allocated,
//! check shapes      backward   compile kernels                compiled or read back
//! ```
//!
//! Read in this order: [`shape`](Shape), [`op`](Op), `ops/matmul.rs` with `shaders/matmul_naive.wgsl`, [`graph`](Graph),
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

mod adapter;
mod attention_form;
mod attention_mask;
mod autograd;
mod buffer;
mod cka_form;
mod curve;
mod error;
mod fuse;
mod gpu;
mod gpu_options;
mod graph;
mod init;
mod kernel;
mod log;
mod matrix_units;
mod mesa;
mod op;
pub mod ops;
mod optimizer;
mod params;
mod plan;
mod product;
mod profile;
mod recompute;
mod recurrence_form;
mod reference;
pub mod rng;
mod schedule;
mod shape;
mod subgroups;
mod tensor;

pub use adapter::AdapterSummary;
pub use attention_form::{AttentionForm, AttentionTile};
pub use attention_mask::{AttentionDropout, AttentionMask, KeyMask};
pub use cka_form::{CkaCost, CkaForm, CkaSizes};
pub use curve::{Clock, Curve};
pub use error::{Error, Result};
pub use gpu::{Caps, Counters, Gpu};
pub use gpu_options::{GpuOptions, user_cache};
pub use graph::{Graph, Scope, Var};
pub use init::Init;
pub use kernel::{Access, Kernel, Variant};
pub use log::{Log, Row};
pub use op::{Arg, Dispatch, Lowered, Op, Record, Registered, Sample, SampleInput};
pub use ops::{Cell, Layout, LossScale, RecurrentLayer};
pub use optimizer::{Optimizer, OptimizerConfig, Rule};
pub use params::{InitialValues, ParamSpec, Params};
pub use plan::{LaunchInfo, Plan};
pub use product::{Block, ProductLoop, TunedProduct, Tuning, Units};
pub use profile::{LaunchTime, StepTime};
pub use recompute::Recompute;
pub use recurrence_form::RecurrenceForm;
pub use reference::Reference;
pub use shape::{DType, Shape, TensorType};
pub use tensor::Tensor;
