//! Placement of an adapter's subgroups within workgroups.

use wgpu::BufferUsages as Usage;

/// Kernel in which each invocation of a workgroup writes its place in its subgroup.
const PLACES: &str = "
@group(0) @binding(0) var<storage, read_write> places: array<u32, 256>;
@compute @workgroup_size(256)
fn places_in_subgroups(@builtin(local_invocation_index) local: u32, @builtin(subgroup_invocation_id) place: u32) {
    places[local] = place;
}";

/// True if invocations `size · i` to `size · i + size − 1` of a workgroup are a subgroup, in this order. Adapters do it so, but
/// WebGPU does not promise it. False if it is not so, or cannot be found out.
pub(crate) fn neighbors_share(device: &wgpu::Device, queue: &wgpu::Queue, size: u32) -> bool {
    places(device, queue).is_some_and(|places| (0..).zip(places).all(|(local, place)| place == local % size))
}

fn places(device: &wgpu::Device, queue: &wgpu::Queue) -> Option<Vec<u32>> {
    let source = wgpu::ShaderSource::Wgsl(PLACES.into());
    let module = device.create_shader_module(wgpu::ShaderModuleDescriptor { label: Some("subgroups"), source });
    let pipeline = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
        label: Some("subgroups"),
        layout: None,
        module: &module,
        entry_point: None,
        compilation_options: Default::default(),
        cache: None,
    });
    let buffer = |usage| {
        device.create_buffer(&wgpu::BufferDescriptor {
            label: Some("subgroups"),
            size: 1024,
            usage,
            mapped_at_creation: false,
        })
    };
    let (places, staging) = (buffer(Usage::STORAGE | Usage::COPY_SRC), buffer(Usage::MAP_READ | Usage::COPY_DST));
    let bind_group = device.create_bind_group(&wgpu::BindGroupDescriptor {
        label: Some("subgroups"),
        layout: &pipeline.get_bind_group_layout(0),
        entries: &[wgpu::BindGroupEntry { binding: 0, resource: places.as_entire_binding() }],
    });
    let mut encoder = device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
    {
        let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
        pass.set_pipeline(&pipeline);
        pass.set_bind_group(0, &bind_group, &[]);
        pass.dispatch_workgroups(1, 1, 1);
    }
    encoder.copy_buffer_to_buffer(&places, 0, &staging, 0, Some(1024));
    queue.submit([encoder.finish()]);
    staging.map_async(wgpu::MapMode::Read, .., |_| {});
    device.poll(wgpu::PollType::wait_indefinitely()).ok()?;
    let view = staging.get_mapped_range(..).ok()?;
    Some(bytemuck::pod_collect_to_vec(&view))
}
