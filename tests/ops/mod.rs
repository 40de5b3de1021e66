//! The engine: ops, kernels, plans.

mod convolutions; // convolutions by the kernels of GPUs
mod export; // plans as documents for a browser
mod half; // f16: storage, rounding, products
mod launches; // dispatches, barriers and submissions of whole steps
mod limits; // sizes past what an adapter launches, or loops through
mod memory; // what a plan keeps, and for how long
mod nn; // softmax, losses, normalization, dropout: values known from elsewhere
mod own_op; // ops from outside the crate: what is wrong with them is told
mod registered; // every registered op: kernel against f64, gradient against differences
mod shaders; // every kernel file: header, naming, that it compiles
mod wiring; // settings reach the kernels; long sums
