//! Memory planner: values that do not live at the same time share a buffer.
//!
//! WebGPU forbids a dispatch to write one part of a buffer and read another, so values share whole buffers, not parts of one.
//!
//! Sharing saves memory and costs time. A dispatch that writes a buffer again waits until all before it have ended, and cannot
//! run earlier than those that read it before (`barriers.rs`, `order.rs`). So small values, which save little, have buffers of
//! their own.

use std::ops::RangeInclusive;

use crate::device::pool::size_class;

/// A value that needs memory.
#[derive(Clone, Debug)]
pub(super) struct Allocation {
    /// Name for messages.
    pub(super) label: String,
    pub(super) bytes: usize,
    /// Live range: the first op that writes it and the last that reads it, by their positions in the order.
    pub(super) live: RangeInclusive<usize>,
}

/// Greatest number of bytes of a value that has a buffer of its own, and of all such values of a plan together. An H100 copies
/// 2 MiB in 2 µs, as long as a barrier takes.
const SMALL: usize = 2 << 20;
const APART: u64 = 64 << 20;

/// True for each value that has a buffer of its own: small ones, the smallest first, as many as [`APART`] holds.
fn apart(allocations: &[Allocation]) -> Vec<bool> {
    let mut order: Vec<usize> = (0..allocations.len()).collect();
    order.sort_by_key(|&need| allocations[need].bytes);
    let mut apart = vec![false; allocations.len()];
    let mut total = 0;
    for need in order {
        total += size_class(allocations[need].bytes as u64);
        apart[need] = allocations[need].bytes <= SMALL && total <= APART;
    }
    apart
}

/// Number of the buffer of each value, and for each buffer the value that sets its size.
///
/// Greedy by size (Pisarchyk and Lee 2020, arXiv:2001.03288): the largest value first, each into the smallest buffer whose
/// values all live at other times, else into one of its own. So a large buffer is never kept busy by earlier, smaller values.
/// On a GPU small values share with none, see [`APART`]. On a CPU a barrier costs nothing, and a small working set stays in its
/// caches.
pub(super) fn share(allocations: &[Allocation], software: bool) -> (Vec<usize>, Vec<usize>) {
    let alone = if software { vec![false; allocations.len()] } else { apart(allocations) };
    share_but(&alone, allocations)
}

fn share_but(alone: &[bool], allocations: &[Allocation]) -> (Vec<usize>, Vec<usize>) {
    let mut order: Vec<usize> = (0..allocations.len()).collect();
    // Values of one size keep their order.
    order.sort_by_key(|&need| std::cmp::Reverse(size_class(allocations[need].bytes as u64)));
    let mut members: Vec<Vec<usize>> = Vec::new();
    let mut buffer_of = vec![0; allocations.len()];
    for need in order {
        let own = &allocations[need].live;
        let apart = |other: &usize| {
            let other = &allocations[*other].live;
            own.end() < other.start() || other.end() < own.start()
        };
        // Buffers are in descending order of size: the last that fits is the smallest.
        let shared = |members: &Vec<usize>| members.iter().all(|other| !alone[*other] && apart(other));
        let fits = members.iter().rposition(shared).filter(|_| !alone[need]);
        let buffer = fits.unwrap_or(members.len());
        if buffer == members.len() {
            members.push(Vec::new());
        }
        members[buffer].push(need);
        buffer_of[need] = buffer;
    }
    (buffer_of, members.into_iter().map(|members| members[0]).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn need(bytes: usize, live: RangeInclusive<usize>) -> Allocation {
        Allocation { label: String::new(), bytes, live }
    }

    #[test]
    fn values_share_where_they_do_not_meet() {
        let allocations = [
            need(100, 0..=2),
            need(5000, 1..=3),
            need(4000, 4..=6),
            need(90, 3..=9),
            need(80, 7..=8),
            need(70, 10..=usize::MAX),
        ];
        let (buffers, sizes) = share_but(&[false; 6], &allocations);
        assert_eq!(sizes, [1, 0], "as large as 5000 and 100");
        assert_eq!(buffers, [1, 0, 0, 1, 0, 1]);
        assert_eq!(share(&[], false), (vec![], vec![]));
        let (_, touching) = share_but(&[false; 2], &[need(8, 0..=1), need(8, 1..=2)]);
        assert_eq!(touching.len(), 2, "an op reads one while it writes the other");
    }

    #[test]
    fn small_values_share_with_none_and_take_no_more_than_a_given_memory() {
        let allocations: Vec<Allocation> =
            (0..200).map(|i| need(if i % 2 == 0 { 1 << 20 } else { 8 << 20 }, i..=i)).collect();
        let (buffers, sizes) = share(&allocations, false);
        // 64 of 1 MiB by themselves; the rest in one buffer.
        assert_eq!(sizes.len(), 65);
        assert_eq!(buffers.iter().filter(|&&buffer| buffer == 0).count(), 136);
        let bytes: usize = sizes.iter().map(|&need| allocations[need].bytes).sum();
        assert_eq!(bytes as u64, APART + (8 << 20));
    }
}
