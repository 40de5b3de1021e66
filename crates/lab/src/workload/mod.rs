//! Workloads of `trellis bench` and `cargo bench`: fixed shapes, so that numbers compare across engines and years.

mod large;
mod recurrent;

use trellis_rng::Rng;
use trellis_tensor::{
    AttentionMask, Cell, CkaForm, CkaSizes, DType, GemmVariant, Gpu, Graph, Layout, Log, LossScale, Optimizer,
    OptimizerConfig, Plan, RecurrenceForm, Schedule, StepState, Tensor, Var, ops,
};

use crate::similarity::layer_matrix;
use trellis_guidance::alignment::{GuideSide, Pair};
use trellis_guidance::network::Mode;
use trellis_guidance::{CapturePoint, Cka, Cnn, Fcn, Metric, Network, Precision, Result};

/// A workload before it is compiled.
#[derive(Clone, Copy, Debug)]
pub struct Workload {
    /// Its name, for example `cka_fwd_n256_p512_q512`.
    pub name: &'static str,
    kind: Kind,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    /// Square product of this size, by the naive kernel or the tuned one.
    MatMul { size: usize, naive: bool },
    /// Square product of two f16 matrices of this size.
    HalfMatMul { size: usize },
    /// CKA of `[n, p]` with `[n, p]`; with the gradient of the first; through generic ops.
    CkaPair { n: usize, p: usize, backward: bool, generic: bool },
    /// CKA of `[n, p]` with `[n, p]` and the gradient of the first, in one of its two forms.
    CkaForm { form: CkaForm, n: usize, p: usize },
    /// CKA of `[n, p]` with `[n, p]` and the gradient of the first, where the products read centered activations as f16.
    HalfCka { n: usize, p: usize },
    /// One step of an MLP 784-512×8-10 with Adam, batch 128.
    Mlp { guide: Guide, precision: Precision },
    /// CKA of each of so many layers `[n, p]` with each of as many others.
    CkaMatrix { layers: usize, n: usize, p: usize },
    /// Attention of 4 sequences of 256 to themselves, 8 heads of 64; with the gradient; through products and softmax.
    Attention { causal: bool, backward: bool, generic: bool },
    /// One step of a causal recurrent network of 4 × 128 tanh units over 40 tokens of 13 with Adam, batch 64.
    Rnn,
    /// Forward through layers of a recurrent network, 40 steps of 64 sequences; with the gradient of all weights.
    Recurrence { cell: Cell, layers: usize, hidden: usize, backward: bool, form: Option<RecurrenceForm> },
    /// Forward through four layers of 128 tanh units, 40 steps of 64 sequences, by two products for each step of a layer.
    RecurrencePerStep,
    /// This many tiny dispatches.
    Dispatch(usize),
    /// One for a hardware GPU.
    Large(large::Large),
}

/// Guide of the MLP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Guide {
    /// Nothing.
    None,
    /// A CNN that runs in every step.
    Running,
    /// Its Gram matrices, looked up: fixed batches.
    LookedUp,
}

/// A workload ready to run.
pub struct Prepared {
    /// One repetition is one step of it.
    pub plan: Plan,
    /// Floating-point operations that the result needs, however it is computed; 0 where that says nothing.
    pub flops: u64,
}

/// Every workload for a hardware GPU.
pub fn large_workloads() -> Vec<Workload> {
    [large::workloads(), recurrent::large_workloads()].concat()
}

