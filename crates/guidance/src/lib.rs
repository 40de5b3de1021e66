//! Guidance.
