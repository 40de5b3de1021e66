//! Counts of a device's work.

use std::sync::atomic::AtomicU64;

/// Counts since the device was opened. Tests read them to check what a step must not do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Counters {
    /// Kernels launched.
    pub dispatches: u64,
    /// Queue submissions.
    pub submits: u64,
    /// Buffers copied to the CPU.
    pub readbacks: u64,
    /// Buffers created (not served from the pool).
    pub buffers_created: u64,
    /// Pipelines created.
    pub pipelines_created: u64,
}

#[derive(Default)]
pub(crate) struct AtomicCounters {
    pub(crate) dispatches: AtomicU64,
    pub(crate) submits: AtomicU64,
    pub(crate) readbacks: AtomicU64,
    pub(crate) buffers_created: AtomicU64,
    pub(crate) pipelines_created: AtomicU64,
}