/// Every workload that a CPU can run too.
pub fn workloads() -> Vec<Workload> {
    let matmul = |name, size, naive| Workload { name, kind: Kind::MatMul { size, naive } };
    let small = |name, backward, generic| Workload { name, kind: Kind::CkaPair { n: 256, p: 512, backward, generic } };
    let wide = |name, backward, generic| Workload { name, kind: Kind::CkaPair { n: 128, p: 4096, backward, generic } };
    let features = |name, n, p| Workload { name, kind: Kind::CkaForm { form: CkaForm::Features, n, p } };
    let examples = |name, n, p| Workload { name, kind: Kind::CkaForm { form: CkaForm::Examples, n, p } };
    let mlp = |name, guide, precision| Workload { name, kind: Kind::Mlp { guide, precision } };
    let attention =
        |name, causal, backward, generic| Workload { name, kind: Kind::Attention { causal, backward, generic } };
    vec![
        matmul("matmul_f32_256", 256, false),
        matmul("matmul_f32_512", 512, false),
        matmul("matmul_f32_1024", 1024, false),
        matmul("matmul_naive_f32_512", 512, true),
        Workload { name: "matmul_f16_512", kind: Kind::HalfMatMul { size: 512 } },
        Workload { name: "matmul_f16_1024", kind: Kind::HalfMatMul { size: 1024 } },
        small("cka_fwd_n256_p512_q512", false, false),
        small("cka_fwd_n256_p512_q512_generic", false, true),
        small("cka_fwdbwd_n256_p512_q512", true, false),
        small("cka_fwdbwd_n256_p512_q512_generic", true, true),
        wide("cka_fwd_n128_p4096_q4096", false, false),
        wide("cka_fwd_n128_p4096_q4096_generic", false, true),
        wide("cka_fwdbwd_n128_p4096_q4096", true, false),
        wide("cka_fwdbwd_n128_p4096_q4096_generic", true, true),
        // On both sides of where the forms cost the same, and near it.
        features("cka_form_features_n1024_p64", 1024, 64),
        examples("cka_form_examples_n1024_p64", 1024, 64),
        features("cka_form_features_n512_p256", 512, 256),
        examples("cka_form_examples_n512_p256", 512, 256),
        features("cka_form_features_n256_p64", 256, 64),
        examples("cka_form_examples_n256_p64", 256, 64),
        features("cka_form_features_n128_p512", 128, 512),
        examples("cka_form_examples_n128_p512", 128, 512),
        Workload { name: "cka_fwdbwd_f16_n128_p4096_q4096", kind: Kind::HalfCka { n: 128, p: 4096 } },
        mlp("mlp_step_b128", Guide::None, Precision::F32),
        mlp("mlp_mixed_step_b128", Guide::None, Precision::Mixed(LossScale::default())),
        mlp("mlp_guided_step_b128", Guide::Running, Precision::F32),
        mlp("mlp_guided_fixed_step_b128", Guide::LookedUp, Precision::F32),
        Workload { name: "cka_matrix_24x24_n128_p512", kind: Kind::CkaMatrix { layers: 24, n: 128, p: 512 } },
        attention("attention_fwd_t256_d64", false, false, false),
        attention("attention_fwd_t256_d64_causal", true, false, false),
        attention("attention_fwd_t256_d64_generic", false, false, true),
        attention("attention_fwdbwd_t256_d64", false, true, false),
        attention("attention_fwdbwd_t256_d64_causal", true, true, false),
        attention("attention_fwdbwd_t256_d64_generic", false, true, true),
        Workload { name: "rnn_step_4x128_t40_b64", kind: Kind::Rnn },
        recurrent::workload("rnn_fwd_4x128_t40_b64", Cell::Tanh, [4, 128], false, None),
        Workload { name: "rnn_fwd_4x128_t40_b64_per_step", kind: Kind::RecurrencePerStep },
        recurrent::workload("rnn_fwdbwd_4x128_t40_b64", Cell::Tanh, [4, 128], true, None),
        recurrent::workload("lstm_fwdbwd_4x128_t40_b64", Cell::Lstm, [4, 128], true, None),
        recurrent::workload("gru_fwdbwd_4x128_t40_b64", Cell::Gru, [4, 128], true, None),
        Workload { name: "dispatch_500", kind: Kind::Dispatch(500) },
    ]
}

impl Workload {
    /// The sizes and the form of CKA that it times, if it is one of a pair that tests [`CkaForm::choose`].
    pub fn cka_form(&self) -> Option<(CkaSizes, CkaForm)> {
        match self.kind {
            Kind::CkaForm { form, n, p } => Some((CkaSizes { n, p, q: p, gradient: true }, form)),
            _ => None,
        }
    }

