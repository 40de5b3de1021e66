//! Sweeps: an experiment for each combination of values of some keys, each in a run folder of its own.
//!
//! The folders are all there is to a sweep. So it can be run in shards on several machines that share a disk, and the table of
//! [`Row`]s is the same whoever ran what.

mod axes;
mod choice;
mod rows;
mod shard;

pub use axes::{Axis, Cell, cells};
pub use choice::{check_choosable, choose};
pub(crate) use rows::rows_with;
pub use rows::{Row, State, best, csv, rows};
pub use shard::Shard;
