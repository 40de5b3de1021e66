//! The order of a plan's dispatches: by dependency, so that there are fewer barriers.
//!
//! Two dispatches that use one buffer keep their order if either writes it. Values that share a buffer are therefore safe.
//! Otherwise a dispatch runs as soon as it needs no barrier (`barriers.rs`). When all that could run need one, there are two
//! kinds of barriers to choose from. The barrier of a dispatch moves the buffers of that dispatch. A barrier by itself moves
//! everything that the waiting dispatches read to the state "read" (`ComputePass::transition_resources`). Without the latter,
//! dispatches that read the results of different ones would each have a barrier of their own. The barrier is chosen that lets
//! the dispatch run on which the longest chain of others waits; of several such, one that lets the greatest number run.
//!
//! Ties go to the dispatch that was recorded first, so the order is the same each time.

use std::collections::BTreeSet;

use super::barriers::{States, Use, count_buffers};
use crate::plan::kernel::Access;

/// A dispatch with its place in the order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Turn {
    /// Number of the dispatch in the recording.
    pub(super) dispatch: usize,
    /// Buffers that are moved to the state "read" before it.
    pub(super) moved: Vec<usize>,
    /// A barrier stands in front of it: its own, or the one that moves buffers.
    pub(super) barrier: bool,
}

/// The order for dispatches that use these buffers, with no more barriers than the recorded order.
pub(super) fn by_dependency(uses: &[Vec<Use>]) -> Vec<Turn> {
    let (turns, recorded) = (Scheduler::new(uses).run(), as_recorded(uses));
    if barriers(&turns) <= barriers(&recorded) { turns } else { recorded }
}

fn barriers(turns: &[Turn]) -> usize {
    turns.iter().filter(|turn| turn.barrier).count()
}

/// The recorded order.
pub(super) fn as_recorded(uses: &[Vec<Use>]) -> Vec<Turn> {
    let mut states = States::new(count_buffers(uses));
    let turn = |(dispatch, uses): (usize, &Vec<Use>)| Turn { dispatch, moved: Vec::new(), barrier: states.run(uses) };
    uses.iter().enumerate().map(turn).collect()
}

struct Scheduler<'a> {
    uses: &'a [Vec<Use>],
    /// Dispatches that must come later than each, and the number that must still come before it.
    later: Vec<Vec<usize>>,
    waits: Vec<usize>,
    /// Number of dispatches in the longest chain that begins with it.
    heights: Vec<usize>,
    ready: BTreeSet<usize>,
    states: States,
    order: Vec<Turn>,
}

/// The buffers for which a dispatch needs a barrier.
#[derive(Default)]
struct Needs {
    read: BTreeSet<usize>,
    /// True if it writes others: only its own barrier serves.
    writes: bool,
}

impl<'a> Scheduler<'a> {
    fn new(uses: &'a [Vec<Use>]) -> Self {
        let later = followers(uses);
        let mut waits = vec![0; uses.len()];
        later.iter().flatten().for_each(|&dispatch| waits[dispatch] += 1);
        let mut heights = vec![1; uses.len()];
        for dispatch in (0..uses.len()).rev() {
            heights[dispatch] += later[dispatch].iter().map(|&next| heights[next]).max().unwrap_or(0);
        }
        let ready = (0..uses.len()).filter(|&dispatch| waits[dispatch] == 0).collect();
        let states = States::new(count_buffers(uses));
        Self { uses, later, waits, heights, ready, states, order: Vec::with_capacity(uses.len()) }
    }

    fn run(mut self) -> Vec<Turn> {
        while !self.ready.is_empty() {
            let free = self.ready.iter().copied().find(|&dispatch| {
                let needs = |own: &Use| self.states.needs_barrier(*own);
                !self.uses[dispatch].iter().any(needs)
            });
            match free {
                Some(dispatch) => self.take(dispatch, Vec::new()),
                None => self.take_with_barrier(),
            }
        }
        self.order
    }

    fn take(&mut self, dispatch: usize, moved: Vec<usize>) {
        moved.iter().for_each(|&buffer| self.states.set(Use { buffer, access: Access::Read }));
        let barrier = self.states.run(&self.uses[dispatch]) || !moved.is_empty();
        self.order.push(Turn { dispatch, moved, barrier });
        self.ready.remove(&dispatch);
        for &next in &self.later[dispatch] {
            self.waits[next] -= 1;
            if self.waits[next] == 0 {
                self.ready.insert(next);
            }
        }
    }

    fn needs(&self, dispatch: usize) -> Needs {
        let mut needs = Needs::default();
        for &own in self.uses[dispatch].iter().filter(|&&own| self.states.needs_barrier(own)) {
            match own.access {
                Access::Read => {
                    needs.read.insert(own.buffer);
                }
                Access::ReadWrite => needs.writes = true,
            }
        }
        needs
    }

    /// Runs a dispatch behind a barrier: the one that begins the longest chain, and with it as many as possible.
    fn take_with_barrier(&mut self) {
        let needs: Vec<(usize, Needs)> = self.ready.iter().map(|&dispatch| (dispatch, self.needs(dispatch))).collect();
        let readers = || needs.iter().filter(|(_, needs)| !needs.writes);
        let worth = |run: &mut dyn Iterator<Item = usize>| {
            run.fold((0, 0), |(highest, count): (usize, usize), next| (highest.max(self.heights[next]), count + 1))
        };
        let by_own = |(dispatch, own): &(usize, Needs)| {
            let served = readers().filter(|(other, needs)| other != dispatch && needs.read.is_subset(&own.read));
            worth(&mut served.map(|(other, _)| *other).chain([*dispatch]))
        };
        // Ties go to the first.
        let own = needs.iter().rev().map(|own| (by_own(own), own.0)).max_by_key(|(worth, _)| *worth);
        let (own, best) = own.expect("some are ready");
        match readers().next() {
            Some(&(first, _)) if worth(&mut readers().map(|(other, _)| *other)) > own => {
                let moved: BTreeSet<usize> = readers().flat_map(|(_, needs)| needs.read.iter().copied()).collect();
                self.take(first, moved.into_iter().collect());
            }
            _ => self.take(best, Vec::new()),
        }
    }
}

