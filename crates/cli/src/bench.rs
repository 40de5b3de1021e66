//! `trellis bench`
