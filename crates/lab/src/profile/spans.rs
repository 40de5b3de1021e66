//! Spans of a step: neighboring dispatches of one phase, which few timestamps tell apart.

use serde::{Deserialize, Serialize};
use trellis_tensor::LaunchInfo;

use super::{Ceilings, Phase};

/// Part of a step that is timed by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Per {
    /// A dispatch: the most detail. On an NVIDIA H100 each timestamp adds 8 µs.
    Dispatch,
    /// Neighboring dispatches of one phase: few timestamps, and dispatches overlap as in a step that is not timed.
    Phase,
}

/// Neighboring dispatches of one phase.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Span {
    /// The part of the step.
    pub phase: Phase,
    /// Number of dispatches.
    pub dispatches: usize,
    /// Number of them that wait behind a barrier.
    pub barriers: usize,
    /// Milliseconds.
    pub ms: f64,
    /// The least that they could take one after the other, in milliseconds.
    pub floor_ms: f64,
    /// Floating-point operations.
    pub flops: u64,
    /// Bytes that must be read or written at least once.
    pub bytes: u64,
}

/// Neighboring launches of one phase, not timed yet.
pub(super) fn spans<'l>(launches: impl Iterator<Item = &'l LaunchInfo>, ceilings: &Ceilings) -> Vec<Span> {
    let mut spans: Vec<Span> = Vec::new();
    for launch in launches {
        let phase = Phase::of(&launch.layer);
        if spans.last().is_none_or(|span| span.phase != phase) {
            spans.push(Span { phase, dispatches: 0, barriers: 0, ms: 0.0, floor_ms: 0.0, flops: 0, bytes: 0 });
        }
        let span = spans.last_mut().expect("just added");
        span.dispatches += 1;
        span.barriers += usize::from(launch.barrier);
        span.floor_ms += ceilings.floor_ms(launch.flops, launch.bytes);
        span.flops += launch.flops;
        span.bytes += launch.bytes;
    }
    spans
}
