//! Forms of a recurrent layer over time, and the choice among them.
//!
//! Their results differ by rounding alone: each sums in another order, and each gives the same bits every time.

use crate::device::caps::Caps;
use crate::graph::op::Dispatch;
use crate::kernel;
use crate::ops::attention::mask::Keys;
use crate::ops::gemm::members::Layout;
use crate::ops::gemm::members::{Block, GemmVariant};
use crate::ops::recurrent::cell::{Cell, Recurrence};

/// Form in which a recurrent layer runs through time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecurrenceForm {
    /// A workgroup takes some sequences through all steps, on the loops of products; one dispatch. For CPUs.
    Sequences,
    /// A workgroup takes one sequence through all steps, with the recurrent weights in registers; one dispatch.
    Registers {
        /// Invocations of a workgroup, if as many have work; more if its rows need more.
        invocations: usize,
        /// Greatest number of blocks of weights that an invocation keeps, 16 or 12 numbers each; the others are read in each
        /// step.
        held: usize,
    },
    /// One or two dispatches for every step, each over all sequences and units.
    Steps,
}

impl RecurrenceForm {
    /// Members of the family that differ in more than sizes, for tests and measurements.
    pub fn members() -> [Self; 8] {
        let registers = |invocations, held| Self::Registers { invocations, held };
        [
            Self::Sequences,
            Self::Steps,
            registers(64, 0),
            registers(64, 8),
            registers(256, 2),
            registers(256, 8),
            registers(512, 4),
            registers(1024, 1),
        ]
    }
}

/// Sizes of a recurrence.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sizes {
    pub(crate) batch: usize,
    pub(crate) time: usize,
    pub(crate) hidden: usize,
    pub(crate) gates: usize,
}

/// Direction through time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    Forward,
    Backward,
}

/// Greatest number of loop iterations of one dispatch on a CPU, of 65,535.
const MOST_TURNS: usize = 60_000;

/// Workgroup of [`RecurrenceForm::Registers`], see `shaders/lib/recurrent/recurrence_registers.wgsl`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Team {
    invocations: usize,
    lanes: usize,
    blocks: usize,
    held: usize,
    shuffle: bool,
}

impl Team {
    /// The workgroup for these sizes; `None` if the adapter's workgroups are too small for it.
    fn new(
        caps: &Caps,
        cell: Cell,
        s: &Sizes,
        direction: Direction,
        invocations: usize,
        held: Option<usize>,
    ) -> Option<Self> {
        let forward = direction == Direction::Forward;
        let teams = if forward && cell != Cell::Tanh { s.hidden } else { s.hidden.div_ceil(4) };
        let places = if forward { s.hidden } else { s.gates * s.hidden }.div_ceil(4);
        let most = caps.invocations as usize;
        let mut lanes = 4;
        while lanes < 32 && lanes < places && 2 * lanes * teams <= invocations.min(most) {
            lanes *= 2;
        }
        let invocations = (lanes * teams).next_multiple_of(32);
        let shuffle = caps.shuffle as usize >= lanes;
        let blocks = places.div_ceil(lanes);
        // The largest register files that invocations of a workgroup share have 65,536, of which one invocation gets 255. The
        // rest of a step needs 32 of them. On an H200 an LSTM of 4 × 128 with 512 invocations takes 2.48 ms with no block held,
        // 1.55 with four and 1.19 with six.
        let block = if is_three(cell, direction) { 12 } else { 16 };
        let fits = (65_536 / invocations).min(255).saturating_sub(32) / block;
        let held = held.unwrap_or(fits).min(blocks).min(8);
        let memory = 32 * lanes * blocks + if shuffle { 0 } else { 20 * invocations };
        let team = Self { invocations, lanes, blocks, held, shuffle };
        (invocations <= most && memory <= caps.workgroup_memory as usize).then_some(team)
    }
}

/// True if a team's sums are the three of a GRU's unit.
fn is_three(cell: Cell, direction: Direction) -> bool {
    cell == Cell::Gru && direction == Direction::Forward
}

