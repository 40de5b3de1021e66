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
    /// True for nodes that are a view of another.
    is_view: Vec<bool>,
    /// Live readers of each node, and the number of its own inputs that are not computed yet.
    readers: Vec<Vec<usize>>,
    missing: Vec<usize>,
    /// Storages that each op reads, each once.
    storages: Vec<Vec<usize>>,
    /// Ops that read each storage, and the number of them that have yet to.
    users: Vec<Vec<usize>>,
    uses: Vec<usize>,
    /// In-place updates that have not run: the node, and the node that it writes.
    updates: Vec<(usize, usize)>,
    ready: BTreeSet<usize>,
    /// Ready nodes that may have begun to free memory since they were looked at.
    candidates: BTreeSet<usize>,
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
            is_view: (0..count).map(|id| fused.view(id).is_some()).collect(),
            readers: vec![Vec::new(); count],
            missing: vec![0; count],
            storages: vec![Vec::new(); count],
            users: vec![Vec::new(); count],
            uses: vec![0; count],
            updates: Vec::new(),
            ready: BTreeSet::new(),
            candidates: BTreeSet::new(),
            done: vec![false; count],
            order: Vec::with_capacity(count),
        };
        for id in (0..count).filter(|&id| fused.live[id]) {
            let node = &fused.nodes[id];
            let inputs: BTreeSet<usize> = node.inputs.iter().copied().collect();
            schedule.missing[id] = inputs.len();
            inputs.into_iter().for_each(|input| schedule.readers[input].push(id));
            let storages: BTreeSet<usize> = node.inputs.iter().map(|&input| fused.storage(input)).collect();
            schedule.storages[id] = storages.into_iter().collect();
            if !schedule.is_view[id] {
                for &storage in &schedule.storages[id] {
                    schedule.users[storage].push(id);
                    schedule.uses[storage] += 1;
                }
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
            while let Some(next) = self.candidates.pop_first() {
                if self.ready.contains(&next) && self.frees(next) {
                    self.take(next);
                }
            }
        }
        self.order
    }

    /// Runs a node, and the views of it.
    fn take(&mut self, id: usize) {
        self.ready.remove(&id);
        self.done[id] = true;
        self.order.push(id);
        let updates = self.updates.len();
        self.updates.retain(|&(update, _)| update != id);
        if self.updates.len() < updates {
            // Any of them may have waited for it.
            self.candidates.extend(&self.ready);
        }
        if !self.is_view[id] {
            for &storage in &self.storages[id] {
                self.uses[storage] -= 1;
                if self.uses[storage] == 1 {
                    self.candidates.extend(&self.users[storage]);
                }
            }
        }
        for at in 0..self.readers[id].len() {
            let reader = self.readers[id][at];
            self.missing[reader] -= 1;
            if self.missing[reader] == 0 && !self.done[reader] {
                self.ready.insert(reader);
                self.candidates.insert(reader);
                if self.is_view[reader] {
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
        let freed: usize = self.storages[id].iter().map(|&storage| freed(storage)).sum();
        freed > 0 && freed >= node.ty.bytes()
    }
}
