//! Meaning of a text's tokens: bytes, characters, or the pieces of a `tokenizer.json`.

use std::io::Read;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::hf_tokenizer::HfTokenizer;
use super::parts::parts;
use crate::error::{Error, Place, Result};

/// Rule by which a text is cut into tokens.
#[derive(Clone, Debug)]
pub enum Tokenizer {
    /// By bytes: a vocabulary of 256 for any file.
    Bytes,
    /// By characters: the vocabulary is those that occur, in the order of their code points.
    Characters,
    /// By characters of a vocabulary that is known already, sorted; a text with another is refused.
    Known(Vec<char>),
    /// By a `tokenizer.json` of Hugging Face's: BPE, word pieces, unigrams.
    HfTokenizer(HfTokenizer),
}

/// Full meaning of token ids, as a checkpoint keeps it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "level", rename_all = "snake_case")]
pub enum TokenKind {
    /// Bytes.
    Bytes,
    /// Characters.
    Characters {
        /// All of them, in order of their ids.
        characters: String,
    },
    /// Pieces of a `tokenizer.json`.
    Tokenizer {
        /// Path of the file when the network was trained.
        path: PathBuf,
        /// CRC-32 of the file, eight hexadecimal digits.
        crc32: String,
    },
}

/// The tokens of a text.
#[derive(Clone, Debug)]
pub(super) enum Vocabulary {
    Bytes,
    /// Sorted.
    Characters(Vec<char>),
    HfTokenizer(HfTokenizer),
    /// So many that no text has.
    Placeholder(usize),
}

/// Greatest number of ids of a vocabulary: more than ten times those that are in use.
pub const MOST_IDS: usize = 1 << 22;

impl Tokenizer {
    /// The vocabulary of the text that `input` gives; `place` is that of errors.
    pub(super) fn vocabulary(self, input: impl Read, place: &Place) -> Result<Vocabulary> {
        Ok(match self {
            Self::Bytes => Vocabulary::Bytes,
            Self::Characters => {
                let mut occurs = vec![false; char::MAX as usize + 1];
                parts(input, place, |part| {
                    part.chars().for_each(|c| occurs[c as usize] = true);
                    Ok(())
                })?;
                Vocabulary::Characters(('\0'..=char::MAX).filter(|&c| occurs[c as usize]).collect())
            }
            Self::Known(characters) => Vocabulary::Characters(characters),
            Self::HfTokenizer(pieces) => Vocabulary::HfTokenizer(pieces),
        })
    }
}

impl TokenKind {
    /// Tokenizer that cuts text into such tokens; the `tokenizer.json` lies where it lay, or in `folder`.
    ///
    /// # Errors
    /// Any error of [`HfTokenizer::read`]; [`Error::Data`] if the file is another than that of the training.
    pub fn tokenizer(&self, folder: &Path) -> Result<Tokenizer> {
        let (path, crc32) = match self {
            Self::Bytes => return Ok(Tokenizer::Bytes),
            Self::Characters { characters } => return Ok(Tokenizer::Known(characters.chars().collect())),
            Self::Tokenizer { path, crc32 } => (path, crc32),
        };
        let beside = folder.join(path.file_name().unwrap_or_default());
        let pieces = HfTokenizer::read(if beside.is_file() { &beside } else { path })?;
        let found = format!("{:08x}", pieces.checksum());
        if found != *crc32 {
            let problem = format!("is not the file of the training (its CRC-32 is {found}, not {crc32})");
            return Err(Error::data(pieces.path(), problem, "lay the file of the training beside the checkpoint"));
        }
        Ok(Tokenizer::HfTokenizer(pieces))
    }
}

impl Vocabulary {
    /// Meaning of the ids.
    pub(super) fn kind(&self) -> Option<TokenKind> {
        Some(match self {
            Self::Bytes => TokenKind::Bytes,
            Self::Characters(characters) => TokenKind::Characters { characters: characters.iter().collect() },
            Self::HfTokenizer(pieces) => {
                TokenKind::Tokenizer { path: pieces.path().to_owned(), crc32: format!("{:08x}", pieces.checksum()) }
            }
            Self::Placeholder(_) => return None,
        })
    }

    /// One more than the greatest id.
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Bytes => 256,
            Self::Characters(characters) => characters.len(),
            Self::HfTokenizer(pieces) => pieces.count(),
            Self::Placeholder(ids) => *ids,
        }
    }

    /// Hands the tokens of the text that `input` gives to `each`, a part of it after the other; `place` is that of errors.
    pub(super) fn encode(
        &self,
        mut input: impl Read,
        place: &Place,
        mut each: impl FnMut(&[u32]) -> Result<()>,
    ) -> Result<()> {
        match self {
            Self::Bytes => {
                let mut buffer = vec![0; 1 << 16];
                loop {
                    match input.read(&mut buffer).map_err(|e| Error::io(place, e))? {
                        0 => return Ok(()),
                        read => each(&buffer[..read].iter().map(|&byte| byte.into()).collect::<Vec<_>>())?,
                    }
                }
            }
            Self::Characters(characters) => parts(input, place, |part| {
                let unknown = |c: char| {
                    let problem =
                        format!("has {c:?}, which is none of the {} characters of its vocabulary", characters.len());
                    Error::data(place, problem, "leave it out (or, if the file was written to meanwhile, try again)")
                };
                let id = |c: char| characters.binary_search(&c).map(|id| id as u32).map_err(|_| unknown(c));
                each(&part.chars().map(id).collect::<Result<Vec<_>, _>>()?)
            }),
            Self::Placeholder(_) => Ok(()),
            Self::HfTokenizer(pieces) => pieces.encode(input, place, each),
        }
    }

    /// The text of `tokens`; bytes that are no UTF-8 are shown as �, and so is an id that does not exist.
    pub(super) fn decode(&self, tokens: &[u32]) -> String {
        const UNKNOWN: char = char::REPLACEMENT_CHARACTER;
        match self {
            Self::Bytes => {
                let bytes = tokens.iter().map(|&id| u8::try_from(id).unwrap_or(0xff)).collect::<Vec<_>>();
                String::from_utf8_lossy(&bytes).into_owned()
            }
            Self::Characters(characters) => {
                tokens.iter().map(|&id| characters.get(id as usize).copied().unwrap_or(UNKNOWN)).collect()
            }
            Self::HfTokenizer(pieces) => pieces.decode(tokens),
            Self::Placeholder(_) => String::new(),
        }
    }
}
