//! `[data]`: the data set and its splits.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::keys::{Value, section, words_of_enums};
use crate::config::{Amount, ConfigError, values};

section! {
    /// `[data]`: the data set and its splits.
    DataConfig {
        /// Set: `glyphs`, `copy_paste` and `parity` are drawn; `idx` (MNIST's format), `cifar` and `folder` (JPEG and PNG) are
        /// read from the folder given by `--data`, `text` from that file.
        set: DataSet = DataSet::Glyphs;
        /// Height and width of glyphs, 16 or 28, or of the part of a `folder`'s images that networks see, up to 1024.
        size: usize = 16, needs "set = \"glyphs\" or \"folder\"" |d| matches!(d.set, DataSet::Glyphs | DataSet::Folder);
        /// Height and width to which images are resized where networks see a part of them, `size` × `size`. Without
        /// the key they see all.
        #[serde(skip_serializing_if = "Option::is_none")]
        resize: Option<usize> = None, needs "set = \"folder\"" |d| d.set == DataSet::Folder;
        /// Training images, a number or a share. Of drawn sequences, the number that an evaluation looks at: batches are
        /// always new. Of text, blocks of `context` tokens. Without the key 2,000, of a `folder` all images that the other
        /// splits leave.
        #[serde(skip_serializing_if = "Option::is_none")]
        train: Option<Amount> = None;
        /// Validation images, sequences or blocks. Without the key 500, of a `folder` all held-out ones, or a tenth.
        #[serde(skip_serializing_if = "Option::is_none")]
        validation: Option<Amount> = None;
        /// Test images, sequences or blocks. Without the key 1,000, of a `folder` all held-out ones, or a tenth.
        #[serde(skip_serializing_if = "Option::is_none")]
        test: Option<Amount> = None;
        /// Number of classes, or of different tokens. An IDX set has 10 without the key, others know it themselves. Without
        /// data, memory is counted by it.
        #[serde(skip_serializing_if = "Option::is_none")]
        classes: Option<usize> = None;
        /// If true, files that are no images are left out; otherwise they are an error.
        skip_broken: bool = false, needs "set = \"folder\"" |d| d.set == DataSet::Folder;
        /// If true, images and text stay on the CPU, and threads read each batch ahead of its step. Without the key, this
        /// is so where they do not fit on the GPU. The batches are the same.
        #[serde(skip_serializing_if = "Option::is_none")]
        stream: Option<bool> = None, needs "data that are not drawn anew" |d| {
            d.stream == Some(false) || !matches!(d.set, DataSet::CopyPaste | DataSet::Parity)
        };
        /// Fewest and most symbols of a sequence; without the key the paper's, 20 to 40 of copy-paste and 2 to 50 of parity.
        #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "values::two::two_if_given")]
        lengths: Option<[usize; 2]> = None, needs "set = \"copy_paste\" or \"parity\"" |d| {
            matches!(d.set, DataSet::CopyPaste | DataSet::Parity)
        };
        /// Different digits.
        symbols: usize = 10, needs "set = \"copy_paste\"" |d| d.set == DataSet::CopyPaste;
        /// Tokens of a block of text.
        context: usize = 64, needs "set = \"text\"" |d| d.set == DataSet::Text;
        /// Tokens of text: its `characters` or `bytes`.
        level: TextLevel = TextLevel::Characters, needs "set = \"text\" and no tokenizer" |d| {
            d.set == DataSet::Text && d.tokenizer.is_none()
        };
        /// A `tokenizer.json` that cuts the text, in place of `level`.
        #[serde(skip_serializing_if = "Option::is_none")]
        tokenizer: Option<PathBuf> = None, needs "set = \"text\"" |d| d.set == DataSet::Text;
        /// Seed of the drawing and the split.
        seed: u64 = 0;
    }
}

/// Kinds of data set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DataSet {
    /// Ten drawn symbols.
    Glyphs,
    /// A folder of IDX files.
    Idx,
    /// A folder with CIFAR-10 or CIFAR-100 in binary form.
    Cifar,
    /// A folder of JPEG and PNG files, `<class>/…` or `train/<class>/…` with `val/<class>/…` and `test/<class>/…`.
    Folder,
    /// Drawn digits that are asked for again.
    CopyPaste,
    /// Drawn bits whose parity is asked for.
    Parity,
    /// A file of text whose next token is asked for.
    Text,
}

impl DataSet {
    /// True if examples are sequences of tokens, not images.
    pub(crate) fn is_tokens(self) -> bool {
        matches!(self, Self::CopyPaste | Self::Parity | Self::Text)
    }

    /// True if examples are drawn, not read from files.
    pub(crate) fn is_drawn(self) -> bool {
        matches!(self, Self::Glyphs | Self::CopyPaste | Self::Parity)
    }
}

/// Unit of text that one token is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TextLevel {
    /// A byte, of any file.
    Bytes,
    /// A character.
    Characters,
}

words_of_enums!(DataSet, TextLevel);

impl Value for Amount {
    fn words() -> String {
        "whole number, or share from 0.0 to 1.0".to_string()
    }
}
