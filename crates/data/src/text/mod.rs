//! Text as token ids: any file by bytes, any UTF-8 file by characters or by the pieces of a `tokenizer.json`.
//!
//! A text is read in parts. Its tokens stay in memory, or, for texts that are larger than it, in a file that is cut once and
//! then known.

mod cut;
mod encoding;
#[cfg(feature = "tokenizers")]
mod hf_tokenizer;
#[cfg(not(feature = "tokenizers"))]
#[path = "no_hf_tokenizer.rs"]
mod hf_tokenizer;
mod parts;
mod vocabulary;

use std::fmt;
use std::io::Read;
use std::path::Path;

use crate::error::{Error, Place, Result};
use crate::io::Bytes;
use crate::io::regular_file;
pub use hf_tokenizer::HfTokenizer;
use vocabulary::Vocabulary;
pub use vocabulary::{MOST_IDS, TokenKind, Tokenizer};

/// A text as token ids.
pub struct Text {
    name: String,
    vocabulary: Vocabulary,
    ids: Ids,
}

/// Ids as little-endian words.
#[derive(Debug)]
struct Ids {
    bytes: Bytes,
    /// Offset in `bytes` at which they begin.
    start: u64,
    /// Bytes of a word: 1, 2 or 4.
    width: usize,
    count: usize,
}

/// Largest file that is read into memory, in bytes.
const LARGEST: u64 = 1 << 30;

impl Text {
    /// Reads a file into memory.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Data`] if the file is empty, larger than 1 GiB, or not UTF-8 where it has to be.
    pub fn read(path: &Path, tokenizer: Tokenizer) -> Result<Self> {
        let (_, size) = regular_file::open(path)?;
        if size > LARGEST {
            return Err(Error::data(path, format!("has {size} bytes"), "stream it: `stream = true`"));
        }
        Self::in_memory(|| Ok(regular_file::open(path)?.0.take(LARGEST)), tokenizer, path.into())
    }

    /// Cuts a text that is in memory already; `name` is its name.
    ///
    /// # Errors
    /// [`Error::Data`] as [`Text::read`].
    pub fn new(name: &str, text: &[u8], tokenizer: Tokenizer) -> Result<Self> {
        Self::in_memory(|| Ok(text), tokenizer, Place::dataset(name))
    }

    /// Cuts the text that `open` opens, as often as it is called; `place` is that of errors.
    fn in_memory<R: Read>(open: impl Fn() -> Result<R>, tokenizer: Tokenizer, place: Place) -> Result<Self> {
        let vocabulary = tokenizer.vocabulary(open()?, &place)?;
        let (width, mut words) = (Ids::width(&vocabulary), Vec::new());
        vocabulary.encode(open()?, &place, |ids| {
            Ids::write(ids, width, &mut words);
            Ok(())
        })?;
        let ids = Ids { count: words.len() / width, bytes: Bytes::Memory(words), start: 0, width };
        Self { name: place.to_string(), vocabulary, ids }.not_empty()
    }

    /// Reads a file that may be larger than memory. Bytes are left where they are; other tokens are cut once, into a file in
    /// `folder`, in which a later call finds them.
    ///
    /// # Errors
    /// As [`Text::read`], whatever the size; [`Error::Io`] if the file in `folder` cannot be written.
    pub fn on_disk(path: &Path, tokenizer: Tokenizer, folder: &Path) -> Result<Self> {
        let name = path.display().to_string();
        if let Tokenizer::Bytes = tokenizer {
            let bytes = Bytes::open(path)?;
            let ids = Ids { start: 0, width: 1, count: bytes.len() as usize, bytes };
            return Self { name, vocabulary: Vocabulary::Bytes, ids }.not_empty();
        }
        let (vocabulary, ids) = cut::find_or_make(path, tokenizer, folder)?;
        Self { name, vocabulary, ids }.not_empty()
    }

