//! Measures of similarity, as values and as losses.

mod against_pytorch; // values and gradients of PyTorch
mod controls; // what stands in a guide's place
mod loss; // pairs that share dispatches
mod matrix; // layers by layers
mod measures; // measures: invariances, known values, hard cases
mod other_measures; // ridge regression, RBF kernels, centering
mod own_measure; // measures from outside the crate
mod similarity; // measures for reports, and what chance gives
mod time_steps; // sequences, step by step
