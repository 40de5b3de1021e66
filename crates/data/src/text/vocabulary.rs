//! Meaning of a text's tokens: bytes, characters, or the pieces of a `tokenizer.json`.

use std::fmt;
use std::io::Read;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::parts::parts;
use super::unknown::UnknownTokens;
use crate::error::{Error, Result};
use crate::io::regular_file;

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
    /// HfTokenizer of a `tokenizer.json`.
    Tokenizer {
        /// Path of the file when the network was trained.
        path: PathBuf,
        /// CRC-32 of the file, eight hexadecimal digits.
        crc32: String,
    },
}

/// A tokenizer from a file.
#[derive(Clone)]
pub struct HfTokenizer {
    path: PathBuf,
    tokenizer: Box<tokenizers::Tokenizer>,
    ids: usize,
    /// CRC-32 of the file.
    checksum: u32,
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

/// Largest `tokenizer.json` that is read, in bytes.
const LARGEST: u64 = 1 << 28;

/// Greatest number of ids of a vocabulary: more than ten times those that are in use.
pub const MOST_IDS: usize = 1 << 22;

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
        let read = without_panic(|| tokenizers::Tokenizer::from_bytes(bytes));
        let read = read.ok_or_else(|| bad("is no tokenizer".to_string()))?;
        let mut tokenizer = read.map_err(|error| bad(format!("is no tokenizer ({error})")))?;
        // Truncation and padding, made for sentences, would cut a text short.
        tokenizer.with_truncation(None).map_err(|error| bad(error.to_string()))?;
        tokenizer.with_padding(None);
        let greatest = tokenizer.get_vocab(true).into_values().max();
        match greatest.map(|id| id as usize + 1) {
            Some(ids) if ids <= MOST_IDS => {
                Ok(Self { path: path.to_owned(), tokenizer: Box::new(tokenizer), ids, checksum })
            }
            Some(ids) => Err(bad(format!("has ids up to {ids}"))),
            None => Err(bad("has no tokens".to_string())),
        }
    }

    /// Number of ids: one more than the greatest.
    pub fn count(&self) -> usize {
        self.ids
    }

    /// Its file as text: what a cut depends on.
    pub(super) fn to_json(&self) -> String {
        self.tokenizer.to_string(false).unwrap_or_default()
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

impl Tokenizer {
    /// The vocabulary of the text that `input` gives; `path` names it in errors.
    pub(super) fn vocabulary(self, input: impl Read, path: &Path) -> Result<Vocabulary> {
        Ok(match self {
            Self::Bytes => Vocabulary::Bytes,
            Self::Characters => {
                let mut occurs = vec![false; char::MAX as usize + 1];
                parts(input, path, |part| {
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
        let found = format!("{:08x}", pieces.checksum);
        if found != *crc32 {
            let problem = format!("is not the file of the training (its CRC-32 is {found}, not {crc32})");
            return Err(Error::data(&pieces.path, problem, "lay the file of the training beside the checkpoint"));
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
            Self::HfTokenizer(HfTokenizer { path, checksum, .. }) => {
                TokenKind::Tokenizer { path: path.clone(), crc32: format!("{checksum:08x}") }
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

    /// Hands the tokens of the text that `input` gives to `each`, a part of it after the other; `path` names it in errors.
    pub(super) fn encode(
        &self,
        mut input: impl Read,
        path: &Path,
        mut each: impl FnMut(&[u32]) -> Result<()>,
    ) -> Result<()> {
        match self {
            Self::Bytes => {
                let mut buffer = vec![0; 1 << 16];
                loop {
                    match input.read(&mut buffer).map_err(|e| Error::io(path, e))? {
                        0 => return Ok(()),
                        read => each(&buffer[..read].iter().map(|&byte| byte.into()).collect::<Vec<_>>())?,
                    }
                }
            }
            Self::Characters(characters) => parts(input, path, |part| {
                let unknown = |c: char| {
                    let problem =
                        format!("has {c:?}, which is none of the {} characters of its vocabulary", characters.len());
                    Error::data(path, problem, "leave it out (or, if the file was written to meanwhile, try again)")
                };
                let id = |c: char| characters.binary_search(&c).map(|id| id as u32).map_err(|_| unknown(c));
                each(&part.chars().map(id).collect::<Result<Vec<_>, _>>()?)
            }),
            Self::Placeholder(_) => Ok(()),
            Self::HfTokenizer(pieces) => {
                // As many parts at once as keep all threads busy.
                const AT_ONCE: usize = 16;
                let mut waiting = Vec::with_capacity(AT_ONCE);
                let lossy = UnknownTokens::of(&pieces.tokenizer);
                let mut encode = |waiting: &mut Vec<String>| {
                    let texts = std::mem::take(waiting);
                    // An error here occurs once more below.
                    let lost = |text: &String| without_panic(|| lossy.as_ref()?.lost(text).ok()?).flatten();
                    if let Some((piece, lost)) = texts.iter().find_map(lost) {
                        let tokenizer = pieces.path.display();
                        let problem = format!("has {lost:?} in {piece:?}, which {tokenizer} has no token for");
                        let hint = "give a tokenizer.json with an `unk_token`, or one that was made for such texts";
                        return Err(Error::data(path, problem, hint));
                    }
                    let encoded = without_panic(|| pieces.tokenizer.encode_batch_fast(texts, false));
                    let hint = "give the tokenizer.json of a model";
                    let encoded = encoded.ok_or_else(|| Error::data(&pieces.path, "cannot cut a text", hint))?;
                    let failed =
                        |error| Error::data(path, format!("cannot be cut into tokens ({error})"), "try another");
                    encoded.map_err(failed)?.iter().try_for_each(|part| each(part.get_ids()))
                };
                parts(input, path, |part| {
                    waiting.push(part.to_string());
                    if waiting.len() < AT_ONCE { Ok(()) } else { encode(&mut waiting) }
                })?;
                encode(&mut waiting)
            }
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
            Self::HfTokenizer(pieces) => pieces.tokenizer.decode(tokens, false).unwrap_or_else(|_| UNKNOWN.to_string()),
            Self::Placeholder(_) => String::new(),
        }
    }
}
