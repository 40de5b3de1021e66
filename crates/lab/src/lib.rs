//! The laboratory: experiments of several arms and seeds, from a configuration file to a report.
//!
//! Read in this order: [`config`], [`experiment`], [`record`], [`report`], [`sweep`], [`affinity`],
//! [`comparison`]; then [`memory`], [`profile`] and [`workload`], which
//! measure what a step takes.

pub mod affinity;
mod checkpoints;
pub mod comparison;
pub mod config;
mod csv;
pub mod examples;
pub mod experiment;
pub mod live;
pub mod memory;
pub mod profile;
pub mod recipe;
pub mod record;
pub mod report;
pub mod similarity;
pub mod stats;
pub mod sweep;
pub mod tune;
pub mod workload;
