//! The one test binary: it opens one device and shares it.

mod alignment; // measures: invariances, known values, hard cases
mod data; // batches, gathers, pools, augmentation: properties and values computed by hand
mod nn; // softmax, losses, normalisation, dropout: values known from elsewhere
mod ops; // every registered op: kernel against f64, gradient against differences
mod optimizer; // optimisers, step by step against PyTorch
mod shaders; // every kernel file: header, naming, that it compiles
mod training; // runs: counters, determinism, divergence, checkpoints

use std::sync::OnceLock;
use trellis_tensor::{Gpu, GpuOptions};

/// The shared device. Shaders keep their bounds checks here.
fn gpu() -> Gpu {
    static GPU: OnceLock<Gpu> = OnceLock::new();
    GPU.get_or_init(|| open(false)).clone()
}

/// The same adapter, with the kernels that a hardware GPU gets.
fn gpu_with_gpu_kernels() -> Gpu {
    static GPU: OnceLock<Gpu> = OnceLock::new();
    GPU.get_or_init(|| open(true)).clone()
}

fn open(gpu_kernels: bool) -> Gpu {
    let options =
        GpuOptions { checked_shaders: true, gpu_kernels, ..GpuOptions::from_env().expect("a sane environment") };
    Gpu::with(&options).expect("tests need an adapter; `make test` installs a software one")
}
