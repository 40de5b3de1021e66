//! A small tensor and autograd engine on wgpu. Record a step once, replay it many times.
//!
//! ```text
//! Graph  --grad-->  Graph  --Plan::new-->  Plan  --run(n)-->  n × one compute pass
//! record ops,       append     fuse, share buffers,           nothing allocated,
//! check shapes      backward   compile kernels                compiled or read back
//! ```
//!
//! Read in this order: [`shape`](Shape), [`op`](Op), `ops/gemm/matmul.rs` with `shaders/gemm/matmul_naive.wgsl`, [`graph`](Graph),
//! `graph/autograd.rs`, `plan/fuse.rs`, [`plan`](Plan).
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
//!
//! A network is trained by replaying a plan that ends in [`Optimizer::update`]. The step counter advances with each update; a
//! [`Log`] brings metrics back while later steps run.
//!
//! ```
//! use trellis_rng::Rng;
//! use trellis_tensor::{
//!     StepState, Schedule, Gpu, Graph, Init, Layout, Log, Optimizer, OptimizerConfig, ParamSpec, Params, Plan, Tensor,
//! };
//!
//! let gpu = Gpu::new()?;
//! let rng = &mut Rng::new(0, 0);
//! let x = Tensor::from_f32(&gpu, "x", [64, 2], &(0..128).map(|_| rng.normal()).collect::<Vec<_>>())?;
//! let labels: Vec<u32> = x.read_f32()?.chunks(2).map(|x| u32::from(x[0] * x[1] > 0.0)).collect();
//! let labels = Tensor::from_u32(&gpu, "labels", [64], &labels)?;
//!
//! let mut draw = |name: &str, shape: [usize; 2]| {
//!     let values = Init::Default.values(&shape.into(), rng).into();
//!     ParamSpec { name: name.into(), shape: shape.into(), values }
//! };
//! let params = Params::new(&gpu, &[draw("hidden", [32, 2]), draw("head", [2, 32])])?;
//! let optimizer = Optimizer::new(&gpu, &params, OptimizerConfig::adam(Schedule::Constant(0.03)))?;
//! let (step_state, mut log, graph) = (StepState::new(&gpu)?, Log::new(&gpu, 1)?, Graph::new());
//!
//! let [hidden, head] = [0, 1].map(|i| graph.leaf(&params.tensors()[i]));
//! let features = graph.leaf(&x).matmul(hidden, Layout::NT)?.relu()?;
//! let loss = features.matmul(head, Layout::NT)?.cross_entropy(graph.leaf(&labels), 0.0)?;
//! optimizer.update(&graph, loss, &step_state)?;
//! log.record(&graph, &step_state, &[loss])?;
//!
//! let plan = Plan::new(&gpu, &graph, &[])?;
//! plan.run(60)?;
//! log.request(0, 60);
//! let losses: Vec<f32> = log.collect(true)?.iter().map(|row| row.values[0]).collect();
//! assert!(losses[59] < 0.6 * losses[0], "{losses:?}");
//! assert_eq!(step_state.step()?, 60);
//! # Ok::<(), trellis_tensor::Error>(())
//! ```

mod check;
mod device;
mod error;
mod graph;
pub mod ops;
mod plan;
mod shape;
mod tensor;
mod train;

pub use check::{GradientErrors, KernelError, check_op};
pub use device::adapter::AdapterSummary;
pub use device::caps::Caps;
pub use device::counters::Counters;
pub use device::gpu::Gpu;
pub use device::options::{GpuOptions, user_cache};
pub use error::{Error, Result};
pub use graph::facts::Facts;
pub use graph::interpreter::Interpreter;
pub use graph::op::{Arg, BuildCase, Dispatch, Lowered, Op, TestCase, TestInput};
pub use graph::recompute::Recompute;
pub use graph::{Graph, Scope, Var};
pub use ops::alignment::cost_model::{CkaCost, CkaForm, CkaSizes};
pub use ops::attention::form::{AttentionForm, AttentionTile};
pub use ops::attention::layer::AttentionOptions;
pub use ops::attention::mask::{AttentionDropout, AttentionMask, KeyMask};
pub use ops::attention::pair_loops::PairLoops;
pub use ops::gemm::members::{Block, GemmVariant, Layout, TunedProduct, Tuning, Units};
pub use ops::recurrent::cell::Cell;
pub use ops::recurrent::form::RecurrenceForm;
pub use ops::recurrent::recurrence::RecurrentLayer;
pub use ops::update::loss_scale::LossScale;
pub use plan::export::Export;
pub use plan::export::settings::SettingValues;
#[doc(hidden)]
pub use plan::kernel::file_name;
pub use plan::kernel::{Access, Kernel, Variant};
pub use plan::timing::{LaunchTime, SpanTime, StepTime};
pub use plan::{LaunchInfo, Plan};
pub use shape::{DType, Shape, TensorType};
pub use tensor::Tensor;
pub use train::init::Init;
pub use train::metrics::{Log, Row};
pub use train::optimizer::{Optimizer, OptimizerConfig, Rule};
pub use train::params::{InitialValues, ParamSpec, Params};
pub use train::schedule::{Schedule, StepState};
