//! Files of weights.

mod files; // files of PyTorch, of ours, of neither
mod large; // weights that no binding holds