    /// Placeholder text of `count` tokens, all the same, from a vocabulary of so many.
    pub fn placeholder(count: usize, vocabulary: usize) -> Self {
        let vocabulary = Vocabulary::Placeholder(vocabulary);
        let ids = Ids { bytes: Bytes::Zeros(count as u64), start: 0, width: 1, count };
        Self { name: "not read".to_string(), vocabulary, ids }
    }

    fn not_empty(self) -> Result<Self> {
        match self.ids.count {
            0 => Err(Error::data(Place::dataset(self.name), "is empty", "give a text")),
            _ => Ok(self),
        }
    }

    /// Name in messages and reports.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Number of tokens.
    #[allow(clippy::len_without_is_empty, reason = "none is empty")]
    pub fn len(&self) -> usize {
        self.ids.count
    }

    /// Number of different ids.
    pub fn vocabulary(&self) -> usize {
        self.vocabulary.len()
    }

    /// `count` ids from number `first` on.
    ///
    /// # Errors
    /// Any error of reading a file.
    ///
    /// # Panics
    /// Past the end, as a slice does.
    pub fn tokens(&self, first: usize, count: usize) -> Result<Vec<u32>> {
        let Ids { bytes, start, width, count: all } = &self.ids;
        assert!(first.checked_add(count).is_some_and(|end| end <= *all), "{count} tokens from {first} on, of {all}");
        let mut words = vec![0; count * width];
        bytes.read(start + (first * width) as u64, &mut words)?;
        let id = |word: &[u8]| word.iter().rev().fold(0, |id, &byte| id << 8 | u32::from(byte));
        let ids: Vec<u32> = words.chunks(*width).map(id).collect();
        // A file that somebody wrote into.
        match ids.iter().find(|&&id| id as usize >= self.vocabulary()) {
            Some(id) => {
                let problem = format!("has a token {id} that does not exist");
                Err(Error::data(Place::dataset(self.name()), problem, "cut it again"))
            }
            None => Ok(ids),
        }
    }

    /// Token `id` as a reader sees it.
    pub fn token_name(&self, id: usize) -> String {
        let plain = |c: char| if c.is_control() { c.escape_debug().to_string() } else { c.to_string() };
        self.decode(&[id as u32]).chars().map(plain).collect()
    }

    /// Meaning of the ids; `None` for a placeholder of a text.
    pub fn token_kind(&self) -> Option<TokenKind> {
        self.vocabulary.kind()
    }

    /// CRC-32 of the ids; of a text of more than some million tokens, of ten thousand pieces, evenly spaced.
    ///
    /// # Errors
    /// Any error of reading a file.
    pub fn checksum(&self) -> Result<u32> {
        const PIECES: usize = 10_000;
        let (count, piece) = (self.ids.count, self.ids.count.div_ceil(PIECES).min(4096));
        let pieces = count.div_ceil(piece).min(PIECES);
        let mut checksum = crc32fast::Hasher::new();
        for at in 0..pieces {
            let first = (at as u64 * count as u64 / pieces as u64) as usize;
            let ids = self.tokens(first, piece.min(count - first))?;
            ids.iter().for_each(|id| checksum.update(&id.to_le_bytes()));
        }
        Ok(checksum.finalize())
    }

    /// The text of `tokens`; bytes that are no UTF-8 are shown as �, and so is an id that does not exist.
    pub fn decode(&self, tokens: &[u32]) -> String {
        self.vocabulary.decode(tokens)
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} tokens of {} in {}", self.ids.count, self.vocabulary.len(), self.name)
    }
}

impl Ids {
    /// Bytes that any id of a vocabulary fits.
    fn width(vocabulary: &Vocabulary) -> usize {
        match vocabulary.len() {
            0..=0x100 => 1,
            0x101..=0x1_0000 => 2,
            _ => 4,
        }
    }

    fn write(ids: &[u32], width: usize, words: &mut Vec<u8>) {
        ids.iter().for_each(|id| words.extend(&id.to_le_bytes()[..width]));
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
