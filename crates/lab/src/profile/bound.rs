//! Limits of dispatches: what each of them spends its time with.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Ceilings, Launch};

/// Limit of a dispatch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Bound {
    /// The launch itself: it takes no more than twice the time of a dispatch that does nothing. Fewer dispatches would help.
    Launch,
    /// Latency: its workgroups are too few to keep the adapter busy, and it is far from both ceilings. More parts would help.
    Latency,
    /// Bytes: they take longer than its operations do.
    Bytes,
    /// Operations: they take longer than its bytes do.
    Arithmetic,
}

impl Bound {
    pub(super) const ALL: [Self; 4] = [Self::Launch, Self::Latency, Self::Bytes, Self::Arithmetic];

    /// The limit of a dispatch on an adapter with these ceilings.
    pub(super) fn of(launch: &Launch, ceilings: &Ceilings) -> Self {
        let [arithmetic, bytes] = [ceilings.floor_ms(launch.flops, 0), ceilings.floor_ms(0, launch.bytes)];
        let groups: u64 = launch.groups.iter().map(|&groups| u64::from(groups)).product();
        if launch.ms <= 2.0 * ceilings.launch_ms {
            Self::Launch
        } else if groups < u64::from(ceilings.groups) && launch.ms > 2.0 * arithmetic.max(bytes) {
            Self::Latency
        } else if arithmetic > bytes {
            Self::Arithmetic
        } else {
            Self::Bytes
        }
    }
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Launch => "launch",
            Self::Latency => "latency",
            Self::Bytes => "bytes",
            Self::Arithmetic => "arithmetic",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::tests::profile;

    #[test]
    fn each_limit_is_found() {
        // 10 bytes or 100 operations a nanosecond; 5 µs for nothing; 264 workgroups.
        let ceilings = Ceilings { copy_bytes_per_s: 10e9, fma_flop_per_s: 100e9, launch_ms: 0.005, groups: 264 };
        let of = |ms, groups, flops, bytes| {
            let launch = Launch { ms, groups: [groups, 1, 1], flops, bytes, ..profile().launches[0].clone() };
            Bound::of(&launch, &ceilings)
        };
        assert_eq!(of(0.009, 1, 10, 10), Bound::Launch);
        assert_eq!(of(0.05, 4, 100_000, 1000), Bound::Latency);
        assert_eq!(of(0.05, 400, 100_000, 1000), Bound::Arithmetic);
        assert_eq!(of(0.05, 400, 1000, 100_000), Bound::Bytes);
        // Few workgroups may be enough.
        assert_eq!(of(0.05, 4, 4_000_000, 1000), Bound::Arithmetic);
        assert_eq!(of(0.05, 4, 0, 400_000), Bound::Bytes);
    }
}
