//! Keys of the networks: range, values and documentation. Their types and defaults are those of
//! [`network`](trellis_guidance::network).

use serde::Deserialize;
use serde::de::value::{Error as Unknown, StrDeserializer};

use super::keys::{Key, MOST_LAYERS, MOST_UNITS, Range, SHARE, Value, names, words_of_enums};
use super::network::{Kind, NetworkConfig};
use crate::config::{ConfigError, refuse};
use trellis_guidance::network::{Activation, InitialWeights, NormOrder, Positions, RnnCell, Stack, Stem, WeightsOf};
use trellis_tensor::ops;

words_of_enums!(Activation, NormOrder, Positions, RnnCell, Stack, Stem);

/// Largest number of stages: each one of a residual network halves the image.
const MOST_STAGES: usize = 6;
/// Largest expansion of a block.
const MOST_EXPANSION: usize = 64;
/// Largest stride.
const MOST_STRIDE: usize = 16;
const LAYERS: Range = Range::Counts(MOST_LAYERS);
const UNITS: Range = Range::Counts(MOST_UNITS);

/// Key, kinds of network that have it, its values in words, range and documentation.
type Row = (&'static str, &'static [Kind], fn() -> String, Range, &'static str);

const ROWS: &[Row] = {
    use Kind::{Cnn, Fcn, Mobilenet, Resnet, Rnn, Transformer, Vit};
    &[
        ("depth", &[Fcn], usize::words, LAYERS, "Hidden layers."),
        ("width", &[Fcn], usize::words, UNITS, "Units of each hidden layer."),
        (
            "first_width",
            &[Fcn],
            usize::words,
            UNITS,
            "Units of the first hidden layer, if it has another number of them.",
        ),
        ("channels", &[Cnn], Vec::<usize>::words, UNITS, "Channels of each convolution."),
        (
            "strides",
            &[Cnn],
            Vec::<usize>::words,
            Range::Counts(MOST_STRIDE),
            "Stride of each convolution. Without the key 1 and then 2.",
        ),
        ("blocks", &[Resnet], Vec::<usize>::words, LAYERS, "Blocks of each stage, up to six stages."),
        ("width", &[Resnet], usize::words, UNITS, "Channels of the first stage; each next one has twice as many."),
        (
            "bottleneck",
            &[Resnet],
            bool::words,
            Range::Any,
            "Blocks of 1 × 1, 3 × 3 and 1 × 1 convolutions in place of two of 3 × 3.",
        ),
        ("stem", &[Resnet], Stem::words, Range::Any, "First layers: of small images, or those of ImageNet's."),
        ("residual", &[Resnet], bool::words, Range::Any, "Shortcuts around the blocks; `false` is the plain twin."),
        ("width", &[Mobilenet], usize::words, UNITS, "Channels of the first convolution."),
        ("stride", &[Mobilenet], usize::words, Range::Counts(MOST_STRIDE), "Stride of the first convolution."),
        (
            "expansions",
            &[Mobilenet],
            Vec::<usize>::words,
            Range::Counts(MOST_EXPANSION),
            "Channels within the blocks of each stage, for each that they take.",
        ),
        ("channels", &[Mobilenet], Vec::<usize>::words, UNITS, "Channels of each stage."),
        ("blocks", &[Mobilenet], Vec::<usize>::words, LAYERS, "Blocks of each stage."),
        (
            "strides",
            &[Mobilenet],
            Vec::<usize>::words,
            Range::Counts(MOST_STRIDE),
            "Stride of the first block of each stage.",
        ),
        ("features", &[Mobilenet], usize::words, UNITS, "Channels of the last convolution."),
        ("dropout", &[Mobilenet], f32::words, SHARE, "Share of the features that is dropped while training."),
        ("cell", &[Rnn], RnnCell::words, Range::Any, "Cell: the computation of a step."),
        ("layers", &[Rnn, Transformer], usize::words, LAYERS, "Layers."),
        ("patch", &[Vit], usize::words, UNITS, "Side of a patch in pixels; it divides the image's height and width."),
        ("width", &[Vit, Transformer], usize::words, UNITS, "Features of a token."),
        ("depth", &[Vit], usize::words, LAYERS, "Blocks."),
        ("heads", &[Vit, Transformer], usize::words, UNITS, "Heads of each attention; they divide `width`."),
        ("hidden", &[Vit, Transformer], usize::words, UNITS, "Units between the two linear layers of a block."),
        ("width", &[Rnn], usize::words, UNITS, "Features of a token."),
        ("hidden", &[Rnn], usize::words, UNITS, "Units of each layer."),
        (
            "stack",
            &[Rnn],
            Stack::words,
            Range::Any,
            "Stacking: with `paper` each layer begins with the last state of the layer below, so it is not causal.",
        ),
        (
            "init",
            &[Rnn],
            || weights_words(WeightsOf::Recurrence(RnnCell::Tanh.into())),
            Range::Any,
            "Initial recurrent weights, a matrix for each gate; `lsuv` has other weights for the layers' input and the head too.",
        ),
        ("batch_norm", &[Fcn, Cnn], bool::words, Range::Any, "Batch norm before each activation."),
        ("dropout", &[Fcn], f32::words, SHARE, "Share of activations that are dropped while training."),
        (
            "dropout",
            &[Vit],
            f32::words,
            SHARE,
            "Share of activations that are dropped while training: after the positions, after attention and in the feed-forward part.",
        ),
        (
            "dropout",
            &[Rnn],
            f32::words,
            SHARE,
            "Share of activations that are dropped while training, after every layer but the last.",
        ),
        (
            "dropout",
            &[Transformer],
            f32::words,
            SHARE,
            "Share that is dropped while training, of attention's probabilities too, as by PyTorch.",
        ),
        (
            "attention_dropout",
            &[Vit],
            f32::words,
            SHARE,
            "Share of attention's probabilities that is dropped while training.",
        ),
        (
            "init",
            &[Fcn, Cnn],
            || weights_words(WeightsOf::Layers),
            Range::Any,
            "Initial weights; `lsuv` scales orthogonal ones by a batch of the data.",
        ),
        (
            "init",
            &[Resnet],
            || weights_words(WeightsOf::Residual),
            Range::Any,
            "Initial weights; `zero_residual` begins the last γ of each residual branch at 0, `fixup` has scalars in place of batch norm.",
        ),
        ("norm", &[Transformer], NormOrder::words, Range::Any, "Position of the normalization in a layer."),
        ("activation", &[Transformer], Activation::words, Range::Any, "Activation between the two linear layers."),
        ("positions", &[Transformer], Positions::words, Range::Any, "Encoding of the positions of tokens."),
        ("causal", &[Transformer], bool::words, Range::Any, "A position sees itself and those before it: a decoder."),
        (
            "cross",
            &[Transformer],
            bool::words,
            Range::Any,
            "A second attention in each layer, to all positions of its input, as the paper's copy-paste guide has it.",
        ),
        ("shared", &[Transformer], bool::words, Range::Any, "The same weights in all layers."),
        (
            "tied",
            &[Transformer],
            bool::words,
            Range::Any,
            "Logits by the weights of the embedding, without a bias, where the output is of the same vocabulary.",
        ),
        (
            "bert",
            &[Transformer],
            bool::words,
            Range::Any,
            "BERT's embedding, with a segment and a norm, and its ε of 1e-12.",
        ),
    ]
};

/// Initial weights that a kind of network can have, in words.
fn weights_words(of: WeightsOf) -> String {
    let fits = |name: &String| {
        let weights = InitialWeights::deserialize(StrDeserializer::<Unknown>::new(name));
        weights.is_ok_and(|weights| weights.problem(of).is_none())
    };
    let names = names::<InitialWeights>().into_iter().filter(fits);
    names.map(|name| format!("\"{name}\"")).collect::<Vec<_>>().join(", ")
}

fn rows(kind: Kind) -> impl Iterator<Item = &'static Row> {
    ROWS.iter().filter(move |(_, kinds, ..)| kinds.contains(&kind))
}