    /// Data and plan.
    ///
    /// # Errors
    /// When memory does not allow it.
    pub fn prepare(&self, gpu: &Gpu) -> Result<Prepared> {
        match self.kind {
            Kind::MatMul { size, naive } => {
                let graph = Graph::new();
                let (a, b) = (normal(gpu, [size, size], 1)?, normal(gpu, [size, size], 2)?);
                let (a, b) = (graph.leaf(&a), graph.leaf(&b));
                let product =
                    if naive { a.matmul_on(b, Layout::NN, GemmVariant::Naive)? } else { a.matmul(b, Layout::NN)? };
                Ok(Prepared { plan: Plan::new(gpu, &graph, &[product])?, flops: 2 * (size as u64).pow(3) })
            }
            Kind::HalfMatMul { size } => {
                let graph = Graph::new();
                let (a, b) = (halves(gpu, [size, size], 1)?, halves(gpu, [size, size], 2)?);
                let product = graph.leaf(&a).matmul(graph.leaf(&b), Layout::NN)?;
                Ok(Prepared { plan: Plan::new(gpu, &graph, &[product])?, flops: 2 * (size as u64).pow(3) })
            }
            Kind::HalfCka { n, p } => {
                let graph = Graph::new();
                let (x, y) = (normal(gpu, [n, p], 1)?, normal(gpu, [n, p], 2)?);
                let (x, y) = (graph.leaf(&x), graph.leaf(&y));
                let similarity = Var::cka(half_gram(x)?, half_gram(y)?)?;
                let gradient = graph.grad(similarity.value, &[x])?[0];
                let plan = Plan::new(gpu, &graph, &[similarity.stats, gradient])?;
                Ok(Prepared { plan, flops: 8 * (n * n * p) as u64 })
            }
            Kind::CkaPair { n, p, backward, generic } => {
                let graph = Graph::new();
                let (x, y) = (normal(gpu, [n, p], 1)?, normal(gpu, [n, p], 2)?);
                let (x, y) = (graph.leaf(&x), graph.leaf(&y));
                let (value, shown) = if generic {
                    let value = generic_cka(x, y)?;
                    (value, value)
                } else {
                    let similarity = Var::cka(x.centered_gram()?, y.centered_gram()?)?;
                    (similarity.value, similarity.stats)
                };
                let mut keep = vec![shown];
                if backward {
                    keep.extend(graph.grad(value, &[x])?);
                }
                let gram = 2 * (n * n * p) as u64;
                let flops = 2 * gram + if backward { 2 * gram } else { 0 };
                Ok(Prepared { plan: Plan::new(gpu, &graph, &keep)?, flops })
            }
            Kind::CkaForm { form, n, p } => {
                let graph = Graph::new();
                let (x, y) = (normal(gpu, [n, p], 1)?, normal(gpu, [n, p], 2)?);
                let (x, y) = (graph.leaf(&x), graph.leaf(&y));
                let (value, flops) = match form {
                    CkaForm::Examples => (Var::cka(x.centered_gram()?, y.centered_gram()?)?.value, 4 * n * n * p),
                    CkaForm::Features => (Var::cka_by_features(x, y)?.value, 8 * n * p * p),
                };
                let gradient = graph.grad(value, &[x])?[0];
                Ok(Prepared { plan: Plan::new(gpu, &graph, &[value, gradient])?, flops: flops as u64 })
            }
            Kind::Mlp { guide, precision } => mlp(gpu, guide, precision),
            Kind::Large(large) => large.prepare(gpu),
            Kind::Rnn => recurrent::training_step(gpu),
            Kind::Recurrence { cell, layers, hidden, backward, form } => {
                recurrent::layers(gpu, cell, [layers, hidden], backward, form)
            }
            Kind::RecurrencePerStep => recurrent::per_step(gpu),
            Kind::CkaMatrix { layers, n, p } => {
                let graph = Graph::new();
                let leaf = |stream| Ok(graph.leaf(&normal(gpu, [n, p], stream)?));
                let a = (0..layers as u64).map(leaf).collect::<Result<Vec<_>>>()?;
                let b = (100..100 + layers as u64).map(leaf).collect::<Result<Vec<_>>>()?;
                let matrix = layer_matrix(&Cka::linear().into(), &a, &b)?;
                let flops = (2 * layers * n * n * p * 2 + 2 * layers * layers * n * n) as u64;
                Ok(Prepared { plan: Plan::new(gpu, &graph, &[matrix])?, flops })
            }
            Kind::Attention { causal, backward, generic } => {
                let graph = Graph::new();
                let [batch, time, heads, head] = [4, 256, 8, 64];
                let qkv = graph.leaf(&normal(gpu, [batch, time, 3 * heads * head], 1)?);
                let mask = AttentionMask { causal, ..AttentionMask::default() };
                let y = if generic { generic_attention(qkv, heads)? } else { qkv.self_attention(heads, mask)? };
                let mut keep = vec![y];
                let products = if backward {
                    keep.extend(graph.grad(y.mul(y)?.sum_all()?, &[qkv])?);
                    6
                } else {
                    2
                };
                let flops = (2 * products * batch * heads * time * time * head) as u64;
                let flops = if causal { flops / 2 } else { flops };
                Ok(Prepared { plan: Plan::new(gpu, &graph, &keep)?, flops })
            }
            Kind::Dispatch(count) => {
                let graph = Graph::new();
                let mut x = graph.leaf(&normal(gpu, [256], 1)?);
                for _ in 0..count {
                    x = x.affine(1.0, 0.5)?;
                }
                Ok(Prepared { plan: Plan::new(gpu, &graph, &[x])?, flops: 0 })
            }
        }
    }
}

