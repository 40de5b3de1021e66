//! The one test binary: it opens one device and shares it.

mod alignment; // measures: invariances, known values, hard cases
mod alignment_loss; // pairs that share dispatches
mod arms; // arms of one's own, and the guides that they use
mod configured; // what a configuration makes of data
mod crop; // parts of images
mod data; // batches, gathers, pools, augmentation: properties and values computed by hand
mod evaluation; // what is counted after so many steps
mod folder; // folders for the files of a test
mod golden; // networks against PyTorch, by name
mod half; // f16: storage, rounding, products
mod input_scale; // guides that see images in a scale of their own
mod large_weights; // weights that no binding holds
mod launches; // dispatches, barriers and submissions of whole steps
mod left_out; // files that cannot be read, counted
mod limits; // sizes past what an adapter launches, or loops through
mod memory; // what a plan keeps, and for how long
mod mixed; // loss scaling and mixed-precision training
mod nn; // softmax, losses, normalisation, dropout: values known from elsewhere
mod ops; // every registered op: kernel against f64, gradient against differences
mod optimizer; // optimisers, step by step against PyTorch
mod own_op; // ops from outside the crate: what is wrong with them is told
mod real_size; // by hand: ResNet-18, ResNet-50, ViT-B/16 against PyTorch
mod recurrent; // recurrent layers and networks against PyTorch, over long times
mod reliability; // files that are damaged or rare: read rightly, or refused by name
mod resnets; // residual networks against PyTorch
mod resume; // runs that were killed and go on
mod sequences; // copy-paste, parity, text: examples, scores, the trivial solution
mod shaders; // every kernel file: header, naming, that it compiles
mod streaming; // batches read ahead by threads: the same ones, whatever breaks
mod training; // runs: counters, determinism, divergence, checkpoints
mod transformers; // attention and its networks against PyTorch
mod weights; // files of PyTorch, of ours, of neither
mod wiring; // settings reach the kernels; long sums

use std::sync::OnceLock;
use trellis_tensor::{Block, Gpu, GpuOptions};

/// The shared device. Shaders keep their bounds checks here.
fn gpu() -> Gpu {
    static GPU: OnceLock<Gpu> = OnceLock::new();
    GPU.get_or_init(|| open(GpuOptions::default())).clone()
}

/// The same adapter, with the kernels that a hardware GPU without subgroup operations gets.
fn gpu_with_gpu_kernels() -> Gpu {
    static GPU: OnceLock<Gpu> = OnceLock::new();
    GPU.get_or_init(|| open(GpuOptions { gpu_kernels: true, subgroups: false, ..GpuOptions::default() })).clone()
}

/// A device on which every product runs on member `number` of the family of blocks.
fn gpu_with_block(number: usize) -> Gpu {
    static GPUS: [OnceLock<Gpu>; Block::FAMILY.len()] = [const { OnceLock::new() }; Block::FAMILY.len()];
    GPUS[number]
        .get_or_init(|| {
            let folder = std::env::temp_dir().join(format!("trellis-test-{}-{number}", std::process::id()));
            std::fs::create_dir_all(&folder).expect("a writable temporary folder");
            let options = GpuOptions { gpu_kernels: true, tuning: Some(folder.clone()), ..GpuOptions::default() };
            let path = open(options.clone()).tuning_path().expect("a folder was given").to_path_buf();
            let block = Block::FAMILY[number];
            std::fs::write(path, format!("NN 1 1 1 {block}\nNT 1 1 1 {block}\nTN 1 1 1 {block}\n")).expect("writable");
            let gpu = open(options);
            std::fs::remove_dir_all(folder).expect("ours");
            gpu
        })
        .clone()
}

fn open(options: GpuOptions) -> Gpu {
    let environment = GpuOptions::from_env().expect("a sane environment");
    let options = GpuOptions { checked_shaders: true, adapter: environment.adapter, ..options };
    Gpu::with(&options).expect("tests need an adapter; `make test` installs a software one")
}
