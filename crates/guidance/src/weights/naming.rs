//! Names of parameters in other libraries, as tables.

use std::fmt;

use Values::{FirstRows, Same, Stacked, Transposed};

/// Names that a library gives to the parameters of a network that we name otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Naming {
    /// Ours, which for most networks is PyTorch's.
    Trellis,
    /// Hugging Face's GPT-2, whose linear layers are `[in, out]`; our [`Transformer::gpt2`](crate::Transformer::gpt2).
    Gpt2,
    /// Hugging Face's BERT, whose attention keeps queries, keys and values apart; our [`Transformer::bert`](crate::Transformer::bert).
    /// Files with these names are loaded, and not written.
    Bert,
}

/// Change of a tensor between a file and a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Values {
    Same,
    /// The file's is the other way round.
    Transposed,
    /// The file may have more rows: positions that are not needed.
    FirstRows,
    /// The rows of three tensors of the file: queries, and the same with `key` and `value` for `query`.
    Stacked,
}

/// Ours, theirs; `{}` is a number.
type Row = (&'static str, &'static str, Values);

#[rustfmt::skip]
const GPT2: [Row; 16] = [
    ("embedding.weight", "wte.weight", Same),
    ("positions.weight", "wpe.weight", FirstRows),
    ("layers.{}.norm1.weight", "h.{}.ln_1.weight", Same),
    ("layers.{}.norm1.bias", "h.{}.ln_1.bias", Same),
    ("layers.{}.self_attn.in_proj_weight", "h.{}.attn.c_attn.weight", Transposed),
    ("layers.{}.self_attn.in_proj_bias", "h.{}.attn.c_attn.bias", Same),
    ("layers.{}.self_attn.out_proj.weight", "h.{}.attn.c_proj.weight", Transposed),
    ("layers.{}.self_attn.out_proj.bias", "h.{}.attn.c_proj.bias", Same),
    ("layers.{}.norm2.weight", "h.{}.ln_2.weight", Same),
    ("layers.{}.norm2.bias", "h.{}.ln_2.bias", Same),
    ("layers.{}.linear1.weight", "h.{}.mlp.c_fc.weight", Transposed),
    ("layers.{}.linear1.bias", "h.{}.mlp.c_fc.bias", Same),
    ("layers.{}.linear2.weight", "h.{}.mlp.c_proj.weight", Transposed),
    ("layers.{}.linear2.bias", "h.{}.mlp.c_proj.bias", Same),
    ("norm.weight", "ln_f.weight", Same),
    ("norm.bias", "ln_f.bias", Same),
];

#[rustfmt::skip]
const BERT: [Row; 17] = [
    ("embedding.weight", "embeddings.word_embeddings.weight", Same),
    ("positions.weight", "embeddings.position_embeddings.weight", FirstRows),
    ("segment.weight", "embeddings.token_type_embeddings.weight", FirstRows),
    ("embedding_norm.weight", "embeddings.LayerNorm.weight", Same),
    ("embedding_norm.bias", "embeddings.LayerNorm.bias", Same),
    ("layers.{}.self_attn.in_proj_weight", "encoder.layer.{}.attention.self.query.weight", Stacked),
    ("layers.{}.self_attn.in_proj_bias", "encoder.layer.{}.attention.self.query.bias", Stacked),
    ("layers.{}.self_attn.out_proj.weight", "encoder.layer.{}.attention.output.dense.weight", Same),
    ("layers.{}.self_attn.out_proj.bias", "encoder.layer.{}.attention.output.dense.bias", Same),
    ("layers.{}.norm1.weight", "encoder.layer.{}.attention.output.LayerNorm.weight", Same),
    ("layers.{}.norm1.bias", "encoder.layer.{}.attention.output.LayerNorm.bias", Same),
    ("layers.{}.linear1.weight", "encoder.layer.{}.intermediate.dense.weight", Same),
    ("layers.{}.linear1.bias", "encoder.layer.{}.intermediate.dense.bias", Same),
    ("layers.{}.linear2.weight", "encoder.layer.{}.output.dense.weight", Same),
    ("layers.{}.linear2.bias", "encoder.layer.{}.output.dense.bias", Same),
    ("layers.{}.norm2.weight", "encoder.layer.{}.output.LayerNorm.weight", Same),
    ("layers.{}.norm2.bias", "encoder.layer.{}.output.LayerNorm.bias", Same),
];

/// Parts of a BERT file that follow its encoder: no layer of it depends on them.
const BEHIND_BERT: [&str; 2] = ["pooler.", "cls."];

/// Prefixes that wrappers put before every name.
const PREFIXES: [&str; 8] =
    ["", "module.", "_orig_mod.", "model.", "transformer.", "module.transformer.", "_orig_mod.transformer.", "bert."];

impl fmt::Display for Naming {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Trellis => "Trellis",
            Self::Gpt2 => "GPT-2",
            Self::Bert => "BERT",
        })
    }
}

impl Naming {
    const ALL: [Self; 3] = [Self::Trellis, Self::Gpt2, Self::Bert];

