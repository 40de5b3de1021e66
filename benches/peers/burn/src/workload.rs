//! The workloads of `trellis bench` in Burn, as a user of Burn would write them. Each checks its own result against f64
//! on the host before it is timed, so that the times are of equal work.

use std::any::Any;

use burn::module::Module;
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::loss::{CrossEntropyLoss, CrossEntropyLossConfig};
use burn::nn::{Linear, LinearConfig, PaddingConfig2d};
use burn::optim::{AdamConfig, GradientsParams};
use burn::tensor::activation::relu;
use burn::tensor::{Device, Distribution, Int, Tensor};

use crate::exact::{self, Images, Matrix, agree};

const BATCH: usize = 128;
const HIDDEN: usize = 8;
const WIDTH: usize = 512;
const CLASSES: usize = 10;

/// A workload that is ready to run.
pub struct Prepared {
    /// Floating-point operations that the result needs, counted as `trellis bench` counts them.
    pub flops: usize,
    /// One repetition. What it returns lives until the device has finished.
    pub run: Box<dyn FnMut() -> Box<dyn Any>>,
}

type Prepare = fn(&Device) -> Prepared;

/// The names are those of `trellis bench`.
pub const WORKLOADS: [(&str, Prepare); 10] = [
    ("matmul_f32_256", |device| matmul(device, 256)),
    ("matmul_f32_512", |device| matmul(device, 512)),
    ("matmul_f32_1024", |device| matmul(device, 1024)),
    ("cka_fwd_n256_p512_q512", |device| cka_forward(device, 256, 512)),
    ("cka_fwdbwd_n256_p512_q512", |device| cka_backward(device, 256, 512)),
    ("cka_fwd_n128_p4096_q4096", |device| cka_forward(device, 128, 4096)),
    ("cka_fwdbwd_n128_p4096_q4096", |device| cka_backward(device, 128, 4096)),
    ("mlp_step_b128", |device| mlp(device, false)),
    ("mlp_guided_step_b128", |device| mlp(device, true)),
    ("cka_matrix_24x24_n128_p512", |device| cka_matrix(device, 24, 128, 512)),
];

fn normal<const D: usize>(device: &Device, shape: [usize; D]) -> Tensor<D> {
    Tensor::random(shape, Distribution::Normal(0.0, 1.0), device)
}

/// Centered features, then n×n: at every size here the p×p form costs more.
fn gram(x: Tensor<2>) -> Tensor<2> {
    let mean = x.clone().mean_dim(0);
    let centered = x - mean;
    centered.clone().matmul(centered.transpose())
}

fn cka(x: Tensor<2>, y: Tensor<2>) -> Tensor<1> {
    let (k, l) = (gram(x), gram(y));
    let norms = k.clone().square().sum().sqrt() * l.clone().square().sum().sqrt();
    (k * l).sum() / norms
}

fn matmul(device: &Device, size: usize) -> Prepared {
    let (a, b): (Tensor<2>, Tensor<2>) = (normal(device, [size, size]), normal(device, [size, size]));
    let product = Matrix::of(&a.clone().matmul(b.clone())).row_sums();
    let expected = Matrix::of(&a).product(&Matrix::of(&b).row_sums());
    agree("row sums of a product", &product.values, &expected.values, 1e-4);
    Prepared { flops: 2 * size.pow(3), run: Box::new(move || Box::new(a.clone().matmul(b.clone()))) }
}

fn cka_forward(device: &Device, n: usize, p: usize) -> Prepared {
    let (x, y) = (normal(device, [n, p]), normal(device, [n, p]));
    let (value, _) = exact::cka(&Matrix::of(&x), &Matrix::of(&y));
    agree("CKA", &exact::read(&cka(x.clone(), y.clone())), &[value], 1e-5);
    Prepared { flops: 4 * n * n * p, run: Box::new(move || Box::new(cka(x.clone(), y.clone()))) }
}

fn cka_backward(device: &Device, n: usize, p: usize) -> Prepared {
    let device = device.clone().autodiff();
    let (x, y) = (normal(&device, [n, p]).require_grad(), normal(&device, [n, p]));
    let run = move || {
        let value = cka(x.clone(), y.clone());
        let gradient = x.grad_remove(&mut value.backward()).expect("x requires a gradient");
        (value, gradient, x.clone(), y.clone())
    };
    let (value, gradient, x, y) = run();
    let (expected, by_x) = exact::cka(&Matrix::of(&x), &Matrix::of(&y));
    agree("CKA", &exact::read(&value), &[expected], 1e-5);
    agree("gradient of CKA", &exact::read(&gradient), &by_x.values, 1e-3);
    Prepared { flops: 8 * n * n * p, run: Box::new(move || Box::new(run())) }
}

/// Pair by pair, as in `torch_bench.py`.
fn cka_matrix(device: &Device, layers: usize, n: usize, p: usize) -> Prepared {
    let draw = || (0..layers).map(|_| normal(device, [n, p])).collect::<Vec<Tensor<2>>>();
    let (a, b) = (draw(), draw());
    let (value, _) = exact::cka(&Matrix::of(&a[0]), &Matrix::of(&b[1]));
    let run = move || {
        let pairs = a.iter().flat_map(|x| b.iter().map(|y| cka(x.clone(), y.clone())));
        Tensor::cat(pairs.collect(), 0).reshape([layers, layers])
    };
    agree("CKA of layers 0 and 1", &[Matrix::of(&run()).values[1]], &[value], 1e-5);
    let flops = 4 * layers * n * n * p + 2 * layers * layers * n * n;
    Prepared { flops, run: Box::new(move || Box::new(run())) }
}

#[derive(Module, Debug)]
struct Mlp {
    hidden: Vec<Linear>,
    head: Linear,
}

