//! Dispatches of a profile that belong together.

use super::{Bound, Launch, Span};

/// Dispatches that belong together.
#[derive(Clone, Debug, PartialEq)]
pub struct Group {
    /// Name of what they have in common.
    pub name: String,
    /// Number of launches.
    pub launches: usize,
    /// Number of launches that wait behind a barrier.
    pub barriers: usize,
    /// Milliseconds, all together.
    pub ms: f64,
    /// The least they could take.
    pub floor_ms: f64,
    /// Floating-point operations.
    pub flops: u64,
    /// Bytes.
    pub bytes: u64,
    /// Milliseconds that each of [`Bound::ALL`] limits.
    bounds: [f64; Bound::ALL.len()],
}

impl Group {
    /// The group of this name, added where there is none.
    pub(super) fn named<'g>(groups: &'g mut Vec<Self>, name: &str) -> &'g mut Self {
        let at = groups.iter().position(|group| group.name == name).unwrap_or_else(|| {
            let name = name.to_string();
            groups.push(Self {
                name,
                launches: 0,
                barriers: 0,
                ms: 0.0,
                floor_ms: 0.0,
                flops: 0,
                bytes: 0,
                bounds: [0.0; Bound::ALL.len()],
            });
            groups.len() - 1
        });
        &mut groups[at]
    }

    pub(super) fn add_launch(&mut self, launch: &Launch, floor_ms: f64) {
        self.launches += 1;
        self.barriers += usize::from(launch.barrier);
        self.ms += launch.ms;
        self.floor_ms += floor_ms;
        self.flops += launch.flops;
        self.bytes += launch.bytes;
        if let Some(at) = Bound::ALL.iter().position(|bound| Some(*bound) == launch.bound) {
            self.bounds[at] += launch.ms;
        }
    }

    pub(super) fn add_span(&mut self, span: &Span) {
        self.launches += span.dispatches;
        self.barriers += span.barriers;
        self.ms += span.ms;
        self.floor_ms += span.floor_ms;
        self.flops += span.flops;
        self.bytes += span.bytes;
    }

    /// The limit of most of its time; `None` where none is known, as of spans.
    pub fn bound(&self) -> Option<Bound> {
        let limits = Bound::ALL.into_iter().zip(self.bounds).filter(|(_, ms)| *ms > 0.0);
        limits.max_by(|a, b| a.1.total_cmp(&b.1)).map(|(bound, _)| bound)
    }

    /// 10⁹ operations a second.
    pub fn gflop_per_s(&self) -> f64 {
        self.flops as f64 / self.ms.max(1e-9) / 1e6
    }

    /// 10⁹ bytes a second.
    pub fn gb_per_s(&self) -> f64 {
        self.bytes as f64 / self.ms.max(1e-9) / 1e6
    }

    /// Ratio of its time to the least it could take; `None` where there is nothing that it must do.
    pub fn times_floor(&self) -> Option<f64> {
        (self.floor_ms > 0.0).then(|| self.ms / self.floor_ms)
    }
}
