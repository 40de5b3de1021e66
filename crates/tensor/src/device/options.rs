//! Options for opening a GPU.

use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// Options for opening a [`Gpu`](crate::Gpu).
#[derive(Clone, Debug)]
pub struct GpuOptions {
    /// Part of the adapter's name, in any case. `None`: the fastest kind that exists.
    pub adapter: Option<String>,
    /// Bytes that this process may hold in GPU buffers. `None`: half of the machine's memory on a software adapter (which never
    /// reports that memory is short), no limit by the engine on real GPUs.
    pub memory_budget: Option<u64>,
    /// Keep wgpu's bounds checks in shaders. On by default in debug builds.
    pub checked_shaders: bool,
    /// Use the kernels of a hardware GPU on a software adapter too, so that a machine without a GPU can test them.
    pub gpu_kernels: bool,
    /// Compute products of f16 by the kernels for matrix units, with plain multiply-adds in place of the units. A slow way to
    /// test these kernels, on an adapter with f16.
    pub emulated_units: bool,
    /// Use subgroup operations if the adapter has them. Off: the kernels of an adapter that has none.
    pub subgroups: bool,
    /// Only what WebGPU promises on every adapter: its default limits and no feature, so none of subgroups, f16 and timestamps.
    /// A plan that is made so can be exported to a browser, see [`Export`](crate::Export). The kernels are those of a hardware GPU.
    pub portable: bool,
    /// Dry run: count memory in place of allocating it. Tensors and plans have sizes, nothing runs, everything reads as 0. No
    /// limit of the adapter or the budget applies. [`Gpu::memory_by_name`](crate::Gpu::memory_by_name) has the result.
    pub dry_run: bool,
    /// Number of devices that this process opens and keeps busy at once. Above 1 Mesa's software adapter runs each on one
    /// thread, unless `LP_NUM_THREADS` says otherwise.
    pub devices: usize,
    /// Folder of the tables that `trellis tune` writes, one for each adapter. `None`: the static choice of kernels.
    pub tuning: Option<PathBuf>,
}

/// The folder `trellis` in the user's cache folder, `XDG_CACHE_HOME` or `~/.cache`, if there is one.
pub fn user_cache() -> Option<PathBuf> {
    let home = variable("HOME").map(|home| Path::new(&home).join(".cache"));
    Some(variable("XDG_CACHE_HOME").map(PathBuf::from).or(home)?.join("trellis"))
}

/// Value of an environment variable, if it is set and not empty.
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|text| !text.is_empty())
}

impl Default for GpuOptions {
    fn default() -> Self {
        let checked_shaders = cfg!(debug_assertions);
        Self {
            adapter: None,
            memory_budget: None,
            checked_shaders,
            gpu_kernels: false,
            emulated_units: false,
            subgroups: true,
            portable: false,
            dry_run: false,
            devices: 1,
            tuning: None,
        }
    }
}

impl GpuOptions {
    /// The defaults, with `TRELLIS_ADAPTER` and `TRELLIS_MEMORY_MB` from the environment, and tuning tables from the folder
    /// `TRELLIS_TUNING` (`off` for none), else `trellis` in the user's cache folder.
    ///
    /// # Errors
    /// [`Error::Environment`] when `TRELLIS_MEMORY_MB` is not a number above 0.
    pub fn from_env() -> Result<Self> {
        let megabytes = |text: String| match text.parse::<u64>() {
            Ok(number) if number > 0 => Ok(number.saturating_mul(1 << 20)),
            _ => Err(Error::Environment { variable: "TRELLIS_MEMORY_MB", value: text }),
        };
        let memory_budget = variable("TRELLIS_MEMORY_MB").map(megabytes).transpose()?;
        let tuning = match variable("TRELLIS_TUNING") {
            Some(off) if off == "off" => None,
            Some(folder) => Some(PathBuf::from(folder)),
            None => user_cache(),
        };
        Ok(Self { adapter: variable("TRELLIS_ADAPTER"), memory_budget, tuning, ..Self::default() })
    }

    /// Path of an adapter's table. The file is named after the adapter and its driver, since another driver compiles other
    /// code.
    pub(crate) fn tuning_path(&self, info: &wgpu::AdapterInfo) -> Option<PathBuf> {
        let words = format!("{} {} {}", info.name, info.driver, info.driver_info).to_lowercase();
        let words: Vec<&str> =
            words.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty()).collect();
        Some(self.tuning.as_deref()?.join(format!("tuning-{}.txt", words.join("-"))))
    }
}
