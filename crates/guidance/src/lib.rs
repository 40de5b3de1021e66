//! Guidance.

pub mod data;
pub mod error;
pub mod record;
pub mod report;
pub mod stats;
