//! Files of weights.

mod bert; // Hugging Face's BERT
mod files; // files of PyTorch, of ours, of neither
mod large; // weights that no binding holds
