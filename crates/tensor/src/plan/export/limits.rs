//! Needs of a kernel, and the limits that WebGPU promises on every adapter.

use wgpu::naga::proc::Layouter;
use wgpu::naga::valid::{Capabilities, ValidationFlags, Validator};
use wgpu::naga::{AddressSpace, back, front};

use super::not_portable;
use crate::error::Result;
use crate::plan::kernel::Variant;

/// Needs of a kernel when it is launched.
pub(super) struct Needs {
    /// Invocations of a workgroup.
    pub(super) workgroup: [u32; 3],
    /// Bytes of workgroup memory.
    pub(super) memory: u32,
}

impl Needs {
    /// Reads a kernel's text, its constants put in.
    ///
    /// # Errors
    /// [`Error::NotPortable`](crate::Error::NotPortable) for a feature such as f16 or subgroups.
    pub(super) fn of(variant: &Variant, text: &str) -> Result<Self> {
        let name = variant.kernel.name;
        let module = front::wgsl::parse_str(text).map_err(|error| not_portable(name, error.emit_to_string(text)))?;
        // `unpack2x16float` is part of WGSL itself; f16 as a type is not.
        let promised = Capabilities::SHADER_FLOAT16_IN_FLOAT32;
        let validated = Validator::new(ValidationFlags::all(), promised).validate(&module);
        let info = validated.map_err(|error| not_portable(name, causes(error.as_inner())))?;
        let constants = variant.constants.iter().map(|(name, value)| (name.to_string(), *value)).collect();
        let (module, _) = back::pipeline_constants::process_overrides(&module, &info, None, &constants)
            .map_err(|error| not_portable(name, causes(&error)))?;
        let mut layouter = Layouter::default();
        layouter.update(module.to_ctx()).map_err(|error| not_portable(name, causes(&error)))?;
        let shared = module.global_variables.iter().filter(|(_, global)| global.space == AddressSpace::WorkGroup);
        let memory = shared.map(|(_, global)| layouter[global.ty].size).sum();
        let workgroup = module.entry_points.first().map_or([1; 3], |entry| entry.workgroup_size);
        Ok(Self { workgroup, memory })
    }

    /// Refuses a kernel that needs more than the limits.
    pub(super) fn check(&self, kernel: &str, buffers: usize) -> Result<()> {
        let limits = wgpu::Limits::default();
        let [x, y, z] = self.workgroup;
        for (need, limit, of) in [
            (buffers as u32, limits.max_storage_buffers_per_shader_stage, "storage buffers"),
            (x * y * z, limits.max_compute_invocations_per_workgroup, "invocations of a workgroup"),
            (x, limits.max_compute_workgroup_size_x, "invocations of a workgroup along x"),
            (y, limits.max_compute_workgroup_size_y, "invocations of a workgroup along y"),
            (z, limits.max_compute_workgroup_size_z, "invocations of a workgroup along z"),
            (self.memory, limits.max_compute_workgroup_storage_size, "bytes of workgroup memory"),
        ] {
            if need > limit {
                return Err(not_portable(kernel, format!("it needs {need} {of}, and the limit is {limit}")));
            }
        }
        Ok(())
    }
}

/// Refuses a binding that is too large.
pub(super) fn check_binding(kernel: &str, bytes: usize) -> Result<()> {
    let limit = wgpu::Limits::default().max_storage_buffer_binding_size;
    match bytes as u64 > limit {
        true => Err(not_portable(kernel, format!("it binds {bytes} bytes at once, and the limit is {limit}"))),
        false => Ok(()),
    }
}

/// An error with what it comes from.
fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
