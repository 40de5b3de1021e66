//! Threads that put batches together ahead of the GPU.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use crate::error::Result;

/// A batch on the CPU, as a ring on the GPU takes it.
#[derive(Debug)]
pub(crate) struct HostBatch {
    pub(crate) values: Values,
    pub(crate) labels: Vec<u32>,
}

/// Values of the examples of a batch.
#[derive(Debug)]
pub(crate) enum Values {
    /// Of images, brightness.
    Bytes(Vec<u8>),
    /// Of text.
    Tokens(Vec<u32>),
}

/// Puts the batch of a step together.
pub(crate) type ReadBatch = Arc<dyn Fn(u32) -> Result<HostBatch> + Send + Sync>;

/// Batches in the order of steps. Thread t of T fills those of steps t, t + T, … into a channel of its own. The order
/// is therefore that of the steps whichever thread is faster, and at most two batches a thread are held.
pub(crate) struct Prefetcher {
    first: u32,
    next: u32,
    channels: Vec<Receiver<Result<HostBatch>>>,
    waited: Duration,
}

impl Prefetcher {
    /// Begins with step `first`, on `threads` threads. They end before step `end`, or when the loader is dropped.
    pub(crate) fn start(first: u32, end: u32, threads: usize, fill: &ReadBatch) -> Self {
        let worker = |number: usize| {
            let (sender, receiver) = sync_channel(1);
            let fill = fill.clone();
            thread::spawn(move || {
                let mut steps = (first.saturating_add(number as u32)..end).step_by(threads);
                // The receiver hangs up when nobody wants another batch.
                let _ = steps.try_for_each(|step| sender.send(fill(step)));
            });
            receiver
        };
        Self { first, next: first, channels: (0..threads).map(worker).collect(), waited: Duration::ZERO }
    }

    /// The step whose batch comes next.
    pub(crate) fn next(&self) -> u32 {
        self.next
    }

    /// The next batch; `None` if the thread that was to fill it has panicked.
    pub(crate) fn take(&mut self) -> Option<Result<HostBatch>> {
        let began = Instant::now();
        let channel = (self.next - self.first) as usize % self.channels.len();
        self.next += 1;
        let filled = self.channels[channel].recv().ok();
        self.waited += began.elapsed();
        filled
    }

    /// Time that [`Prefetcher::take`] has waited.
    pub(crate) fn waited(&self) -> Duration {
        self.waited
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use trellis_data::Place;

    use super::*;
    use crate::error::Error;

    fn fill(of: impl Fn(u32) -> Result<u32> + Send + Sync + 'static) -> ReadBatch {
        Arc::new(move |step| Ok(HostBatch { values: Values::Bytes(Vec::new()), labels: vec![of(step)?] }))
    }

    /// Fills with the number of the step, and counts how often.
    fn counted() -> (Arc<AtomicUsize>, ReadBatch) {
        let filled = Arc::new(AtomicUsize::new(0));
        let count = filled.clone();
        let fill = fill(move |step| {
            count.fetch_add(1, Ordering::SeqCst);
            Ok(step)
        });
        (filled, fill)
    }

    #[test]
    fn batches_come_in_order_whichever_thread_is_slower() {
        for threads in [1, 3] {
            let slow_thirds = fill(|step| {
                thread::sleep(Duration::from_millis(if step % 3 == 0 { 3 } else { 0 }));
                Ok(step)
            });
            let mut loader = Prefetcher::start(7, u32::MAX, threads, &slow_thirds);
            let taken: Vec<u32> = (0..20).map(|_| loader.take().unwrap().unwrap().labels[0]).collect();
            assert_eq!(taken, (7..27).collect::<Vec<_>>());
            assert_eq!(loader.next(), 27);
        }
    }

    #[test]
    fn what_is_filled_ahead_is_bounded_and_ends_with_the_loader() {
        let (filled, fill) = counted();
        let mut loader = Prefetcher::start(0, u32::MAX, 2, &fill);
        loader.take().unwrap().unwrap();
        thread::sleep(Duration::from_millis(100));
        // One taken; a thread holds one in its channel and one in its hands.
        assert!((1..=5).contains(&filled.load(Ordering::SeqCst)), "{filled:?}");
        drop(loader);
        thread::sleep(Duration::from_millis(100));
        assert_eq!(Arc::strong_count(&fill), 1, "the threads have ended");
    }

    #[test]
    fn nothing_is_filled_past_the_end() {
        let (filled, fill) = counted();
        let mut loader = Prefetcher::start(2, 5, 2, &fill);
        let taken: Vec<u32> = (0..3).map(|_| loader.take().unwrap().unwrap().labels[0]).collect();
        assert_eq!(taken, [2, 3, 4]);
        assert!(loader.take().is_none() && filled.load(Ordering::SeqCst) == 3);
    }

    #[test]
    fn an_error_comes_where_its_batch_would_and_a_panic_is_told() {
        let broken = |step: u32| {
            if step == 2 { Err(Error::config(Place::setting("data"), "x", "broken", "")) } else { Ok(step) }
        };
        let mut loader = Prefetcher::start(0, u32::MAX, 2, &fill(broken));
        let taken: Vec<bool> = (0..4).map(|_| loader.take().unwrap().is_ok()).collect();
        assert_eq!(taken, [true, true, false, true]);
        let mut loader =
            Prefetcher::start(0, 9, 1, &fill(|step| if step == 1 { panic!("on purpose") } else { Ok(step) }));
        assert!(loader.take().is_some());
        assert!(loader.take().is_none());
    }
}
