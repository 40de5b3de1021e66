//! Element by element: functions of one or two tensors, conversions, dropout.

pub(crate) mod binary;
pub(crate) mod cast;
pub(crate) mod dropout;
pub(crate) mod unary;
