//! How long each dispatch of a step takes: timestamps between the same dispatches that [`Plan::run`] submits.

use crate::error::{Error, Result};
use crate::gpu::Gpu;
use crate::plan::{LaunchInfo, Plan};
use crate::tensor::read_raw;

/// The time of one dispatch.
#[derive(Clone, Debug)]
pub struct LaunchTime {
    /// The dispatch.
    pub info: LaunchInfo,
    /// Median time in nanoseconds.
    pub nanoseconds: f64,
}

impl Plan {
    /// Runs `steps` steps with a timestamp between every two dispatches; the median time of each. They are steps like
    /// others: parameters move and the clock advances.
    ///
    /// # Errors
    /// [`Error::Device`] on an adapter without timestamps inside passes, or a lost device.
    pub fn profile(&self, steps: usize) -> Result<Vec<LaunchTime>> {
        let gpu = self.gpu();
        if !gpu.caps().timestamps {
            let message = "it has no timestamps inside compute passes".to_string();
            return Err(Error::Device { adapter: gpu.name().to_string(), message });
        }
        let count = self.launches().len() as u32 + 1;
        let mut times = vec![Vec::with_capacity(steps); count as usize - 1];
        for _ in 0..steps {
            let stamps = self.timed_step(gpu, count)?;
            for (times, pair) in times.iter_mut().zip(stamps.windows(2)) {
                times.push(pair[1].wrapping_sub(pair[0]) as f64 * f64::from(gpu.queue().get_timestamp_period()));
            }
        }
        let median = |mut times: Vec<f64>| {
            times.sort_by(f64::total_cmp);
            times.get(times.len() / 2).copied().unwrap_or(0.0)
        };
        let launches = self.launches().cloned();
        Ok(launches.zip(times).map(|(info, times)| LaunchTime { info, nanoseconds: median(times) }).collect())
    }

    fn timed_step(&self, gpu: &Gpu, count: u32) -> Result<Vec<u64>> {
        let device = gpu.device();
        let queries = device.create_query_set(&wgpu::QuerySetDescriptor {
            label: Some("profile"),
            ty: wgpu::QueryType::Timestamp,
            count,
        });
        let buffer = device.create_buffer(&wgpu::BufferDescriptor {
            label: Some("timestamps"),
            size: 8 * u64::from(count),
            usage: wgpu::BufferUsages::QUERY_RESOLVE | wgpu::BufferUsages::COPY_SRC,
            mapped_at_creation: false,
        });
        let mut encoder = device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
        pass.write_timestamp(&queries, 0);
        self.encode(&mut pass, |pass, number| pass.write_timestamp(&queries, number as u32 + 1));
        drop(pass);
        encoder.resolve_query_set(&queries, 0..count, &buffer, 0);
        gpu.submit(encoder.finish());
        read_raw(gpu, &buffer, 0, count as usize)
    }
}
