//! Nearest neighbors of examples.

use std::cmp::Ordering;

/// The nearest examples of each example.
#[derive(Clone, Debug)]
pub(super) struct Neighbors {
    /// `[n, k]`
    lists: Vec<u32>,
    /// A bit for each pair of examples, `[n, n / 64]`.
    bits: Vec<u64>,
    examples: usize,
    /// Examples whose last neighbor is as near as another that was not taken.
    ties: usize,
}

impl Neighbors {
    /// The `count` examples that are most like each, itself left out, by similarities `[n, n]`. Of equal ones the first count.
    pub(super) fn nearest(similarities: &[f64], examples: usize, count: usize) -> Self {
        let (mut lists, mut ties) = (Vec::with_capacity(examples * count), 0);
        for (example, row) in similarities.chunks(examples).enumerate() {
            let mut others: Vec<usize> = (0..examples).filter(|&other| other != example).collect();
            let nearer = |a: &usize, b: &usize| -> Ordering { row[*b].total_cmp(&row[*a]).then(a.cmp(b)) };
            others.sort_by(nearer);
            let next = others.get(count).map(|&other| row[other]);
            ties += usize::from(next == others[..count].last().map(|&other| row[other]));
            lists.extend(others[..count].iter().map(|&other| other as u32));
        }
        Self::of(lists, examples, ties)
    }

    fn of(lists: Vec<u32>, examples: usize, ties: usize) -> Self {
        let words = examples.div_ceil(64);
        let mut bits = vec![0_u64; examples * words];
        for (list, bits) in lists.chunks(lists.len() / examples).zip(bits.chunks_mut(words)) {
            list.iter().for_each(|&other| bits[other as usize / 64] |= 1 << (other % 64));
        }
        Self { lists, bits, examples, ties }
    }

    pub(super) fn ties(&self) -> usize {
        self.ties
    }

    /// Share of neighbors that both have.
    pub(super) fn shared(&self, other: &Self) -> f64 {
        let both: u32 = self.bits.iter().zip(&other.bits).map(|(a, b)| (a & b).count_ones()).sum();
        f64::from(both) / self.lists.len() as f64
    }

    /// Those of examples in another order: example i is what example `order[i]` was.
    pub(super) fn permuted(&self, order: &[usize]) -> Self {
        let mut place = vec![0_u32; order.len()];
        (0..).zip(order).for_each(|(at, &from)| place[from] = at);
        let count = self.lists.len() / self.examples;
        let list =
            |&from: &usize| self.lists[from * count..(from + 1) * count].iter().map(|&other| place[other as usize]);
        Self::of(order.iter().flat_map(list).collect(), self.examples, self.ties)
    }
}
