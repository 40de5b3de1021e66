//! Detects characters that a BPE model without an unk token silently drops. Other models have one, or fail.

use std::collections::HashMap;

use serde::Deserialize;
use serde_json::Value;
use tokenizers::models::bpe::BPE;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::tokenizer::PreTokenizer;
use tokenizers::{ModelWrapper, OffsetReferential, OffsetType, Tokenizer};

/// A tokenizer that may lose characters.
pub(super) struct UnknownTokens<'a> {
    tokenizer: &'a Tokenizer,
    model: &'a BPE,
    tokens: HashMap<String, u32>,
}

impl<'a> UnknownTokens<'a> {
    /// `None` for one that has a token for whatever comes. `json` are the contents of its file.
    pub(super) fn of(tokenizer: &'a Tokenizer, json: &str) -> Option<Self> {
        let ModelWrapper::BPE(model) = tokenizer.get_model() else { return None };
        if model.unk_token.is_some() {
            return None;
        }
        let tokens = model.get_vocab();
        let by_bytes = serde_json::from_str(json).is_ok_and(|parts: Parts| parts.contain("\"ByteLevel\""));
        let alphabet = || ByteLevel::alphabet().into_iter().all(|byte| tokens.contains_key(&byte.to_string()));
        let affixes = model.continuing_subword_prefix.is_some() || model.end_of_word_suffix.is_some();
        let bytes = || (0..=255_u8).all(|byte| tokens.contains_key(&byte_token(byte)));
        let complete = (by_bytes && !affixes && alphabet()) || (model.byte_fallback && bytes());
        (!complete).then_some(Self { tokenizer, model, tokens })
    }

    /// The first piece of `text` with a character that becomes nothing, and the character. Spaces are no loss.
    pub(super) fn lost(&self, text: &str) -> tokenizers::Result<Option<(String, char)>> {
        // Tokens that were added to the model are cut out first.
        let added = self.tokenizer.get_added_vocabulary();
        let mut pieces = added.extract_and_normalize(self.tokenizer.get_normalizer(), text);
        if let Some(pre_tokenizer) = self.tokenizer.get_pre_tokenizer() {
            pre_tokenizer.pre_tokenize(&mut pieces)?;
        }
        let pieces = pieces.get_splits(OffsetReferential::Normalized, OffsetType::Byte);
        let left = pieces.into_iter().filter(|(.., tokens)| tokens.is_none());
        let lost = left.into_iter().find_map(|(piece, ..)| Some((piece.to_string(), self.lost_of(piece)?)));
        Ok(lost)
    }

    fn lost_of(&self, piece: &str) -> Option<char> {
        let known = |at: usize, character: char| {
            let mut token = character.to_string();
            if let Some(prefix) = self.model.continuing_subword_prefix.as_ref().filter(|_| at > 0) {
                token.insert_str(0, prefix);
            }
            let last = at + character.len_utf8() == piece.len();
            if let Some(suffix) = self.model.end_of_word_suffix.as_ref().filter(|_| last) {
                token.push_str(suffix);
            }
            let bytes = || token.bytes().all(|byte| self.tokens.contains_key(&byte_token(byte)));
            self.tokens.contains_key(&token) || (self.model.byte_fallback && bytes())
        };
        let space = |character: char| character.is_whitespace() || character.is_control() || character == '▁';
        let whole = self.model.ignore_merges && self.tokens.contains_key(piece);
        piece.char_indices().find(|&(at, c)| !whole && !space(c) && !known(at, c)).map(|(_, c)| c)
    }
}

/// Parts of a `tokenizer.json` that change a text before the model sees it.
#[derive(Deserialize)]
struct Parts {
    #[serde(default)]
    normalizer: Value,
    #[serde(default)]
    pre_tokenizer: Value,
}

impl Parts {
    fn contain(&self, name: &str) -> bool {
        [&self.normalizer, &self.pre_tokenizer].into_iter().any(|part| part.to_string().contains(name))
    }
}

fn byte_token(byte: u8) -> String {
    format!("<0x{byte:02X}>")
}