fn normal(gpu: &Gpu, shape: impl Into<trellis_tensor::Shape>, stream: u64) -> Result<Tensor> {
    scaled(gpu, shape, stream, 1.0)
}

fn scaled(gpu: &Gpu, shape: impl Into<trellis_tensor::Shape>, stream: u64, deviation: f32) -> Result<Tensor> {
    let (shape, mut rng) = (shape.into(), Rng::new(0, stream));
    let values: Vec<f32> = (0..shape.elements()).map(|_| deviation * rng.normal()).collect();
    Ok(Tensor::from_f32(gpu, "data", shape, &values)?)
}

fn halves(gpu: &Gpu, shape: impl Into<trellis_tensor::Shape>, stream: u64) -> Result<Tensor> {
    let values = normal(gpu, shape, stream)?;
    Ok(Tensor::from_f16(gpu, "data", values.shape().clone(), &values.read_f32()?)?)
}

/// The centered Gram matrix of activations that are rounded to f16 once they are centered.
fn half_gram(x: Var<'_>) -> Result<Var<'_>> {
    Ok(x.graph().push(ops::Center, &[x])?.cast(DType::F16)?.gram()?)
}

/// CKA as a user of any tensor library would write it, gradient by autograd.
fn generic_cka<'g>(x: Var<'g>, y: Var<'g>) -> Result<Var<'g>> {
    let gram = |x: Var<'g>| -> Result<Var<'g>> {
        let centered = x.sub(x.mean(&[0], true)?)?;
        Ok(centered.matmul(centered, Layout::NT)?)
    };
    let (k, l) = (gram(x)?, gram(y)?);
    let dot = |a: Var<'g>, b: Var<'g>| -> Result<Var<'g>> { Ok(a.mul(b)?.sum_all()?) };
    Ok(dot(k, l)?.div(dot(k, k)?.mul(dot(l, l)?)?.sqrt()?)?)
}

/// Attention of a tensor `[batch, time, 3 · features]` to itself as a user of any tensor library would write it.
fn generic_attention(qkv: Var<'_>, heads: usize) -> Result<Var<'_>> {
    let shape = qkv.shape();
    let (batch, time, head) = (shape[0], shape[1], shape[2] / 3 / heads);
    let parts = qkv.reshape([batch, time, 3, heads, head])?.permute(&[2, 0, 3, 1, 4])?;
    let [q, k, v] = [0, 1, 2].map(|part| parts.slice(0, part, 1)?.reshape([batch * heads, time, head]));
    let scores = q?.matmul(k?, Layout::NT)?.affine(1.0 / (head as f32).sqrt(), 0.0)?;
    let joined = scores.softmax()?.matmul(v?, Layout::NN)?.reshape([batch, heads, time, head])?;
    Ok(joined.permute(&[0, 2, 1, 3])?.reshape([batch, time, heads * head])?)
}

/// Peers' workload: the guide is a frozen random CNN 1-8-16-32 with stride 2. Its three activations and their mean over
/// pixels are paired with the hidden layers 1, 3, 5 and 7, after the activation.
fn mlp(gpu: &Gpu, guide: Guide, precision: Precision) -> Result<Prepared> {
    const BATCH: usize = 128;
    const TABLES: usize = 15;
    let image = [1, 28, 28];
    let target = Network::with_shape(gpu, Fcn { batch_norm: false, ..Fcn::new(8, 512) }, image, 10, 1)?;
    let cnn = Cnn { strides: vec![2, 2, 2], batch_norm: false, ..Cnn::new(&[8, 16, 32]) };
    let cnn = Network::with_shape(gpu, cnn, image, 10, 2)?.freeze();
    let images = normal(gpu, [BATCH, 1, 28, 28], 3)?;
    let labels: Vec<u32> = (0..BATCH as u32).map(|i| i % 10).collect();
    let labels = Tensor::from_u32(gpu, "labels", [BATCH], &labels)?;
    let step_state = StepState::new(gpu)?;
    let optimizer = Optimizer::new(gpu, target.params(), OptimizerConfig::adam(Schedule::Constant(1e-3)))?
        .with_loss_scale(precision.loss_scale());

    let graph = Graph::new();
    let images = graph.leaf(&images);
    let capture = CapturePoint::AfterActivation;
    let forward = {
        let _scope = graph.scope("target");
        target.forward(
            &graph,
            images,
            Mode::Train { step_state: &step_state, seed: 0, precision, recompute: 0 },
            capture,
        )?
    };
    let mut loss = forward.logits.cross_entropy(graph.leaf(&labels), 0.0)?;
    let mut metrics = vec![loss];
    let pairs: Vec<Pair<'_>> = match guide {
        Guide::None => Vec::new(),
        Guide::Running => {
            let _scope = graph.scope("guide");
            let activations = cnn.forward(&graph, images, capture)?.activations;
            (0..4).map(|i| Pair::of(&forward.activations[2 * i], &activations[i])).collect()
        }
        Guide::LookedUp => {
            let _scope = graph.scope("guide");
            let number = graph.leaf(step_state.tensor()).sample_batch(TABLES, 1, 0)?;
            // Any numbers take the same time.
            let table = graph.leaf(&normal(gpu, [TABLES, 4, BATCH, BATCH], 4)?);
            let grams = table.gather(number)?.reshape([4, BATCH, BATCH])?;
            let pair = |i: usize| -> Result<Pair<'_>> {
                let gram = GuideSide::Gram(grams.slice(0, i, 1)?.reshape([BATCH, BATCH])?);
                Ok(Pair { target: forward.activations[2 * i].clone(), guide: format!("layer {i}"), gram, weight: 1.0 })
            };
            (0..4).map(pair).collect::<Result<_>>()?
        }
    };
    if !pairs.is_empty() {
        let _scope = graph.scope("alignment");
        let alignment = Metric::from(Cka::linear()).loss(&graph, &step_state, Schedule::Constant(1.0), &pairs)?;
        loss = loss.add(alignment.loss)?;
        metrics.extend(alignment.stats);
    }
    metrics.extend(optimizer.update(&graph, loss, &step_state)?);
    Log::new(gpu, metrics.len() + pairs.len())?.record(&graph, &step_state, &metrics)?;
    let weights = (784 * 512 + 7 * 512 * 512 + 512 * 10) as u64;
    let flops = 6 * BATCH as u64 * weights - 2 * (BATCH * 784 * 512) as u64;
    Ok(Prepared { plan: Plan::new(gpu, &graph, &[])?, flops })
}