impl Mlp {
    fn new(device: &Device) -> Self {
        let inputs = |layer| if layer == 0 { 28 * 28 } else { WIDTH };
        let hidden = (0..HIDDEN).map(|layer| LinearConfig::new(inputs(layer), WIDTH).init(device)).collect();
        Self { hidden, head: LinearConfig::new(WIDTH, CLASSES).init(device) }
    }

    /// The hidden layers after the activation, and the logits.
    fn forward(&self, images: Tensor<4>) -> (Vec<Tensor<2>>, Tensor<2>) {
        let mut x = images.flatten(1, 3);
        let mut taps = Vec::with_capacity(HIDDEN);
        for layer in &self.hidden {
            x = relu(layer.forward(x));
            taps.push(x.clone());
        }
        (taps, self.head.forward(x))
    }

    fn exact(&self, images: &Tensor<4>) -> (Vec<Matrix>, Matrix) {
        let linear = |x: &Matrix, layer: &Linear| {
            let bias = exact::read(&layer.bias.as_ref().expect("it has a bias").val());
            let mut y = x.product(&Matrix::of(&layer.weight.val()));
            y.values.iter_mut().zip(bias.iter().cycle()).for_each(|(value, bias)| *value += bias);
            y
        };
        let mut x = Images::of(images).flattened();
        let mut taps = Vec::with_capacity(HIDDEN);
        for layer in &self.hidden {
            x = linear(&x, layer).relu();
            taps.push(x.clone());
        }
        (taps, linear(&x, &self.head))
    }
}

/// A frozen random CNN 1-8-16-32.
#[derive(Module, Debug)]
struct Guide {
    convolutions: Vec<Conv2d>,
}

impl Guide {
    fn new(device: &Device) -> Self {
        let convolution = |channels| {
            let config = Conv2dConfig::new(channels, [3, 3]).with_stride([2, 2]);
            config.with_padding(PaddingConfig2d::Explicit(1, 1, 1, 1)).init(device)
        };
        Self { convolutions: [[1, 8], [8, 16], [16, 32]].into_iter().map(convolution).collect() }.no_grad()
    }

    /// The activations, and the mean of the last over its pixels.
    fn forward(&self, images: Tensor<4>) -> Vec<Tensor<2>> {
        let mut x = images;
        let mut taps = Vec::new();
        for convolution in &self.convolutions {
            x = relu(convolution.forward(x));
            taps.push(x.clone().flatten(1, 3));
        }
        taps.push(x.mean_dims(&[2, 3]).flatten(1, 3));
        taps
    }

    fn exact(&self, images: &Tensor<4>) -> Vec<Matrix> {
        let mut x = Images::of(images);
        let mut taps = Vec::new();
        for convolution in &self.convolutions {
            let bias = convolution.bias.as_ref().expect("it has a bias").val();
            x = x.convolve(&convolution.weight.val(), &bias);
            taps.push(x.flattened());
        }
        taps.push(x.pooled());
        taps
    }
}

/// Parts of a workload that do not change from step to step.
struct Task {
    images: Tensor<4>,
    labels: Tensor<1, Int>,
    cross_entropy: CrossEntropyLoss,
    guide: Option<Guide>,
}

impl Task {
    /// Hidden layers 1, 3, 5 and 7 are pulled towards the guide's four.
    fn loss(&self, target: &Mlp) -> Tensor<1> {
        let (taps, logits) = target.forward(self.images.clone());
        let mut loss = self.cross_entropy.forward(logits, self.labels.clone());
        if let Some(guide) = &self.guide {
            for (tap, guide) in taps.into_iter().step_by(2).zip(guide.forward(self.images.clone())) {
                loss = loss + 1.0 - cka(tap, guide);
            }
        }
        loss
    }

    fn exact_loss(&self, target: &Mlp) -> f64 {
        let (taps, logits) = target.exact(&self.images);
        let guides = self.guide.as_ref().map(|guide| guide.exact(&self.images)).unwrap_or_default();
        let pairs = taps.iter().step_by(2).zip(&guides);
        exact::cross_entropy(&logits) + pairs.map(|(tap, guide)| 1.0 - exact::cka(tap, guide).0).sum::<f64>()
    }
}

fn mlp(device: &Device, guided: bool) -> Prepared {
    let device = &device.clone().autodiff();
    let task = Task {
        images: normal(device, [BATCH, 1, 28, 28]),
        labels: Tensor::<1, Int>::arange(0..BATCH as i64, device).remainder_scalar(CLASSES as i64),
        cross_entropy: CrossEntropyLossConfig::new().init(device),
        guide: guided.then(|| Guide::new(device)),
    };
    let target = Mlp::new(device);
    let expected = task.exact_loss(&target);
    let mut optimizer = AdamConfig::new().with_epsilon(1e-8).init();
    let mut target = Some(target);
    let mut step = move || {
        let model = target.take().expect("each step puts it back");
        let loss = task.loss(&model);
        let gradients = GradientsParams::from_grads(loss.backward(), &model);
        target = Some(optimizer.step(1e-3, model, gradients));
        loss
    };
    agree("loss of the MLP", &exact::read(&step()), &[expected], 1e-5);
    let mut later = step();
    for _ in 0..3 {
        later = step();
    }
    let later = exact::read(&later)[0];
    assert!(
        later < expected,
        "four steps of Adam took the loss of the MLP from {expected} to {later}: it does not learn"
    );
    let weights = 28 * 28 * WIDTH + (HIDDEN - 1) * WIDTH * WIDTH + WIDTH * CLASSES;
    Prepared { flops: 6 * BATCH * weights - 2 * BATCH * 28 * 28 * WIDTH, run: Box::new(move || Box::new(step())) }
}
