//! A dispatch that is not part of a plan yet: its buffers are known, its pipeline is not.

use std::sync::Arc;

use super::{BufferSlice, LaunchInfo};
use crate::device::gpu::{ALIGNMENT, Gpu, Pipeline};
use crate::device::pool::Buffer;
use crate::error::{Error, Result};
use crate::graph::op::{Dispatch, MAX_GROUPS, MAX_TURNS};
use crate::plan::kernel::Access;

/// A dispatch whose buffers are known.
#[derive(Clone)]
pub(super) struct Pending {
    pub(super) dispatch: Dispatch,
    pub(super) bindings: Vec<(BufferSlice, usize)>,
    pub(super) op: &'static str,
    pub(super) layer: Arc<str>,
}

impl Pending {
    pub(super) fn bind(
        &self,
        gpu: &Gpu,
        pipeline: &Pipeline,
        uniforms: &Buffer,
        slot: usize,
    ) -> Result<wgpu::BindGroup> {
        let Self { dispatch, bindings, op, layer } = self;
        let kernel = dispatch.variant.kernel.name;
        debug_assert_eq!(pipeline.bindings.len(), bindings.len(), "{kernel}: bindings of {op}");
        check_aliasing(kernel, &pipeline.bindings, bindings);
        let bind = |binding, buffer, offset: usize, bytes: usize| wgpu::BindGroupEntry {
            binding,
            resource: wgpu::BindingResource::Buffer(wgpu::BufferBinding {
                buffer,
                offset: offset as u64,
                size: std::num::NonZeroU64::new(bytes.max(16).next_multiple_of(4) as u64),
            }),
        };
        let entries: Vec<_> = std::iter::once(bind(0, uniforms.raw(), slot, ALIGNMENT))
            .chain(
                bindings
                    .iter()
                    .zip(1..)
                    .map(|((place, bytes), number)| bind(number, place.buffer.raw(), place.offset, *bytes)),
            )
            .collect();
        gpu.scoped(&format!("{op} in {layer}"), |device| {
            device.create_bind_group(&wgpu::BindGroupDescriptor {
                label: Some(kernel),
                layout: &pipeline.layout,
                entries: &entries,
            })
        })
    }

    pub(super) fn check_size(&self, gpu: &Gpu) -> Result<()> {
        let Self { dispatch, op, layer, .. } = self;
        let label = if layer.is_empty() { op.to_string() } else { format!("{op} in {layer}") };
        let error = |message: String| Err(Error::Gpu { label: label.clone(), message });
        if dispatch.groups.iter().any(|&n| n as usize > MAX_GROUPS) {
            return error(format!(
                "{:?} workgroups; {MAX_GROUPS} a dimension are allowed: build its dispatch with `Dispatch::grid`, which folds them",
                dispatch.groups
            ));
        }
        if gpu.caps().software && dispatch.iterations > MAX_TURNS {
            return error(format!(
                "{} loop iterations; a software adapter leaves a loop after {MAX_TURNS}: use smaller sizes, or a GPU",
                dispatch.iterations
            ));
        }
        Ok(())
    }

    pub(super) fn info(&self, barrier: bool) -> LaunchInfo {
        let Dispatch { variant, groups, flops, .. } = &self.dispatch;
        LaunchInfo {
            op: self.op,
            kernel: variant.kernel.name,
            variant: variant.flags.join(" "),
            layer: self.layer.to_string(),
            groups: *groups,
            flops: *flops,
            bytes: self.bindings.iter().map(|(_, bytes)| *bytes as u64).sum(),
            barrier,
        }
    }
}

/// WebGPU's rule: a buffer that a dispatch writes is not read through another binding of it, not even elsewhere.
fn check_aliasing(kernel: &str, access: &[Access], bindings: &[(BufferSlice, usize)]) {
    for (written, (place, _)) in access.iter().zip(bindings).filter(|(access, _)| **access == Access::ReadWrite) {
        for (read, (other, _)) in access.iter().zip(bindings) {
            debug_assert!(
                *read == *written || !Arc::ptr_eq(&place.buffer, &other.buffer),
                "{kernel} reads and writes one buffer"
            );
        }
    }
}