    fn table(self) -> &'static [Row] {
        match self {
            Self::Trellis => &[],
            Self::Gpt2 => &GPT2,
            Self::Bert => &BERT,
        }
    }

    /// Names in the file that every network has.
    pub(super) fn always(self) -> impl Iterator<Item = &'static str> {
        self.table().iter().map(|row| row.1).filter(|theirs| !theirs.contains("{}"))
    }

    /// The file's name for our `name`, and the layout of its values in the file.
    pub(super) fn theirs(self, name: &str) -> Option<(String, Values)> {
        if self == Self::Trellis {
            return Some((name.to_string(), Same));
        }
        self.table().iter().find_map(|(ours, theirs, values)| Some((renamed(name, ours, theirs)?, *values)))
    }

    /// Our name for the file's `name`, and the layout of its values in the file.
    pub(super) fn ours(self, name: &str) -> Option<(String, Values)> {
        if self == Self::Trellis {
            return Some((name.to_string(), Same));
        }
        self.table().iter().find_map(|(ours, theirs, values)| Some((renamed(name, theirs, ours)?, *values)))
    }

    /// The naming and prefix by which the file with `names` holds most of `wanted`, our names.
    pub(super) fn of_network(names: &[&str], wanted: &[&str]) -> (Self, &'static str) {
        let found = |naming: Self, prefix: &str| {
            let theirs = wanted.iter().filter_map(|name| naming.theirs(name));
            theirs.filter(|(name, _)| names.contains(&format!("{prefix}{name}").as_str())).count()
        };
        best(found)
    }

    /// The naming and prefix by which most of a file's names are known. Ours knows every name, so only others count, and only
    /// where they know a name.
    pub(super) fn of_file(names: &[&str]) -> (Self, &'static str) {
        best(|naming, prefix| match naming {
            Self::Trellis => usize::from(!prefix.is_empty() && names.iter().all(|name| name.starts_with(prefix))),
            _ => {
                names.iter().filter(|name| name.strip_prefix(prefix).is_some_and(|n| naming.ours(n).is_some())).count()
            }
        })
    }
}

/// The first of the namings and prefixes of which `count` is greatest.
fn best(count: impl Fn(Naming, &str) -> usize) -> (Naming, &'static str) {
    let pairs = Naming::ALL.into_iter().flat_map(|naming| PREFIXES.map(|prefix| (naming, prefix)));
    pairs.rev().max_by_key(|(naming, prefix)| count(*naming, prefix)).expect("a table and a prefix")
}

/// GPT-2's logits, which are its embedding where a file has both.
pub(super) const GPT2_HEAD: [&str; 2] = ["lm_head.weight", "wte.weight"];

/// Reason why a file needs no causal mask.
pub(super) const MASK: &str = "a causal mask";

/// Kind of a tensor of a PyTorch file that is no parameter, by its name and its shape: the counters of batch norm, and
/// GPT-2's masks.
pub(super) fn no_parameter(naming: Naming, name: &str, shape: &[usize]) -> Option<&'static str> {
    let of_layer = |what: &str| renamed(name, &format!("h.{{}}.attn.{what}"), "").is_some();
    let counts = name.strip_suffix("num_batches_tracked").is_some_and(|rest| rest.is_empty() || rest.ends_with('.'));
    match shape {
        [] if counts => Some("a counter of batches"),
        [1, _] if naming == Naming::Bert && name == "embeddings.position_ids" => Some("the numbers of the positions"),
        [] if naming == Naming::Gpt2 && of_layer("masked_bias") => Some("the number that masks"),
        [1, 1, rows, columns] if naming == Naming::Gpt2 && rows == columns && of_layer("bias") => Some(MASK),
        _ => None,
    }
}

/// True for a tensor behind the encoder of a BERT file, without its prefix `bert.` or with another.
pub(super) fn is_behind_encoder(naming: Naming, name: &str, prefix: &str) -> bool {
    let stripped = name.strip_prefix(prefix).unwrap_or(name);
    naming == Naming::Bert && BEHIND_BERT.iter().any(|part| stripped.starts_with(part))
}

/// `name`, which fits the pattern `from`, in the pattern `to`.
fn renamed(name: &str, from: &str, to: &str) -> Option<String> {
    let Some((before, after)) = from.split_once("{}") else { return (name == from).then(|| to.to_string()) };
    let number = name.strip_prefix(before)?.strip_suffix(after)?;
    let digits = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| to.replace("{}", number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_goes_both_ways() {
        for (ours, theirs, values) in GPT2 {
            let (ours, theirs) = (ours.replace("{}", "11"), theirs.replace("{}", "11"));
            assert_eq!(Naming::Gpt2.theirs(&ours), Some((theirs.clone(), values)));
            assert_eq!(Naming::Gpt2.ours(&theirs), Some((ours, values)));
        }
        assert_eq!(Naming::Gpt2.ours("h.x.ln_1.weight"), None);
        assert_eq!(Naming::Gpt2.ours("h..ln_1.weight"), None);
    }

    #[test]
    fn a_file_is_known_by_its_names() {
        assert_eq!(Naming::of_file(&["transformer.h.0.ln_1.bias", "lm_head.weight"]), (Naming::Gpt2, "transformer."));
        assert_eq!(Naming::of_file(&["h.0.ln_1.bias", "wte.weight"]), (Naming::Gpt2, ""));
        assert_eq!(Naming::of_file(&["conv1.weight"]), (Naming::Trellis, ""));
        assert_eq!(Naming::of_file(&["module.conv1.weight", "module.fc.bias"]), (Naming::Trellis, "module."));
        let known = |naming, name, shape: &[usize]| no_parameter(naming, name, shape).is_some();
        assert!(known(Naming::Trellis, "layer1.0.bn1.num_batches_tracked", &[]));
        assert!(
            known(Naming::Gpt2, "h.3.attn.bias", &[1, 1, 8, 8]) && known(Naming::Gpt2, "h.3.attn.masked_bias", &[])
        );
        // A bias that is called like a mask, and a parameter that is called like a counter.
        assert!(!known(Naming::Gpt2, "h.3.attn.bias", &[8]) && !known(Naming::Trellis, "decoder.attn.bias", &[3]));
        assert!(
            !known(Naming::Trellis, "num_batches_tracked", &[4]) && !known(Naming::Gpt2, "h.3.attn.c_attn.bias", &[8])
        );
    }
}