/// Declarations of the keys of a kind.
pub(in crate::config) fn keys(kind: Kind) -> Vec<Key> {
    rows(kind)
        .map(|(name, _, values, range, doc)| Key { name, doc, values: values(), range: range.words(), needs: "" })
        .collect()
}

/// Refuses the network of a section whose keys are out of range or do not go together.
pub(in crate::config) fn check(section: &str, network: &NetworkConfig) -> Result<(), ConfigError> {
    let key = |name: &str| format!("{section}.{name}");
    let values =
        toml::Table::try_from(network).map_err(|error| (section.to_string(), error.to_string(), String::new()))?;
    for &(name, _, _, range, _) in rows(network.kind()) {
        values.get(name).map_or(Ok(()), |value| within(&key(name), value, range))?;
    }
    if let Some([problem, hint]) = network.init_problem() {
        return refuse(key("init"), problem, hint);
    }
    match network {
        NetworkConfig::Cnn(cnn) if cnn.strides.len() != cnn.channels.len() => {
            let problem = format!("has another length than {section}.channels");
            refuse(key("strides"), problem, "give one for each")
        }
        NetworkConfig::Mobilenet(mobilenet) => {
            let stages = mobilenet.channels.len();
            let lists =
                [("expansions", &mobilenet.expansions), ("blocks", &mobilenet.blocks), ("strides", &mobilenet.strides)];
            let wrong: Vec<String> =
                lists.iter().filter(|(_, list)| list.len() != stages).map(|(name, _)| key(name)).collect();
            match wrong.is_empty() {
                true => Ok(()),
                false => {
                    let problem = format!("not of the length of {section}.channels, {stages}");
                    refuse(wrong.join(", "), problem, "give a number for each stage")
                }
            }
        }
        NetworkConfig::Resnet(resnet) => {
            Range::Counts(MOST_STAGES).count(&key("blocks"), resnet.blocks.len())?;
            Range::Counts(MOST_UNITS >> (resnet.blocks.len() + 1)).count(&key("width"), resnet.width)
        }
        NetworkConfig::Vit(vit) => heads(section, vit.width, vit.heads),
        NetworkConfig::Transformer(transformer) => heads(section, transformer.width, transformer.heads),
        NetworkConfig::Rnn(rnn) if rnn.stack == Stack::Paper && rnn.cell != RnnCell::Tanh => {
            refuse(key("stack"), "the paper's is one of tanh cells", "remove the key")
        }
        NetworkConfig::Fcn(_) | NetworkConfig::Cnn(_) | NetworkConfig::Rnn(_) => Ok(()),
    }
}

/// Refuses a number out of range, or a list of them that is empty or too long.
fn within(key: &str, value: &toml::Value, range: Range) -> Result<(), ConfigError> {
    match value {
        toml::Value::Integer(whole) => range.count(key, usize::try_from(*whole).unwrap_or(usize::MAX)),
        toml::Value::Float(real) => range.real(key, *real as f32),
        toml::Value::Array(values) => {
            LAYERS.count(key, values.len())?;
            values.iter().try_for_each(|value| within(key, value, range))
        }
        _ => Ok(()),
    }
}

/// Heads of the attentions.
fn heads(section: &str, width: usize, heads: usize) -> Result<(), ConfigError> {
    let key = format!("{section}.heads");
    Range::Counts(width).count(&key, heads)?;
    if !width.is_multiple_of(heads) || width / heads > ops::MAX_HEAD {
        let problem = format!("{width} features do not make {heads} heads of up to {}", ops::MAX_HEAD);
        return refuse(key, problem, "choose a divisor of the width");
    }
    Ok(())
}