/// Dispatches that must come after each dispatch: both use a buffer and one writes it.
fn followers(uses: &[Vec<Use>]) -> Vec<Vec<usize>> {
    let mut later: Vec<BTreeSet<usize>> = vec![BTreeSet::new(); uses.len()];
    let mut writer: Vec<Option<usize>> = vec![None; count_buffers(uses)];
    let mut readers: Vec<Vec<usize>> = vec![Vec::new(); writer.len()];
    for (dispatch, own) in uses.iter().enumerate() {
        for &Use { buffer, access } in own {
            let waits_for_readers = access == Access::ReadWrite;
            let readers = readers[buffer].iter().filter(|_| waits_for_readers);
            for &before in writer[buffer].iter().chain(readers) {
                later[before].insert(dispatch);
            }
        }
        for &Use { buffer, access } in own {
            match access {
                Access::Read => readers[buffer].push(dispatch),
                Access::ReadWrite => {
                    writer[buffer] = Some(dispatch);
                    readers[buffer].clear();
                }
            }
        }
    }
    later.into_iter().map(|later| later.into_iter().collect()).collect()
}

#[cfg(test)]
mod tests {
    use super::super::barriers::tests::{read, write};
    use super::*;
    use trellis_rng::Rng;

    fn numbers(turns: &[Turn]) -> Vec<usize> {
        turns.iter().map(|turn| turn.dispatch).collect()
    }

    #[test]
    fn a_chain_keeps_its_order_and_its_barriers() {
        let chain: Vec<_> = (0..5).map(|i| vec![read(i), write(i + 1)]).collect();
        let turns = by_dependency(&chain);
        assert_eq!((numbers(&turns), barriers(&turns)), (vec![0, 1, 2, 3, 4], 4));
        assert_eq!(turns, as_recorded(&chain), "nothing is moved by itself");
    }

    #[test]
    fn chains_recorded_one_after_the_other_run_side_by_side() {
        // Three chains of four: 9 barriers as recorded, one a level when interleaved.
        let chains: Vec<_> =
            (0..3).flat_map(|c| (0..4).map(move |i| vec![read(10 * c + i), write(10 * c + i + 1)])).collect();
        assert_eq!(barriers(&as_recorded(&chains)), 9);
        let turns = by_dependency(&chains);
        assert_eq!(barriers(&turns), 3);
        assert_eq!(numbers(&turns)[..6], [0, 4, 8, 1, 5, 9]);
        assert_eq!(turns[3].moved, [1, 11, 21], "what the level reads, at once");
    }

    #[test]
    fn who_writes_a_used_buffer_goes_first_where_its_barrier_serves_the_others() {
        // A gradient into an arena that the pass has written before, beside a product that reads the same.
        let uses = [vec![write(0), write(1)], vec![read(0), write(2)], vec![read(0), write(1)], vec![read(2), read(1)]];
        let turns = by_dependency(&uses);
        assert_eq!((numbers(&turns), barriers(&turns)), (vec![0, 2, 1, 3], 2));
        assert!(turns.iter().all(|turn| turn.moved.is_empty()));
    }

    #[test]
    fn conflicts_keep_their_order_and_barriers_do_not_rise() {
        for seed in 0..200 {
            let mut rng = Rng::new(seed, 0);
            let buffers = 2 + rng.below(20);
            let mut dispatch = || {
                let reads = (0..rng.below(4)).map(|_| read(rng.below(buffers))).collect::<Vec<_>>();
                let written = write(rng.below(buffers));
                [reads.into_iter().filter(|own| own.buffer != written.buffer).collect(), vec![written]].concat()
            };
            let uses: Vec<Vec<Use>> = (0..40).map(|_| dispatch()).collect();
            let turns = by_dependency(&uses);
            let mut at = vec![usize::MAX; uses.len()];
            turns.iter().enumerate().for_each(|(turn, of)| at[of.dispatch] = turn);
            assert!(turns.len() == uses.len() && !at.contains(&usize::MAX), "each once");
            for first in 0..uses.len() {
                for second in first + 1..uses.len() {
                    let conflict = |a: &Use, b: &Use| {
                        a.buffer == b.buffer && (a.access == Access::ReadWrite || b.access == Access::ReadWrite)
                    };
                    let conflicts = uses[first].iter().any(|a| uses[second].iter().any(|b| conflict(a, b)));
                    assert!(!conflicts || at[first] < at[second], "seed {seed}: {first} and {second}");
                }
            }
            // wgpu's view of the order: a move, then the dispatch.
            let mut states = States::new(buffers);
            for turn in &turns {
                let moved: Vec<Use> = turn.moved.iter().map(|&buffer| read(buffer)).collect();
                let moves = states.run(&moved);
                let own = states.run(&uses[turn.dispatch]);
                assert!(!(moves && own), "one barrier at most");
                assert_eq!(turn.barrier, moves || own);
            }
            assert!(barriers(&turns) <= barriers(&as_recorded(&uses)), "seed {seed}");
        }
    }
}