/// The form that runs: the op's own, if it has one that the adapter can run, else the fastest one known.
///
/// CPUs multiply best if sequences share a load of weights, and a barrier costs them more than a step's arithmetic:
/// `Sequences`. GPUs wait for the slowest chain of a step instead, which is shortest in registers. On an H100 it is 43 times
/// shorter than by sequences (4 × 128 tanh units, 64 sequences, 512 invocations each, 0.6 µs a step). Weights that registers
/// cannot hold are read in each step by every workgroup, at 0.1 MB/µs from the L2 cache and 5 MB/µs for all of them. A dispatch
/// for a step takes 6 to 8 µs, as a small product does. So this is the limit of such weights: 640 KiB, and 32 MiB of all
/// workgroups together.
fn chosen(op: &Recurrence, caps: &Caps, s: &Sizes, direction: Direction) -> (RecurrenceForm, Option<Team>) {
    let team = |invocations, held| Team::new(caps, op.cell, s, direction, invocations, held);
    match op.form {
        Some(form @ RecurrenceForm::Registers { invocations, held }) => {
            if let Some(team) = team(invocations, Some(held)) {
                return (form, Some(team));
            }
        }
        Some(form) => return (form, None),
        None => {}
    }
    if caps.software {
        return (RecurrenceForm::Sequences, None);
    }
    let weights = 4 * s.gates * s.hidden * s.hidden;
    let reads_little = weights <= 640 << 10 && s.batch * weights <= 32 << 20;
    // The fewest invocations that hold all weights: 4 × 128 tanh units with their gradient take 0.34 ms on an H200 with 256, 0.38 with
    // 512 and 0.39 with 1024.
    let all_held = |invocations| team(invocations, None).filter(|team| team.held == team.blocks);
    match all_held(256).or_else(|| team(512, None)) {
        Some(team) if team.held == team.blocks || reads_little => {
            let form = RecurrenceForm::Registers { invocations: team.invocations, held: team.held };
            (form, Some(team))
        }
        _ => (RecurrenceForm::Steps, None),
    }
}

/// The launches of a recurrence or of its gradient, in order.
pub(crate) fn launches(op: &Recurrence, caps: &Caps, s: &Sizes, direction: Direction) -> Vec<Dispatch> {
    match chosen(op, caps, s, direction) {
        (_, Some(team)) => vec![in_registers(op, caps, s, direction, team)],
        (RecurrenceForm::Steps, _) => on_products(op, caps, s, direction, true),
        _ => on_products(op, caps, s, direction, false),
    }
}

/// Sets the constants and sizes of all kernels, in units of `unit` elements, and the flop of the steps `first` to `last`.
fn common(op: &Recurrence, dispatch: Dispatch, s: &Sizes, [first, last]: [usize; 2], unit: usize) -> Dispatch {
    let (kind, padding) = match op.steps {
        Keys::All => (0u32, 0),
        Keys::Lengths => (1, 0),
        Keys::Ids { padding } => (2, padding as usize),
    };
    let [_, recurrent, dh, dc] = s.grad_starts(op.cell);
    dispatch
        .constant("CELL", op.cell as u32)
        .constant("MASK", kind)
        .dims(&[s.batch, s.time, s.hidden, first, last, padding])
        .dims(&[s.states() / unit, s.cells() / unit, recurrent / unit, dh / unit, dc / unit])
        .flops(2 * s.batch * (last - first) * s.hidden * (s.gates * s.hidden + 10))
}

