//! Sizes of one attention.

/// Sizes of one attention, and the positions of its rows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AttentionSizes {
    pub(crate) batch: usize,
    pub(crate) heads: usize,
    pub(crate) queries: usize,
    pub(crate) keys: usize,
    /// Elements of a head's row.
    pub(crate) head: usize,
    /// Elements from one row of q, k, v to the next, and the start of each.
    pub(crate) rows: [usize; 3],
    pub(crate) starts: [usize; 3],
}

impl AttentionSizes {
    /// Elements of the output.
    pub(crate) fn outputs(&self) -> usize {
        self.batch * self.queries * self.heads * self.head
    }

    /// Approximate number of pairs of query and key over all heads that are computed.
    pub(crate) fn pairs(&self, causal: bool) -> usize {
        let pairs = self.batch * self.heads * self.queries * self.keys;
        if causal { pairs / 2 + 1 } else { pairs }
    }

    /// Elements that kernels read at once.
    pub(crate) fn unit(&self) -> usize {
        if self.head.is_multiple_of(4) { 4 } else { 1 }
    }

    pub(crate) fn scale(&self) -> f64 {
        1.0 / (self.head as f64).sqrt()
    }

    /// Offset of row `row` of part `part` (0 q, 1 k, 2 v).
    pub(crate) fn at(&self, part: usize, batch: usize, head: usize, row: usize) -> usize {
        let time = if part == 0 { self.queries } else { self.keys };
        self.starts[part] + (batch * time + row) * self.rows[part] + head * self.head
    }
}
