//! Values of keys that have more than one form.

pub(super) mod amount;
pub(super) mod channels;
pub(super) mod checkpoint;
pub(super) mod two;
