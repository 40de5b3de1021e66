//! Workloads for a hardware GPU: products to 8192, convolutions of ResNets, and training steps at 224 × 224 pixels.

use trellis_rng::Rng;
use trellis_tensor::{
    AttentionForm, AttentionMask, AttentionOptions, AttentionTile, Block, GemmVariant, Gpu, Graph, Layout, Log,
    LossScale, Optimizer, OptimizerConfig, PairLoops, Plan, Schedule, Shape, StepState, Tensor, Var,
};

use super::{Kind, Prepared, Workload};
use trellis_guidance::alignment::Pair;
use trellis_guidance::network::{Architecture, Mode};
use trellis_guidance::{CapturePoint, Cka, Fcn, Metric, Network, Precision, Resnet, Result, Vit};

/// A workload of `trellis bench --size large`.
#[derive(Clone, Copy, Debug)]
pub(super) enum Large {
    /// Product of `[m, n, k]`, f32 or f16.
    Product { layout: Layout, size: [usize; 3], half: bool },
    /// CKA of `[n, p]` with `[n, p]` and the gradient of the first.
    Cka { n: usize, p: usize },
    /// Convolution of 64 images, or with both gradients: channels in and out, pixels a side, window, stride.
    Conv { channels: [usize; 2], side: usize, window: usize, stride: usize, backward: bool },
    /// Attention of `[batch, heads, time]` to itself, with heads of 64; with the gradient.
    Attention { sizes: [usize; 3], causal: bool, backward: bool, options: AttentionOptions },
    /// One step of a network with Adam on images of 224 × 224, batch 64.
    Step { network: Known, mixed: bool },
    /// One step of the paper's Deep FCN, batch 256, guided by a ResNet-18 over 8 pairs; or alone.
    DeepFcn { guided: bool },
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Known {
    Resnet18,
    Resnet50,
    VitB16,
}

/// Every large workload.
pub(super) fn workloads() -> Vec<Workload> {
    let large = |name, large| Workload { name, kind: Kind::Large(large) };
    let product = |name, layout, size, half| large(name, Large::Product { layout, size, half });
    let square = |name, size: usize, half| product(name, Layout::NN, [size; 3], half);
    let cka = |name, n, p| large(name, Large::Cka { n, p });
    let conv = |name, channels, side, window, stride, backward| {
        large(name, Large::Conv { channels, side, window, stride, backward })
    };
    let step = |name, network, mixed| large(name, Large::Step { network, mixed });
    let mut all = vec![
        product("matmul_f32_128x512x512", Layout::NN, [128, 512, 512], false),
        product("matmul_f32_128x512x512_nt", Layout::NT, [128, 512, 512], false),
        product("matmul_f32_512x512x128_tn", Layout::TN, [512, 512, 128], false),
        product("matmul_f32_256x2048x150528", Layout::NN, [256, 2048, 150_528], false),
        square("matmul_f32_1024", 1024, false),
        square("matmul_f32_2048", 2048, false),
        square("matmul_f32_4096", 4096, false),
        square("matmul_f32_8192", 8192, false),
        square("matmul_f16_2048", 2048, true),
        square("matmul_f16_4096", 4096, true),
        product("matmul_f16_4096_nt", Layout::NT, [4096; 3], true),
        product("matmul_f16_4096_tn", Layout::TN, [4096; 3], true),
        square("matmul_f16_8192", 8192, true),
        cka("cka_fwdbwd_n256_p512", 256, 512),
        cka("cka_fwdbwd_n128_p4096", 128, 4096),
        cka("cka_fwdbwd_n512_p8192", 512, 8192),
        cka("cka_fwdbwd_n1024_p2048", 1024, 2048),
        cka("cka_fwdbwd_n256_p150528", 256, 150_528),
        conv("conv_3_64_7x7s2_224", [3, 64], 224, 7, 2, false),
        conv("conv_64_64_3x3_56", [64, 64], 56, 3, 1, false),
        conv("conv_128_128_3x3_28", [128, 128], 28, 3, 1, false),
        conv("conv_256_256_3x3_14", [256, 256], 14, 3, 1, false),
        conv("conv_512_512_3x3_7", [512, 512], 7, 3, 1, false),
        conv("conv_64_256_1x1_56", [64, 256], 56, 1, 1, false),
        conv("conv_2048_512_1x1_7", [2048, 512], 7, 1, 1, false),
        conv("conv_64_64_3x3_56_fwdbwd", [64, 64], 56, 3, 1, true),
        conv("conv_256_256_3x3_14_fwdbwd", [256, 256], 14, 3, 1, true),
        conv("conv_512_512_3x3_7_fwdbwd", [512, 512], 7, 3, 1, true),
        step("resnet18_step_b64", Known::Resnet18, false),
        step("resnet50_step_b64", Known::Resnet50, false),
        step("resnet50_mixed_step_b64", Known::Resnet50, true),
        step("vit_b16_step_b64", Known::VitB16, false),
        step("vit_b16_mixed_step_b64", Known::VitB16, true),
        large("deep_fcn_step_b256", Large::DeepFcn { guided: false }),
        large("deep_fcn_guided_step_b256", Large::DeepFcn { guided: true }),
    ];
    all.extend(attention_workloads());
    all
}

/// Attention at the sizes of common networks, in the usual form and in those that it was chosen from.
fn attention_workloads() -> Vec<Workload> {
    const SMALL: [usize; 3] = [4, 8, 256];
    const VIT: [usize; 3] = [64, 12, 197];
    const LONG: [usize; 3] = [8, 16, 1024];
    let row = |name, sizes, causal, backward, options| Workload {
        name,
        kind: Kind::Large(Large::Attention { sizes, causal, backward, options }),
    };
    let usual = |name, sizes, causal, backward| row(name, sizes, causal, backward, AttentionOptions::default());
    let mixed = |name, sizes, backward| row(name, sizes, false, backward, AttentionOptions { form: None, half: true });
    let of = |form| AttentionOptions { form: Some(form), half: false };
    let forward = |name, sizes, form| row(name, sizes, false, false, of(form));
    let gradient = |name, sizes, form| row(name, sizes, false, true, of(form));
    let causal = |name, sizes, form| row(name, sizes, true, true, of(form));
    let [medium, broad] = [Block::MEDIUM, Block::BROAD].map(GemmVariant::Block);
    let stored = |pairs, sums| AttentionForm::Stored(PairLoops { pairs, sums, heads: None });
    let (tall, large, small) = (AttentionTile::TALL, AttentionTile::LARGE, AttentionTile::SMALL);
    vec![
        usual("attention_fwd_4x8x256x64", SMALL, false, false),
        usual("attention_fwdbwd_4x8x256x64", SMALL, false, true),
        usual("attention_fwd_64x12x197x64", VIT, false, false),
        usual("attention_fwdbwd_64x12x197x64", VIT, false, true),
        usual("attention_fwd_8x16x1024x64", LONG, false, false),
        usual("attention_fwdbwd_8x16x1024x64", LONG, false, true),
        usual("attention_fwd_8x16x1024x64_causal", LONG, true, false),
        usual("attention_fwdbwd_8x16x1024x64_causal", LONG, true, true),
        mixed("attention_fwd_64x12x197x64_mixed", VIT, false),
        mixed("attention_fwdbwd_64x12x197x64_mixed", VIT, true),
        mixed("attention_fwd_8x16x1024x64_mixed", LONG, false),
        mixed("attention_fwdbwd_8x16x1024x64_mixed", LONG, true),
        forward("attention_fwd_4x8x256x64_rows", SMALL, AttentionForm::Rows),
        forward("attention_fwd_4x8x256x64_tiled_64x32", SMALL, AttentionForm::Tiled(tall)),
        forward("attention_fwd_4x8x256x64_tiled_64x64", SMALL, AttentionForm::Tiled(large)),
        forward("attention_fwd_4x8x256x64_tiled_32x32", SMALL, AttentionForm::Tiled(small)),
        forward("attention_fwd_4x8x256x64_split2_32x32", SMALL, AttentionForm::Split(small, 2)),
        forward("attention_fwd_4x8x256x64_split4_64x32", SMALL, AttentionForm::Split(tall, 4)),
        forward("attention_fwd_4x8x256x64_split4_64x64", SMALL, AttentionForm::Split(large, 4)),
        gradient("attention_fwdbwd_4x8x256x64_rows", SMALL, AttentionForm::Rows),
        gradient("attention_fwdbwd_4x8x256x64_tiled_32x32", SMALL, AttentionForm::Tiled(small)),
        gradient("attention_fwdbwd_4x8x256x64_tiled_64x32", SMALL, AttentionForm::Tiled(tall)),
        forward("attention_fwd_64x12x197x64_tiled_64x32", VIT, AttentionForm::Tiled(tall)),
        forward("attention_fwd_64x12x197x64_tiled_32x32", VIT, AttentionForm::Tiled(small)),
        gradient("attention_fwdbwd_4x8x256x64_stored_64x64", SMALL, stored(broad, broad)),
        gradient("attention_fwdbwd_64x12x197x64_stored_64x64", VIT, stored(broad, broad)),
        gradient("attention_fwdbwd_64x12x197x64_stored_64x64_sums_8x4", VIT, stored(broad, medium)),
        gradient("attention_fwdbwd_64x12x197x64_tiled_64x32", VIT, AttentionForm::Tiled(tall)),
        forward("attention_fwd_8x16x1024x64_tiled_64x64", LONG, AttentionForm::Tiled(large)),
        forward("attention_fwd_8x16x1024x64_tiled_32x32", LONG, AttentionForm::Tiled(small)),
        gradient("attention_fwdbwd_8x16x1024x64_stored_64x64", LONG, stored(broad, broad)),
        causal("attention_fwdbwd_8x16x1024x64_causal_stored", LONG, stored(medium, medium)),
        gradient("attention_fwdbwd_8x16x1024x64_tiled_64x32", LONG, AttentionForm::Tiled(tall)),
    ]
}

impl Large {
    pub(super) fn prepare(self, gpu: &Gpu) -> Result<Prepared> {
        let graph = Graph::new();
        match self {
            Self::Product { layout, size: [m, n, k], half } => {
                let lhs = if layout == Layout::TN { [k, m] } else { [m, k] };
                let rhs = if layout == Layout::NT { [n, k] } else { [k, n] };
                let side = |shape, stream| if half { halves(gpu, shape, stream) } else { random(gpu, shape, stream) };
                let product = graph.leaf(&side(lhs, 1)?).matmul(graph.leaf(&side(rhs, 2)?), layout)?;
                Ok(Prepared { plan: Plan::new(gpu, &graph, &[product])?, flops: 2 * (m * n * k) as u64 })
            }
            Self::Cka { n, p } => {
                let (x, y) = (graph.leaf(&random(gpu, [n, p], 1)?), graph.leaf(&random(gpu, [n, p], 2)?));
                let value = Var::cka(x.centered_gram()?, y.centered_gram()?)?.value;
                let gradient = graph.grad(value, &[x])?[0];
                // Two symmetric Gram matrices and a product.
                Ok(Prepared { plan: Plan::new(gpu, &graph, &[value, gradient])?, flops: 4 * (n * n * p) as u64 })
            }
            Self::Conv { channels: [from, to], side, window, stride, backward } => {
                let x = graph.leaf(&random(gpu, [64, from, side, side], 1)?);
                let w = graph.leaf(&random(gpu, [to, from, window, window], 2)?);
                let y = x.conv2d(w, None, stride, window / 2)?;
                let mut keep = vec![y];
                if backward {
                    keep.extend(graph.grad(y.mul(y)?.sum_all()?, &[x, w])?);
                }
                let passes = if backward { 3 } else { 1 };
                let flops = passes * 2 * y.ty().elements() * from * window * window;
                Ok(Prepared { plan: Plan::new(gpu, &graph, &keep)?, flops: flops as u64 })
            }
            Self::Attention { sizes: [batch, heads, time], causal, backward, options } => {
                let qkv = graph.leaf(&random(gpu, [batch, time, 3 * heads * 64], 1)?);
                let mask = AttentionMask { causal, ..AttentionMask::default() };
                let y = qkv.self_attention_with(heads, mask, options)?;
                let mut keep = vec![y];
                if backward {
                    keep.extend(graph.grad(y.mul(y)?.sum_all()?, &[qkv])?);
                }
                let products = if backward { 6 } else { 2 };
                let pairs = batch * heads * time * time / if causal { 2 } else { 1 };
                Ok(Prepared { plan: Plan::new(gpu, &graph, &keep)?, flops: (products * 2 * 64 * pairs) as u64 })
            }
            Self::Step { network, mixed } => {
                let precision = if mixed { Precision::Mixed(LossScale::default()) } else { Precision::F32 };
                match network {
                    Known::Resnet18 => step(gpu, Resnet::resnet18(), None, 64, precision),
                    Known::Resnet50 => step(gpu, Resnet::resnet50(), None, 64, precision),
                    Known::VitB16 => step(gpu, Vit::b16(), None, 64, precision),
                }
            }
            Self::DeepFcn { guided } => {
                let guide = guided.then(Resnet::resnet18);
                step(gpu, Fcn::paper_deep(), guide, 256, Precision::F32)
            }
        }
    }
}

/// A training step on images of 224 × 224 of 1,000 classes, with Adam; `guide` pulls over 8 pairs spread evenly over both.
fn step(
    gpu: &Gpu,
    target: impl Architecture + 'static,
    guide: Option<Resnet>,
    batch: usize,
    precision: Precision,
) -> Result<Prepared> {
    const PAIRS: usize = 8;
    let image = [3, 224, 224];
    let target = Network::with_shape(gpu, target, image, 1000, 1)?;
    let guide = guide.map(|guide| Network::with_shape(gpu, guide, image, 1000, 2)).transpose()?.map(Network::freeze);
    let labels: Vec<u32> = (0..batch as u32).map(|i| i % 1000).collect();
    let labels = Tensor::from_u32(gpu, "labels", [batch], &labels)?;
    let step_state = StepState::new(gpu)?;
    let optimizer = Optimizer::new(gpu, target.params(), OptimizerConfig::adam(Schedule::Constant(1e-4)))?
        .with_loss_scale(precision.loss_scale());

    let graph = Graph::new();
    let images = graph.leaf(&random(gpu, [batch, 3, 224, 224], 3)?);
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
    let mut pairs = 0;
    if let Some(guide) = &guide {
        let activations = {
            let _scope = graph.scope("guide");
            guide.forward(&graph, images, capture)?.activations
        };
        let at = |number: usize, of: usize| number * (of - 1) / (PAIRS - 1);
        let chosen: Vec<Pair<'_>> = (0..PAIRS)
            .map(|i| {
                Pair::of(&forward.activations[at(i, forward.activations.len())], &activations[at(i, activations.len())])
            })
            .collect();
        pairs = chosen.len();
        let _scope = graph.scope("alignment");
        let alignment = Metric::from(Cka::linear()).loss(&graph, &step_state, Schedule::Constant(1.0), &chosen)?;
        loss = loss.add(alignment.loss)?;
        metrics.extend(alignment.stats);
    }
    metrics.extend(optimizer.update(&graph, loss, &step_state)?);
    Log::new(gpu, metrics.len() + pairs)?.record(&graph, &step_state, &metrics)?;
    let plan = Plan::new(gpu, &graph, &[])?;
    let flops = plan.launches().map(|launch| launch.flops).sum();
    Ok(Prepared { plan, flops })
}

/// Standard normal numbers, a million of them over and over: drawing all would take longer than what is measured.
fn random(gpu: &Gpu, shape: impl Into<Shape>, stream: u64) -> Result<Tensor> {
    let shape = shape.into();
    Ok(Tensor::from_f32(gpu, "data", shape.clone(), &values(&shape, stream))?)
}

fn halves(gpu: &Gpu, shape: impl Into<Shape>, stream: u64) -> Result<Tensor> {
    let shape = shape.into();
    Ok(Tensor::from_f16(gpu, "data", shape.clone(), &values(&shape, stream))?)
}

fn values(shape: &Shape, stream: u64) -> Vec<f32> {
    let mut rng = Rng::new(0, stream);
    let elements = shape.elements();
    let drawn: Vec<f32> = (0..elements.min(1 << 20)).map(|_| rng.normal()).collect();
    drawn.iter().copied().cycle().take(elements).collect()
}
