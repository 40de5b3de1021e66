//! GPU buffers from a pool with a byte budget.
//!
//! A fresh buffer costs far more than a used one (drivers zero it lazily: 38 ms for 64 MiB on software Vulkan), and
//! software adapters never report that memory is short. So buffers come in size classes, go back to the pool when they
//! are dropped, and the pool refuses what would exceed the budget.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

use crate::device::counters::AtomicCounters;
use crate::device::gpu::{ALIGNMENT, Gpu, lock};
use crate::error::{Error, Result};

/// Free buffers by size class, and counts of bytes.
pub(crate) struct Pool {
    free: HashMap<u64, Vec<wgpu::Buffer>>,
    held: u64,
    pooled: u64,
    /// Bytes in use, by label.
    uses: HashMap<String, u64>,
    peak: u64,
    /// The largest buffer that was ever in use.
    largest: (String, u64),
    budget: u64,
    counters: Arc<AtomicCounters>,
}

impl Pool {
    pub(crate) fn new(budget: u64, counters: Arc<AtomicCounters>) -> Self {
        Self {
            free: HashMap::new(),
            held: 0,
            pooled: 0,
            uses: HashMap::new(),
            peak: 0,
            largest: (String::new(), 0),
            budget,
            counters,
        }
    }

    /// Greatest number of bytes that buffers may hold.
    pub(crate) fn budget(&self) -> u64 {
        self.budget
    }

    /// Bytes in buffers that exist, in use or free.
    pub(crate) fn held(&self) -> u64 {
        self.held
    }

    /// Bytes in use by label, largest first, and the peak of bytes in use.
    pub(crate) fn uses(&self) -> (Vec<(String, u64)>, u64) {
        let mut uses: Vec<(String, u64)> = self.uses.iter().map(|(label, bytes)| (label.clone(), *bytes)).collect();
        uses.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        (uses, self.peak)
    }

    /// The largest buffer that was ever in use.
    pub(crate) fn largest(&self) -> (String, u64) {
        self.largest.clone()
    }

    fn note(&mut self, label: &str, size: u64) {
        *self.uses.entry(label.to_string()).or_default() += size;
        self.peak = self.peak.max(self.held - self.pooled);
        if size > self.largest.1 {
            self.largest = (label.to_string(), size);
        }
    }

    /// Counts a buffer that is not allocated.
    fn count(&mut self, label: &str, size: u64) {
        self.held += size;
        self.note(label, size);
    }

    fn forget(&mut self, label: &str, size: u64) {
        if let Some(bytes) = self.uses.get_mut(label) {
            *bytes -= size;
            if *bytes == 0 {
                self.uses.remove(label);
            }
        }
    }

    fn drop_free_buffers(&mut self) {
        self.free.clear();
        self.held -= self.pooled;
        self.pooled = 0;
    }
}

/// A storage buffer that returns to the pool when it is dropped. Its contents are undefined until written.
pub(crate) struct Buffer {
    raw: wgpu::Buffer,
    size: u64,
    label: String,
    pool: Arc<Mutex<Pool>>,
}

impl Buffer {
    /// A buffer of at least `bytes`. `label` names it in errors.
    pub(crate) fn new(gpu: &Gpu, label: &str, bytes: usize) -> Result<Self> {
        let size = size_class(bytes as u64);
        if let Some(raw) = gpu.dry_run_buffer() {
            let pool = gpu.pool().clone();
            lock(&pool).count(label, size);
            return Ok(Self { raw: raw.clone(), size, label: label.to_string(), pool });
        }
        let caps = gpu.caps();
        if size > caps.max_buffer.min(caps.max_binding) {
            let limit = caps.max_buffer.min(caps.max_binding);
            return Err(Error::BindingTooLarge { label: label.to_string(), needed: bytes as u64, limit });
        }
        let pool = gpu.pool().clone();
        let mut accounts = lock(&pool);
        if let Some(raw) = accounts.free.get_mut(&size).and_then(Vec::pop) {
            accounts.pooled -= size;
            accounts.note(label, size);
            drop(accounts);
            poison(gpu, &raw);
            return Ok(Self { raw, size, label: label.to_string(), pool });
        }
        if accounts.held.saturating_add(size) > accounts.budget {
            accounts.drop_free_buffers();
        }
        if accounts.held.saturating_add(size) > accounts.budget {
            return Err(Error::OutOfBudget {
                label: label.to_string(),
                needed: size,
                used: accounts.held,
                budget: accounts.budget,
            });
        }
        let raw = gpu.scoped(label, |device| {
            device.create_buffer(&wgpu::BufferDescriptor {
                label: None,
                size,
                usage: wgpu::BufferUsages::STORAGE
                    | wgpu::BufferUsages::COPY_SRC
                    | wgpu::BufferUsages::COPY_DST
                    | wgpu::BufferUsages::UNIFORM,
                mapped_at_creation: false,
            })
        })?;
        accounts.held += size;
        accounts.note(label, size);
        accounts.counters.buffers_created.fetch_add(1, Ordering::Relaxed);
        drop(accounts);
        poison(gpu, &raw);
        Ok(Self { raw, size, label: label.to_string(), pool })
    }

    pub(crate) fn raw(&self) -> &wgpu::Buffer {
        &self.raw
    }

    /// Its name in errors.
    pub(crate) fn label(&self) -> &str {
        &self.label
    }

    /// Size in bytes.
    pub(crate) fn size(&self) -> u64 {
        self.size
    }
}

/// Fills a buffer with NaN in debug builds, and so in tests: a read of unwritten memory then shows.
fn poison(gpu: &Gpu, buffer: &wgpu::Buffer) {
    if cfg!(debug_assertions) {
        gpu.write(buffer, 0, &vec![0xff; buffer.size() as usize]);
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let size = self.size;
        let mut accounts = lock(&self.pool);
        accounts.forget(&self.label, size);
        if self.raw.size() < size {
            accounts.held -= size; // it was only counted
            return;
        }
        accounts.pooled += size;
        accounts.free.entry(size).or_default().push(self.raw.clone());
    }
}

/// The size class of `bytes`: 256 · {4, 5, 6, 7} · 2ᵏ / 4, so at most a fifth is wasted; from 64 MiB on eight times finer.
pub(crate) fn size_class(bytes: u64) -> u64 {
    let units = bytes.max(1).div_ceil(ALIGNMENT as u64);
    if units <= 4 {
        return units * ALIGNMENT as u64;
    }
    let steps = if units < FINE { 2 } else { 5 };
    let step = 1 << (units.ilog2() - steps);
    units.next_multiple_of(step) * ALIGNMENT as u64
}

/// Size from which classes are finer, in units of 256 bytes: 64 MiB.
const FINE: u64 = 1 << 18;

#[cfg(test)]
mod tests {
    use super::size_class;

    #[test]
    fn size_classes_waste_at_most_a_fifth() {
        let large = (1 << 26..1 << 31).step_by(9_999_991);
        assert!(large.clone().all(|bytes: u64| size_class(bytes) <= bytes + bytes / 30));
        for bytes in (1..2_000_000).step_by(997).chain(large) {
            let class = size_class(bytes);
            assert!(class >= bytes && class.is_multiple_of(256));
            assert!(bytes < 1024 || class * 4 <= bytes * 5 + 1024, "{bytes} -> {class}");
            assert_eq!(size_class(class), class, "a class is its own class");
        }
    }
}
