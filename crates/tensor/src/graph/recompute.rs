//! Segments of a forward pass that are recomputed for the backward pass in place of being kept (activation checkpointing).

use std::collections::HashMap;

use crate::graph::{Graph, Kind, Node, Var};

/// Closes a segment when it is dropped. Made by [`Graph::recompute`].
#[must_use = "the segment closes when this is dropped"]
pub struct Recompute<'g> {
    graph: &'g Graph,
}

impl Drop for Recompute<'_> {
    fn drop(&mut self) {
        self.graph.segment.set(0);
    }
}

impl Graph {
    /// Opens a segment. Values recorded until the guard drops, except its result, are not kept: they are recomputed when
    /// [`Graph::grad`] needs them (Chen et al. 2016, arXiv:1604.06174; PyTorch's `checkpoint`). Memory: that of one segment and
    /// of the results of all. Cost: one more forward pass of each segment. The numbers are the same to the last bit. In-place
    /// updates, of running statistics say, happen once. One segment at a time: another one ends it.
    pub fn recompute(&self) -> Recompute<'_> {
        self.last_segment.set(self.last_segment.get() + 1);
        self.segment.set(self.last_segment.get());
        Recompute { graph: self }
    }

    /// Records `segment` once more and returns the stand-in of each of its values in the backward pass. `forward` are the
    /// values before the backward pass.
    pub(crate) fn replay<'g>(&'g self, forward: &[Node], segment: u32) -> HashMap<usize, Var<'g>> {
        let inside = |id: usize| forward[id].segment == segment;
        let read_outside =
            |id: usize| (id + 1..forward.len()).any(|to| !inside(to) && forward[to].inputs.contains(&id));
        let ids: Vec<usize> = (0..forward.len()).filter(|&id| inside(id)).collect();
        // The last value that is read outside the segment is its result: the next segment begins with it, so it is kept anyway.
        let result = ids.iter().rev().copied().find(|&id| read_outside(id));
        let mut again: HashMap<usize, Var<'g>> = HashMap::new();
        for id in ids {
            let node = &forward[id];
            let repeatable = match &node.kind {
                Kind::Op(op) => op.updates().is_empty(),
                Kind::Reshape => true,
                Kind::Leaf(_) | Kind::Constant(_) => false,
            };
            if repeatable && Some(id) != result {
                let inputs = node.inputs.iter().map(|input| again.get(input).map_or(*input, |var| var.id())).collect();
                let layer = format!("backward/{}", node.layer).into();
                again.insert(id, self.add_node(node.kind.clone(), inputs, node.ty.clone(), layer));
            }
        }
        again
    }
}
