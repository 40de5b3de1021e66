//! Text as token ids: any file by bytes, any UTF-8 file by characters.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// What a token is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TextLevel {
    /// A byte: a vocabulary of 256 for any file.
    Bytes,
    /// A character: the vocabulary is those that occur, in the order of their code points.
    #[default]
    Characters,
}

/// A text as token ids.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Text {
    /// The ids in order.
    pub tokens: Vec<u32>,
    /// What each id stands for.
    pub vocabulary: Vec<Vec<u8>>,
    /// What the text is called in messages and reports.
    pub name: String,
}

/// Largest file that is read, in bytes.
const LARGEST: u64 = 1 << 30;

impl Text {
    /// Reads a file.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Data`] if the file is empty, larger than 1 GiB, or not UTF-8 where characters are asked for.
    pub fn read(path: &Path, level: TextLevel) -> Result<Self> {
        let size = std::fs::metadata(path).map_err(|e| Error::io(path, e))?.len();
        if size > LARGEST {
            return Err(Error::data(path, format!("has {size} bytes"), "give a text of at most 1 GiB"));
        }
        let bytes = std::fs::read(path).map_err(|e| Error::io(path, e))?;
        Self::tokenize(&bytes, level, path)
    }

    /// Cuts `bytes` into tokens; `path` names them.
    ///
    /// # Errors
    /// [`Error::Data`] as [`Text::read`].
    pub fn tokenize(bytes: &[u8], level: TextLevel, path: &Path) -> Result<Self> {
        if bytes.is_empty() {
            return Err(Error::data(path, "is empty", "give a text"));
        }
        let name = path.display().to_string();
        match level {
            TextLevel::Bytes => {
                let tokens = bytes.iter().map(|&byte| u32::from(byte)).collect();
                Ok(Self { tokens, vocabulary: (0..=255).map(|byte| vec![byte]).collect(), name })
            }
            TextLevel::Characters => {
                let text = std::str::from_utf8(bytes).map_err(|error| {
                    let problem = format!("is not UTF-8 at byte {}", error.valid_up_to());
                    Error::data(path, problem, "save it as UTF-8, or set `level = \"bytes\"`")
                })?;
                let mut ids: BTreeMap<char, u32> = text.chars().map(|c| (c, 0)).collect();
                ids.values_mut().zip(0..).for_each(|(id, number)| *id = number);
                let tokens = text.chars().map(|c| ids[&c]).collect();
                let vocabulary = ids.keys().map(|c| c.to_string().into_bytes()).collect();
                Ok(Self { tokens, vocabulary, name })
            }
        }
    }

    /// Number of different ids.
    pub fn vocabulary(&self) -> usize {
        self.vocabulary.len()
    }

    /// The text of `tokens`; what is no UTF-8 is shown as �, and so is an id that does not exist.
    pub fn decode(&self, tokens: &[u32]) -> String {
        let bytes = |&id: &u32| self.vocabulary.get(id as usize).map_or("\u{fffd}".as_bytes(), Vec::as_slice);
        String::from_utf8_lossy(&tokens.iter().flat_map(bytes).copied().collect::<Vec<_>>()).into_owned()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;

    #[test]
    fn text_comes_back_from_its_tokens() {
        let words = "zwölf Boxkämpfer – 🦀\n";
        for (level, vocabulary, count) in [(TextLevel::Bytes, 256, words.len()), (TextLevel::Characters, 18, 21)] {
            let text = Text::tokenize(words.as_bytes(), level, Path::new("x")).unwrap();
            assert_eq!((text.vocabulary(), text.tokens.len()), (vocabulary, count), "{level:?}");
            assert_eq!(text.decode(&text.tokens), words);
            assert!(text.tokens.iter().all(|&id| (id as usize) < vocabulary));
        }
        let text = Text::tokenize(b"ba", TextLevel::Characters, Path::new("x")).unwrap();
        assert_eq!((&text.tokens, text.decode(&[1, 0, 9])), (&vec![1, 0], "ba\u{fffd}".to_string()));
    }

    #[test]
    fn what_is_no_text_is_refused_by_name() {
        let message =
            |bytes: &[u8]| Text::tokenize(bytes, TextLevel::Characters, Path::new("a/b.txt")).unwrap_err().to_string();
        assert_eq!(message(b""), "a/b.txt: is empty; give a text");
        assert!(message(b"ab\xffcd").starts_with("a/b.txt: is not UTF-8 at byte 2;"));
        assert!(Text::tokenize(b"ab\xffcd", TextLevel::Bytes, Path::new("x")).is_ok());
        assert!(Text::read(Path::new("no/such/file"), TextLevel::Bytes).unwrap_err().to_string().contains("no/such"));
    }
}
