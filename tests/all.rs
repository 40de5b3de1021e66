//! The one test binary: it opens one device and shares it.

mod alignment; // measures of similarity, as values and as losses
mod data; // data sets, batches, files that are rare or damaged
mod docs; // README.md and docs/: short sentences, links that lead somewhere
mod layout; // lengths of files, sizes of folders, directions of imports
mod networks; // networks against PyTorch
mod ops; // the engine: ops, kernels, plans
mod training; // runs: optimizers, arms, evaluations, resuming
mod weights; // files of weights

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
            let folder = tempfile::tempdir().expect("writable");
            let tuning = Some(folder.path().to_path_buf());
            let options = GpuOptions { gpu_kernels: true, tuning, ..GpuOptions::default() };
            let path = open(options.clone()).tuning_path().expect("a folder was given").to_path_buf();
            let block = Block::FAMILY[number];
            std::fs::write(path, format!("NN 1 1 1 {block}\nNT 1 1 1 {block}\nTN 1 1 1 {block}\n")).expect("writable");
            open(options)
        })
        .clone()
}

fn open(options: GpuOptions) -> Gpu {
    let environment = GpuOptions::from_env().expect("a sane environment");
    let options = GpuOptions { checked_shaders: true, adapter: environment.adapter, ..options };
    Gpu::with(&options).expect("tests need an adapter; `make test` installs a software one")
}
