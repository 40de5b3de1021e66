//! The pieces of a `tokenizer.json` of Hugging Face's: BPE, word pieces, unigrams.

mod unknown;

use std::fmt;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokenizers::ModelWrapper;

use super::MOST_IDS;
use super::parts::parts;
use crate::error::{Error, Place, Result};
use crate::io::regular_file;
use unknown::UnknownTokens;

/// A tokenizer from a file.
#[derive(Clone)]
pub struct HfTokenizer {
    path: PathBuf,
    tokenizer: Box<tokenizers::Tokenizer>,
    json: Arc<str>,
    ids: usize,
    /// CRC-32 of the file.
    checksum: u32,
}

/// Largest `tokenizer.json` that is read, in bytes.
const LARGEST: u64 = 1 << 28;

impl HfTokenizer {
    /// Reads a `tokenizer.json`. Special tokens are known by their text, and none is added.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Data`] for what is no tokenizer.
    pub fn read(path: &Path) -> Result<Self> {
        let bad = |problem: String| Error::data(path, problem, "give the tokenizer.json of a model");
        let bytes = regular_file::read(path, LARGEST)?;
        // The library panics over what is no JSON.
        serde_json::from_slice::<serde::de::IgnoredAny>(&bytes)
            .map_err(|error| bad(format!("is no JSON ({error})")))?;
        let checksum = crc32fast::hash(&bytes);
        let json = String::from_utf8(bytes).map_err(|error| bad(format!("is no JSON ({error})")))?;
        // Of the library's ways to read a file this one is compiled with it: the others would be once more, here.
        let read = without_panic(|| json.parse::<tokenizers::Tokenizer>());
        let read = read.ok_or_else(|| bad("is no tokenizer".to_string()))?;
        let mut tokenizer = read.map_err(|error| bad(format!("is no tokenizer ({error})")))?;
        if let ModelWrapper::BPE(model) = tokenizer.get_model()
            && model.dropout.is_some_and(|dropout| dropout > 0.0)
        {
            let problem = "drops merges at random (`dropout` of its model), so that each cut would be another one";
            return Err(Error::data(path, problem, "set its `dropout` to null"));
        }
        // Truncation and padding, made for sentences, would cut a text short.
        tokenizer.with_truncation(None).map_err(|error| bad(error.to_string()))?;
        tokenizer.with_padding(None);
        let greatest = tokenizer.get_vocab(true).into_values().max();
        match greatest.map(|id| id as usize + 1) {
            Some(ids) if ids <= MOST_IDS => {
                Ok(Self { path: path.to_owned(), tokenizer: Box::new(tokenizer), json: json.into(), ids, checksum })
            }
            Some(ids) => Err(bad(format!("has ids up to {ids}"))),
            None => Err(bad("has no tokens".to_string())),
        }
    }

    /// Number of ids: one more than the greatest.
    pub fn count(&self) -> usize {
        self.ids
    }

    /// Contents of its file, on which a cut depends.
    pub(super) fn json(&self) -> &str {
        &self.json
    }

    /// Its file.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// CRC-32 of its file.
    pub(super) fn checksum(&self) -> u32 {
        self.checksum
    }

    /// Hands the tokens of the text that `input` gives to `each`, a part of it after the other; `place` is that of errors.
    pub(super) fn encode(
        &self,
        input: impl Read,
        place: &Place,
        mut each: impl FnMut(&[u32]) -> Result<()>,
    ) -> Result<()> {
        // As many parts at once as keep all threads busy.
        const AT_ONCE: usize = 16;
        let mut waiting = Vec::with_capacity(AT_ONCE);
        let lossy = UnknownTokens::of(&self.tokenizer, &self.json);
        let mut encode = |waiting: &mut Vec<String>| {
            let texts = std::mem::take(waiting);
            // An error here occurs once more below.
            let lost = |text: &String| without_panic(|| lossy.as_ref()?.lost(text).ok()?).flatten();
            if let Some((piece, lost)) = texts.iter().find_map(lost) {
                let tokenizer = self.path.display();
                let problem = format!("has {lost:?} in {piece:?}, which {tokenizer} has no token for");
                let hint = "give a tokenizer.json with an `unk_token`, or one that was made for such texts";
                return Err(Error::data(place, problem, hint));
            }
            let encoded = without_panic(|| self.tokenizer.encode_batch_fast(texts, false));
            let hint = "give the tokenizer.json of a model";
            let encoded = encoded.ok_or_else(|| Error::data(&self.path, "cannot cut a text", hint))?;
            let failed = |error| Error::data(place, format!("cannot be cut into tokens ({error})"), "try another");
            encoded.map_err(failed)?.iter().try_for_each(|part| each(part.get_ids()))
        };
        parts(input, place, |part| {
            waiting.push(part.to_string());
            if waiting.len() < AT_ONCE { Ok(()) } else { encode(&mut waiting) }
        })?;
        encode(&mut waiting)
    }

    /// The text of `tokens`, or � where they have none.
    pub(super) fn decode(&self, tokens: &[u32]) -> String {
        self.tokenizer.decode(tokens, false).unwrap_or_else(|_| char::REPLACEMENT_CHARACTER.to_string())
    }
}

impl fmt::Debug for HfTokenizer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} tokens of {}", self.ids, self.path.display())
    }
}

/// Result of `call`; `None` if it panics, as the library does over keys and values of a file that it does not expect.
fn without_panic<T>(call: impl FnOnce() -> T) -> Option<T> {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(call)).ok()
}
