//! A build without the feature `tokenizers`: there is no tokenizer from a file, and reading one says why.

use std::convert::Infallible;
use std::io::Read;
use std::path::Path;

use crate::error::{Error, Place, Result};

/// A tokenizer from a file. No value of it exists, since this build is without the feature `tokenizers`.
#[derive(Clone, Debug)]
pub struct HfTokenizer(Infallible);

impl HfTokenizer {
    /// Refuses to read a `tokenizer.json`.
    ///
    /// # Errors
    /// [`Error::Data`], which names the feature.
    pub fn read(path: &Path) -> Result<Self> {
        let problem = "needs the feature `tokenizers`, which this build is without";
        Err(Error::data(path, problem, "build with `--features tokenizers`, or cut the text into characters or bytes"))
    }

    /// Number of ids: one more than the greatest.
    pub fn count(&self) -> usize {
        match self.0 {}
    }

    pub(super) fn json(&self) -> &str {
        match self.0 {}
    }

    pub(super) fn path(&self) -> &Path {
        match self.0 {}
    }

    pub(super) fn checksum(&self) -> u32 {
        match self.0 {}
    }

    pub(super) fn encode(&self, _: impl Read, _: &Place, _: impl FnMut(&[u32]) -> Result<()>) -> Result<()> {
        match self.0 {}
    }

    pub(super) fn decode(&self, _: &[u32]) -> String {
        match self.0 {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tokenizer_names_the_feature_that_it_needs() {
        let message = HfTokenizer::read(Path::new("model/tokenizer.json")).expect_err("none is built in").to_string();
        assert!(
            message.starts_with("model/tokenizer.json: ") && message.contains("--features tokenizers"),
            "{message}"
        );
    }
}
