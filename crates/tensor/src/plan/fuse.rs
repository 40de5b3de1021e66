//! Fusion: a recorded graph reduced to the ops that must run.
//!
//! Two passes over the nodes. The first drops values that no output needs. The second fuses ops with their only consumer if
//! they have a rule for it ([`Op::fuse_consumer`](crate::graph::op::Op::fuse_consumer)): a matmul with its bias, residual, activation or
//! activation gradient; a CKA gradient with the product that follows it.

use std::any::Any;

use crate::device::gpu::ALIGNMENT;
use crate::graph::{Kind, Node};
use crate::ops::{Pack, Slice};

/// A graph's nodes with the dead ones marked. Ids are those of the graph.
pub(crate) struct Fused {
    pub(crate) nodes: Vec<Node>,
    pub(crate) live: Vec<bool>,
}

/// Drops nodes that neither a kept value nor an in-place update needs, then fuses.
pub(crate) fn fuse(mut nodes: Vec<Node>, kept: &[bool]) -> Fused {
    let mut live = needed(&nodes, kept);
    let mut uses = vec![0usize; nodes.len()];
    for (node, _) in nodes.iter().zip(&live).filter(|(_, live)| **live) {
        node.inputs.iter().for_each(|&input| uses[input] += 1);
    }
    for id in 0..nodes.len() {
        while live[id] {
            let Some((producer, fused)) = absorbed(&nodes, id, &uses, kept) else { break };
            nodes[id] = fused;
            live[producer] = false;
        }
    }
    Fused { nodes, live }
}

/// The producer that fuses with node `id`, and the node that replaces both.
fn absorbed(nodes: &[Node], id: usize, uses: &[usize], kept: &[bool]) -> Option<(usize, Node)> {
    let consumer = &nodes[id];
    let Kind::Op(op) = &consumer.kind else { return None };
    for (position, &producer) in consumer.inputs.iter().enumerate() {
        let Kind::Op(first) = &nodes[producer].kind else { continue };
        if uses[producer] != 1 || kept[producer] || updated_between(nodes, producer, id) {
            continue;
        }
        let types: Vec<_> = consumer.inputs.iter().map(|&input| &nodes[input].ty).collect();
        let Some(fused) = first.fuse_consumer(op.as_ref(), position, &nodes[producer].ty, &types) else { continue };
        let mut inputs = nodes[producer].inputs.clone();
        inputs.extend(consumer.inputs.iter().enumerate().filter(|(p, _)| *p != position).map(|(_, &input)| input));
        let layer = nodes[producer].layer.clone();
        return Some((producer, Node { kind: Kind::Op(fused), inputs, layer, ..consumer.clone() }));
    }
    None
}

/// True if an op between the two updates an input of `producer` in place: then it must not run later.
fn updated_between(nodes: &[Node], producer: usize, consumer: usize) -> bool {
    nodes[producer + 1..consumer].iter().any(|node| match &node.kind {
        Kind::Op(op) => op
            .updates()
            .iter()
            .any(|&updated| nodes[producer].inputs.iter().any(|&read| share_memory(nodes, node.inputs[updated], read))),
        _ => false,
    })
}

/// True if two nodes may lie in the same memory. An optimizer updates a whole arena, and a layer reads its part of it: those
/// are two leaves over one buffer.
pub(crate) fn share_memory(nodes: &[Node], a: usize, b: usize) -> bool {
    let (a, b) = (storage(nodes, a), storage(nodes, b));
    match (&nodes[a].kind, &nodes[b].kind) {
        (Kind::Leaf(a), Kind::Leaf(b)) => std::sync::Arc::ptr_eq(a.buffer(), b.buffer()),
        _ => a == b,
    }
}

/// The node itself, or the one whose memory it is part of.
fn storage(nodes: &[Node], mut id: usize) -> usize {
    while view(nodes, id).is_some() {
        id = nodes[id].inputs[0];
    }
    id
}

