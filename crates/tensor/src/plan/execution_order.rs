//! The order in which a plan runs: that of the recording, except for ops that free as much memory as they need. These run as
//! soon as their inputs are computed. So a guide's layer is centered, compared and freed before the next ones run, though the
//! loss that reads it is recorded last.

use std::collections::BTreeSet;

use crate::graph::Kind;
use crate::plan::fuse::{Fused, share_memory};

impl Fused {
    /// Live nodes in the order in which they run, on a CPU or a GPU; `kept` are read after a step.
    pub(crate) fn order(&self, kept: &[bool], software: bool) -> Vec<usize> {
        Schedule::new(self, kept, software).run()
    }
}

struct Schedule<'a> {
    fused: &'a Fused,
    /// Storages that stay: kept values, and parts of a pack.
    stays: Vec<bool>,
    /// Live readers of each node, and the number of its own inputs that are not computed yet.
    readers: Vec<Vec<usize>>,
    missing: Vec<usize>,
    /// Number of ops that have yet to read each storage.
    uses: Vec<usize>,
    /// In-place updates that have not run: the node, and the node that it writes.
    updates: Vec<(usize, usize)>,
    ready: BTreeSet<usize>,
    done: Vec<bool>,
    order: Vec<usize>,
}

impl<'a> Schedule<'a> {
    fn new(fused: &'a Fused, kept: &[bool], software: bool) -> Self {
        let count = fused.nodes.len();
        let mut stays = vec![false; count];
        for id in (0..count).filter(|&id| kept[id]) {
            stays[fused.storage(id)] = true;
        }
        fused
            .packed(kept, software)
            .iter()
            .enumerate()
            .filter(|(_, pack)| pack.is_some())
            .for_each(|(id, _)| stays[id] = true);
        let mut schedule = Self {
            fused,
            stays,
            readers: vec![Vec::new(); count],
            missing: vec![0; count],
            uses: vec![0; count],
            updates: Vec::new(),
            ready: BTreeSet::new(),
            done: vec![false; count],
            order: Vec::with_capacity(count),
        };
        for id in (0..count).filter(|&id| fused.live[id]) {
            let node = &fused.nodes[id];
            let inputs: BTreeSet<usize> = node.inputs.iter().copied().collect();
            schedule.missing[id] = inputs.len();
            inputs.into_iter().for_each(|input| schedule.readers[input].push(id));
            if fused.view(id).is_none() {
                schedule.storages(id).into_iter().for_each(|storage| schedule.uses[storage] += 1);
            }
            if let Kind::Op(op) = &node.kind {
                schedule.updates.extend(op.updates().iter().map(|&input| (id, node.inputs[input])));
            }
        }
        schedule
    }

    fn run(mut self) -> Vec<usize> {
        for id in (0..self.fused.nodes.len()).filter(|&id| self.fused.live[id]) {
            if !self.done[id] {
                self.take(id);
            }
            while let Some(next) = self.ready.iter().copied().find(|&next| self.frees(next)) {
                self.take(next);
            }
        }
        self.order
    }

    /// Storages that a node reads, each once.
    fn storages(&self, id: usize) -> BTreeSet<usize> {
        self.fused.nodes[id].inputs.iter().map(|&input| self.fused.storage(input)).collect()
    }

    /// Runs a node, and the views of it.
    fn take(&mut self, id: usize) {
        self.ready.remove(&id);
        self.done[id] = true;
        self.order.push(id);
        self.updates.retain(|&(update, _)| update != id);
        if self.fused.view(id).is_none() {
            self.storages(id).into_iter().for_each(|storage| self.uses[storage] -= 1);
        }
        for at in 0..self.readers[id].len() {
            let reader = self.readers[id][at];
            self.missing[reader] -= 1;
            if self.missing[reader] == 0 && !self.done[reader] {
                self.ready.insert(reader);
                if self.fused.view(reader).is_some() {
                    self.take(reader);
                }
            }
        }
    }

    /// True if a node whose inputs are computed may run now and needs no more memory than it frees.
    fn frees(&self, id: usize) -> bool {
        let node = &self.fused.nodes[id];
        let Kind::Op(op) = &node.kind else { return false };
        // A value that an earlier update is to write must not be read before.
        let waits = |&(update, written): &(usize, usize)| {
            update < id && node.inputs.iter().any(|&input| share_memory(&self.fused.nodes, written, input))
        };
        if !op.updates().is_empty() || self.updates.iter().any(waits) {
            return false;
        }
        let freed = |storage: usize| {
            let ends = self.uses[storage] == 1 && !self.stays[storage];
            if ends && matches!(self.fused.nodes[storage].kind, Kind::Op(_)) {
                self.fused.nodes[storage].ty.bytes()
            } else {
                0
            }
        };
        let freed: usize = self.storages(id).into_iter().map(freed).sum();
        freed > 0 && freed >= node.ty.bytes()
    }
}