fn in_registers(op: &Recurrence, caps: &Caps, s: &Sizes, direction: Direction, team: Team) -> Dispatch {
    let kernel = match direction {
        Direction::Forward => kernel!("recurrent/recurrence_registers"),
        Direction::Backward => kernel!("recurrent/recurrence_registers_grad"),
    };
    let iterations =
        team.blocks + 8 * team.blocks.div_ceil(team.invocations) + s.time * (5 * team.blocks + team.lanes + 8);
    let dispatch = Dispatch::per_group(kernel, s.batch)
        .flag("W4", s.hidden.is_multiple_of(4))
        .flag("THREE", is_three(op.cell, direction))
        .flag("SHUFFLE", team.shuffle)
        .size("THREADS", team.invocations)
        .size("LANES", team.lanes)
        .size("BLOCKS", team.blocks)
        .size("HELD", team.held)
        .iterations(iterations);
    let dispatch = if team.shuffle { dispatch.constant("SHUFFLE_SIZE", caps.shuffle) } else { dispatch };
    common(op, dispatch, s, [0, s.time], 1)
}

/// Launches on the loops of products: all steps in a dispatch, up to the limit of loops on a CPU, or a dispatch or two for each
/// step.
fn on_products(op: &Recurrence, caps: &Caps, s: &Sizes, direction: Direction, by_step: bool) -> Vec<Dispatch> {
    let (kernel, [n, k]) = match direction {
        Direction::Forward => (kernel!("recurrent/recurrence"), [s.gates * s.hidden, s.hidden]),
        Direction::Backward => (kernel!("recurrent/recurrence_grad"), [s.hidden, s.gates * s.hidden]),
    };
    // More rows in registers are faster, but each of two threads needs some. Through workgroup memory all steps in a dispatch
    // run on the loop that each adapter has, a step of its own on the one for its size.
    let (chosen, rows, lanes) = match caps.gemm_variant(Layout::NT, [s.batch, n, k]) {
        own if own.in_registers() && s.batch > 32 => (GemmVariant::Tall, 32, 8),
        own if own.in_registers() => (GemmVariant::Registers, 16, 8),
        GemmVariant::Block(block) if by_step => (GemmVariant::Block(block), block.rows.into(), block.invocations()),
        _ => (GemmVariant::Block(Block::SMALL), Block::SMALL.rows.into(), Block::SMALL.invocations()),
    };
    let vec4 = s.hidden.is_multiple_of(4) && (caps.subgroup == 8 || by_step);
    let unit = if vec4 { 4 } else { 1 };
    let [_, columns] = chosen.block();
    // Iterations of a block's loop over k, and of storing each of its rows, absent ones too. A function that returns early is a
    // loop of one iteration to a CPU, and odd columns are one of four.
    let block = k / unit + 3 + rows * if vec4 { 1 } else { 5 };
    let iterations = n.div_ceil(columns) * block + rows * s.hidden / unit / 8 + 3;
    let groups = s.batch.div_ceil(rows);
    let launch = |[first, last]: [usize; 2], columns: usize, part: Option<&'static str>| {
        let dispatch = chosen
            .flags(Dispatch::grid(kernel, [groups, columns, 1]))
            .flag("REGISTERS", chosen.in_registers())
            .flag("VEC4", vec4)
            .flag("K4", vec4 && direction == Direction::Forward)
            .flag("LHS_K4", vec4)
            .iterations((last - first) * iterations);
        let dispatch = part.into_iter().fold(dispatch, |dispatch, part| dispatch.flag(part, true));
        common(op, dispatch, s, [first, last], unit)
    };
    if by_step {
        let product = |t| launch([t, t + 1], n.div_ceil(columns), Some("PRODUCT"));
        let units = |t| launch([t, t + 1], (rows * s.hidden / unit).div_ceil(lanes), Some("UNITS")).flops(0);
        return match direction {
            Direction::Forward if op.cell == Cell::Tanh => (0..s.time).map(product).collect(),
            Direction::Forward => (0..s.time).flat_map(|t| [product(t), units(t)]).collect(),
            Direction::Backward => (0..s.time).rev().flat_map(|t| [units(t), product(t)]).collect(),
        };
    }
    let steps = if caps.software { (MOST_TURNS / iterations).max(1) } else { s.time };
    let whole = |first| launch([first, s.time.min(first + steps)], 1, None);
    let launches = (0..s.time).step_by(steps).map(whole);
    if direction == Direction::Backward { launches.rev().collect() } else { launches.collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn h100() -> Caps {
        Caps { subgroup: 32, shuffle: 32, invocations: 1024, workgroup_memory: 48 << 10, ..Caps::default() }
    }
    fn webgpu() -> Caps {
        Caps::default()
    }

    /// Number of launches and, for a form in registers, invocations, lanes, blocks and blocks that are held.
    fn chosen(caps: &Caps, cell: Cell, [batch, hidden]: [usize; 2], direction: Direction) -> (usize, Vec<usize>) {
        let op = Recurrence { cell, steps: Keys::All, form: None };
        let s = Sizes { batch, time: 40, hidden, gates: cell.gates() };
        let launches = launches(&op, caps, &s, direction);
        let sizes = &launches[0].variant.sizes;
        let size = |name: &str| sizes.iter().find(|(own, _)| *own == name).map(|(_, value)| *value as usize);
        let team = ["THREADS", "LANES", "BLOCKS", "HELD"].into_iter().filter_map(size).collect();
        assert!(launches.iter().all(|launch| launch.groups.iter().all(|&n| n > 0)));
        (launches.len(), team)
    }

    #[test]
    fn a_form_follows_from_the_adapter_and_the_sizes() {
        use Cell::{Gru, Lstm, Tanh};
        use Direction::{Backward, Forward};
        // 128 units on an H100: the fastest on an H200.
        assert_eq!(chosen(&h100(), Tanh, [64, 128], Forward), (1, vec![256, 8, 4, 4]));
        assert_eq!(chosen(&h100(), Tanh, [64, 128], Backward), (1, vec![256, 8, 4, 4]));
        // A part of W is read in each step, 128 KiB of it.
        assert_eq!(chosen(&h100(), Lstm, [64, 128], Forward), (1, vec![512, 4, 8, 6]));
        assert_eq!(chosen(&h100(), Lstm, [64, 128], Backward), (1, vec![512, 16, 8, 6]));
        assert_eq!(chosen(&h100(), Gru, [64, 128], Forward), (1, vec![512, 4, 8, 8]));
        assert_eq!(chosen(&h100(), Gru, [1, 7], Forward), (1, vec![32, 4, 1, 1]), "small");
        // Fewer invocations have more registers each.
        assert_eq!(chosen(&h100(), Tanh, [64, 192], Forward), (1, vec![384, 8, 6, 6]));
        assert_eq!(chosen(&h100(), Tanh, [64, 256], Backward), (1, vec![512, 8, 8, 6]));
        // Weights that one workgroup, or all of them, would read for longer than a dispatch takes.
        assert_eq!(chosen(&h100(), Tanh, [64, 512], Forward), (40, vec![]));
        assert_eq!(chosen(&h100(), Tanh, [512, 256], Forward), (40, vec![]));
        assert_eq!(chosen(&h100(), Tanh, [512, 128], Forward).0, 1, "held whole");
        assert_eq!(chosen(&h100(), Lstm, [64, 512], Forward), (80, vec![]));
        assert_eq!(chosen(&h100(), Tanh, [64, 1024], Backward), (80, vec![]));
        // WebGPU's own limits.
        assert_eq!(chosen(&webgpu(), Tanh, [64, 128], Forward), (1, vec![256, 8, 4, 4]));
        assert_eq!(chosen(&webgpu(), Lstm, [64, 64], Forward), (1, vec![256, 4, 4, 4]));
        assert_eq!(chosen(&webgpu(), Lstm, [64, 65], Forward), (80, vec![]));
        let cpu = Caps { software: true, subgroup: 8, shuffle: 8, ..h100() };
        assert_eq!(chosen(&cpu, Tanh, [64, 128], Forward), (1, vec![]));
        // A grid that has two dimensions.
        assert_eq!(chosen(&h100(), Tanh, [70_000, 128], Forward).0, 1);
    }
}
