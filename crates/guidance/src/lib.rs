//! Guidance.

pub mod data;
pub mod error;