/// Offset of a node in its input, in elements, if it is part of the input's memory: a reshape, or a contiguous slice that
/// starts where every adapter can bind it.
fn view(nodes: &[Node], id: usize) -> Option<usize> {
    let node = &nodes[id];
    let op = match &node.kind {
        Kind::Reshape => return Some(0),
        Kind::Op(op) => op,
        _ => return None,
    };
    let offset = (op.as_ref() as &dyn Any).downcast_ref::<Slice>()?.contiguous(&nodes[node.inputs[0]].ty.shape)?;
    // A leaf may be updated before the slice is read.
    let of_op = matches!(nodes[storage(nodes, node.inputs[0])].kind, Kind::Op(_));
    (of_op && offset.is_multiple_of(ALIGNMENT / 4)).then_some(offset)
}

fn needed(nodes: &[Node], kept: &[bool]) -> Vec<bool> {
    let mut live = kept.to_vec();
    for (id, node) in nodes.iter().enumerate().rev() {
        live[id] |= matches!(&node.kind, Kind::Op(op) if !op.updates().is_empty());
        if live[id] {
            node.inputs.iter().for_each(|&input| live[input] = true);
        }
    }
    live
}

impl Fused {
    /// Offset of a node in its input, in elements, if it is part of the input's memory.
    pub(crate) fn view(&self, id: usize) -> Option<usize> {
        view(&self.nodes, id)
    }

    /// The node whose storage `id` shares: itself, or the node that it is a part of.
    pub(crate) fn storage(&self, id: usize) -> usize {
        storage(&self.nodes, id)
    }

    /// Last reader of each node, by storage, in `order`.
    pub(crate) fn last_reader(&self, order: &[usize]) -> Vec<usize> {
        let mut last: Vec<usize> = (0..self.nodes.len()).collect();
        for &id in order {
            for &input in &self.nodes[id].inputs {
                last[self.storage(input)] = id;
            }
        }
        last
    }

    /// Nodes that can be written directly into a pack's buffer, as (pack, offset in bytes): ops whose only reader is that pack,
    /// except small ones on a GPU (on a CPU a barrier costs nothing). A dispatch that writes one part of a buffer must not read
    /// another, hence "only".
    pub(crate) fn packed(&self, kept: &[bool], software: bool) -> Vec<Option<(usize, usize)>> {
        let mut readers = vec![0usize; self.nodes.len()];
        for (id, node) in self.nodes.iter().enumerate().filter(|(id, _)| self.live[*id]) {
            if self.view(id).is_none() {
                node.inputs.iter().for_each(|&input| readers[self.storage(input)] += 1);
            }
        }
        let keeps_storage: Vec<usize> =
            (0..self.nodes.len()).filter(|&id| kept[id]).map(|id| self.storage(id)).collect();
        let mut packed = vec![None; self.nodes.len()];
        for (id, node) in self.nodes.iter().enumerate().filter(|(id, _)| self.live[*id]) {
            let Kind::Op(op) = &node.kind else { continue };
            let any: &dyn Any = op.as_ref();
            let Some(pack) = any.downcast_ref::<Pack>() else { continue };
            for (&input, &offset) in node.inputs.iter().zip(&pack.offsets) {
                let storage = self.storage(input);
                let is_op = matches!(&self.nodes[storage].kind, Kind::Op(op) if op.updates().is_empty());
                let elements = self.nodes[input].ty.elements();
                let whole = self.nodes[storage].ty.elements() == elements;
                let sizes = node.inputs.iter().map(|&input| self.nodes[input].ty.elements());
                if is_op
                    && whole
                    && (software || !Pack::is_copied(elements, sizes))
                    && readers[storage] == 1
                    && !keeps_storage.contains(&storage)
                {
                    packed[storage] = Some((id, 4 * offset));
                }
            }
        }
        packed
    }
}
