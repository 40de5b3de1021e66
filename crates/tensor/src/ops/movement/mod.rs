//! Views, joins, look-ups and reductions.

pub(crate) mod concat;
pub(crate) mod detach;
pub(crate) mod gather;
pub(crate) mod reduce;
pub(crate) mod view;
