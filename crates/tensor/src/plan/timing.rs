//! Time of each dispatch of a step, or of spans of dispatches: timestamps between the same dispatches that [`Plan::run`] submits.

use std::time::Instant;

use crate::device::gpu::Gpu;
use crate::error::{Error, Result};
use crate::plan::{LaunchInfo, Plan};
use crate::tensor::read_raw;

/// Time of one step.
#[derive(Clone, Debug)]
pub struct StepTime {
    /// Every dispatch, in order.
    pub launches: Vec<LaunchTime>,
    /// Median time in nanoseconds that the CPU takes to encode a step.
    pub encode: f64,
    /// Median time in nanoseconds that the CPU takes to submit it.
    pub submit: f64,
}

/// The time of one dispatch.
#[derive(Clone, Debug)]
pub struct LaunchTime {
    /// The dispatch.
    pub info: LaunchInfo,
    /// Median time in nanoseconds.
    pub nanoseconds: f64,
}

/// Time of spans of a step.
#[derive(Clone, Debug)]
pub struct SpanTime {
    /// Median time in nanoseconds of each span.
    pub nanoseconds: Vec<f64>,
    /// Median time in nanoseconds that the CPU takes to encode a step.
    pub encode: f64,
    /// Median time in nanoseconds that the CPU takes to submit it.
    pub submit: f64,
}

impl Plan {
    /// Runs `steps` steps with a timestamp between every two dispatches, and returns the median time of each. They are steps
    /// like others: parameters move and the step state advances. Each is encoded, submitted and waited for by itself.
    ///
    /// A timestamp waits for the dispatch before it: on an NVIDIA H100 each adds 8 µs. [`Plan::profile_spans`] takes fewer.
    ///
    /// # Errors
    /// [`Error::Device`] on an adapter without timestamps inside passes, or a lost device.
    pub fn profile(&self, steps: usize) -> Result<StepTime> {
        let ends: Vec<usize> = (1..=self.launches().len()).collect();
        let SpanTime { nanoseconds, encode, submit } = self.profile_spans(steps, &ends)?;
        let launches = self.launches().cloned().zip(nanoseconds);
        let launches = launches.map(|(info, nanoseconds)| LaunchTime { info, nanoseconds });
        Ok(StepTime { launches: launches.collect(), encode, submit })
    }

    /// [`Plan::profile`] with a timestamp at the ends of spans only: `ends` are increasing numbers of dispatches, each span reaching from the
    /// end of the one before. Within a span dispatches overlap as in a step that is not timed. Errors as there.
    pub fn profile_spans(&self, steps: usize, ends: &[usize]) -> Result<SpanTime> {
        let gpu = self.gpu();
        if !gpu.caps().timestamps {
            let message = "it has no timestamps inside compute passes".to_string();
            return Err(Error::Device { adapter: gpu.name().to_string(), message });
        }
        let mut times = vec![Vec::with_capacity(steps); ends.len()];
        let (mut encode, mut submit) = (Vec::with_capacity(steps), Vec::with_capacity(steps));
        for _ in 0..steps {
            let (stamps, encoding, submitting) = self.timed_step(gpu, ends)?;
            encode.push(encoding);
            submit.push(submitting);
            for (times, pair) in times.iter_mut().zip(stamps.windows(2)) {
                times.push(pair[1].wrapping_sub(pair[0]) as f64 * f64::from(gpu.queue().get_timestamp_period()));
            }
        }
        let median = |mut times: Vec<f64>| {
            times.sort_by(f64::total_cmp);
            times.get(times.len() / 2).copied().unwrap_or(0.0)
        };
        let nanoseconds = times.into_iter().map(median).collect();
        Ok(SpanTime { nanoseconds, encode: median(encode), submit: median(submit) })
    }

    /// Timestamps in ticks; nanoseconds of encoding and of submitting.
    fn timed_step(&self, gpu: &Gpu, ends: &[usize]) -> Result<(Vec<u64>, f64, f64)> {
        let count = ends.len() as u32 + 1;
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
        let began = Instant::now();
        let mut encoder = device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
        pass.write_timestamp(&queries, 0);
        let mut written = 0;
        self.encode(&mut pass, |pass, number| {
            if ends.get(written) == Some(&(number + 1)) {
                written += 1;
                pass.write_timestamp(&queries, written as u32);
            }
        });
        drop(pass);
        encoder.resolve_query_set(&queries, 0..count, &buffer, 0);
        let commands = encoder.finish();
        let encoded = Instant::now();
        gpu.submit(commands);
        let submitted = Instant::now();
        let nanoseconds = |from: Instant, to: Instant| to.duration_since(from).as_nanos() as f64;
        let stamps = read_raw(gpu, &buffer, 0, count as usize)?;
        Ok((stamps, nanoseconds(began, encoded), nanoseconds(encoded, submitted)))
    }
}
