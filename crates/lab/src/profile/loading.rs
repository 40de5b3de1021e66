//! Rate of the threads that read batches, compared with the steps that take them.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use trellis_guidance::{BatchSource, Result, Session};

/// Reading of a streamed data set.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Loading {
    /// Examples of a step.
    pub batch: usize,
    /// Examples a second that the threads read while nothing trains.
    pub reads_per_s: f64,
    /// Milliseconds of a step while the threads read for it.
    pub step_ms: f64,
    /// Milliseconds of these in which the step waited for them.
    pub waited_ms: f64,
}

impl Loading {
    /// Times the next `steps` steps of a session, after some to warm up, and reading by itself.
    pub(super) fn measure(session: &mut Session<'_>, batches: &mut BatchSource<'_>, steps: usize) -> Result<Self> {
        let mut take = |steps: usize| -> Result<(Duration, Duration)> {
            let (began, waited, until) = (Instant::now(), session.waited(), session.step() + steps as u32);
            while session.step() < until {
                session.advance(until - session.step())?;
            }
            session.wait()?;
            Ok((began.elapsed(), session.waited() - waited))
        };
        take(WARM_UP)?;
        let (elapsed, waited) = take(steps)?;

        // The first batches also wait for the threads to begin.
        (0..WARM_UP).try_for_each(|step| batches.prepare(step as u32, 1))?;
        let began = Instant::now();
        (WARM_UP..WARM_UP + steps).try_for_each(|step| batches.prepare(step as u32, 1))?;
        let reads_per_s = (batches.batch_size() * steps) as f64 / began.elapsed().as_secs_f64();
        let ms = |time: Duration| 1e3 * time.as_secs_f64() / steps as f64;
        Ok(Self { batch: batches.batch_size(), reads_per_s, step_ms: ms(elapsed), waited_ms: ms(waited) })
    }

    /// Examples a second of steps that take `step_ms` where nothing is read.
    pub fn takes_per_s(&self, step_ms: f64) -> f64 {
        1e3 * self.batch as f64 / step_ms
    }
}

/// Steps before those that are timed.
pub(super) const WARM_UP: usize = 3;
