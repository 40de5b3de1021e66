//! `predict.py`: a program that predicts with a run's networks in PyTorch, and its section of the page.
//!
//! Each kind of network is written out in a file of `take_home/`, with what is particular to a run as constants before it.

use std::path::Path;

use serde::Serialize;
use serde_json::ser::Formatter;

use super::escape::escape;
use crate::checkpoints::{best_file_name, file_name};
use crate::config::NetworkConfig;
use crate::recipe::{Preparation, Recipe, RecipeInput};
use crate::record::Experiment;
use trellis_data::Normalization;
use trellis_data::text::TokenKind;
use trellis_guidance::network::{Activation, InitialWeights, LabelPer, NormOrder, Positions, RnnCell, Stack, Stem};

/// The program for the networks of the run folder `folder`. By default it takes the weights that are best by
/// validation, of all arms and seeds, or, without a validation split, those of the first run. `None` where no run that
/// came to its end has a checkpoint with a recipe.
pub fn predict_py(folder: &Path, experiment: &Experiment) -> Option<String> {
    let mut chosen: Option<(String, Recipe)> = None;
    for run in experiment.runs.iter().filter(|run| run.is_finished()) {
        let best = Some(best_file_name(&run.arm, run.seed)).filter(|name| folder.join(name).is_file());
        let name = best.unwrap_or_else(|| file_name(&run.arm, run.seed));
        let path = folder.join(&name);
        // A run that an earlier version finished has no recipe.
        let Ok(recipe) = Recipe::read(&path) else { continue };
        let score = |recipe: &Recipe| recipe.run.validation;
        let better = match &chosen {
            None => true,
            Some((_, other)) => match (score(&recipe), score(other)) {
                (Some(ours), Some(theirs)) => ours.is_better_than(theirs),
                _ => false,
            },
        };
        if better {
            chosen = Some((name, recipe));
        }
    }
    chosen.map(|(name, recipe)| program(&name, &recipe))
}

/// The section of the page; empty without a program.
pub(super) fn section(experiment: &Experiment) -> String {
    let Some(program) = &experiment.predict_py else { return String::new() };
    format!(
        "<section>\n<h2>Take it home</h2>\n<p>The files <code>*.safetensors</code> beside this page hold the networks, and each \
         its own recipe: layers, classes, and how its input is prepared. <code>trellis predict</code> and <code>trellis \
         eval</code> need nothing else. In PyTorch, this program does the same; it lies beside this page as \
         <code>predict.py</code>.</p>\n<pre>{}</pre>\n<p class=\"quiet\">Pillow resizes \
         with pixels that differ by a level of 255 here and there, and probabilities by a little; files that need no resizing give the \
         same.</p>\n</section>\n",
        escape(program)
    )
}

/// Names of so few classes are written out.
const WRITTEN_OUT: usize = 100;

/// The program, with the weights in the file `checkpoint` beside it.
fn program(checkpoint: &str, recipe: &Recipe) -> String {
    let mut lines = Constants::default();
    let (given, more, input) = match &recipe.input {
        RecipeInput::Images { shape, normalization, preparation, .. } => {
            lines.image(*shape, *normalization, preparation.as_ref());
            lines.classes(recipe);
            ("IMAGE", " pillow numpy", include_str!("take_home/images.py").to_string())
        }
        RecipeInput::Tokens { time, vocabulary, padding, tokens } => {
            lines.set("TIME", time).set("VOCABULARY", vocabulary).set("PADDING", padding);
            lines.set("EACH_POSITION", recipe.output.label_per == LabelPer::Position);
            lines.set("CAUSAL_NETWORK", recipe.network.is_causal());
            let (given, encode) = match tokens {
                None => ("\"TOKEN TOKEN …\"", include_str!("take_home/ids.py")),
                Some(TokenKind::Bytes) => ("TEXT", include_str!("take_home/bytes.py")),
                Some(TokenKind::Characters { characters }) => {
                    lines.set("CHARACTERS", characters);
                    ("TEXT", include_str!("take_home/characters.py"))
                }
                Some(TokenKind::Tokenizer { path, .. }) => {
                    lines.set("TOKENIZER", path);
                    ("TEXT", include_str!("take_home/tokenizer.py"))
                }
            };
            lines.set("GIVEN", given);
            (given, "", format!("{encode}{}", include_str!("take_home/tokens.py")))
        }
    };
    let network = lines.network(recipe);
    let pieces = matches!(recipe.input, RecipeInput::Tokens { tokens: Some(TokenKind::Tokenizer { .. }), .. });
    let images = matches!(recipe.input, RecipeInput::Images { .. });
    let read_names = recipe.class_names.len() > WRITTEN_OUT;
    let mut imports = vec!["import torch"];
    if images {
        imports.splice(0..0, ["import numpy as np"]);
        imports.push("from PIL import Image");
    }
    imports.push("from safetensors.torch import load_file");
    if pieces {
        imports.push("from tokenizers import Tokenizer");
    }
    imports.extend(["from torch import nn", "from torch.nn import functional"]);
    if images || read_names {
        imports.push("from safetensors import safe_open");
    }
    let more = if pieces { " tokenizers" } else { more };
    let json = if images || read_names { "import json\n" } else { "" };
    let names = match read_names {
        true => {
            "with safe_open(CHECKPOINT, \"pt\") as file:\n    CLASSES = json.loads(file.metadata()[\"recipe\"])[\"class_names\"]\n"
        }
        false => "",
    };
    format!(
        "\"\"\"Predicts with the networks of the run {experiment} of Trellis {version}, in PyTorch.\n\n    \
         pip install torch safetensors{more}\n    python3 predict.py {given} [CHECKPOINT]\n\nCHECKPOINT is a \
         .safetensors file of the run, {checkpoint} beside this program without it.\n\"\"\"\n\n\
         {json}import sys\nfrom pathlib import Path\n\n{imports}\n\n\
         CHECKPOINT = Path(__file__).with_name({file})\n{constants}{names}\n\n{network}\n\n{input}",
        experiment = recipe.run.experiment,
        version = env!("CARGO_PKG_VERSION"),
        imports = imports.join("\n"),
        file = python(checkpoint),
        constants = lines.0,
    )
}

/// Lines `NAME = value`.
#[derive(Default)]
struct Constants(String);

impl Constants {
    fn set(&mut self, name: &str, value: impl Serialize) -> &mut Self {
        self.line(name, &python(value))
    }

    fn line(&mut self, name: &str, value: &str) -> &mut Self {
        self.0.push_str(&format!("{name} = {value}\n"));
        self
    }

    fn image(
        &mut self,
        [channels, height, width]: [usize; 3],
        units: Normalization,
        preparation: Option<&Preparation>,
    ) {
        let resize = preparation.map_or(height.min(width), |preparation| preparation.resize);
        self.set("CHANNELS", channels);
        self.line("SIZE", &format!("{height}, {width}  # of what the network sees"));
        self.line("RESIZE", &format!("{resize}  # of the center square of a file"));
        self.line("MEAN", &format!("{}  # of brightness from 0 to 1, over all channels", python(units.mean)));
        self.set("DEVIATION", units.deviation);
    }

    fn classes(&mut self, recipe: &Recipe) {
        if recipe.class_names.len() <= WRITTEN_OUT {
            self.set("CLASSES", &recipe.class_names);
        }
    }

    /// Sets the constants that the network's code needs, and gives the code.
    fn network(&mut self, recipe: &Recipe) -> &'static str {
        let classes = recipe.output.classes;
        self.set("OUTPUTS", classes);
        match &recipe.network {
            NetworkConfig::Fcn(fcn) => {
                let first = fcn.first_width.unwrap_or(fcn.width);
                let units: Vec<usize> =
                    (0..fcn.depth).map(|layer| if layer == 0 { first } else { fcn.width }).collect();
                self.set("UNITS", units).set("BATCH_NORM", fcn.batch_norm);
                include_str!("take_home/fcn.py")
            }
            NetworkConfig::Cnn(cnn) => {
                self.set("LAYERS", &cnn.channels).set("STRIDES", &cnn.strides).set("BATCH_NORM", cnn.batch_norm);
                include_str!("take_home/cnn.py")
            }
            NetworkConfig::Resnet(resnet) => {
                self.set("BLOCKS", &resnet.blocks).set("WIDTH", resnet.width).set("BOTTLENECK", resnet.bottleneck);
                self.set("LARGE_STEM", resnet.stem == Stem::Large);
                if resnet.init == InitialWeights::Fixup {
                    return include_str!("take_home/fixup.py");
                }
                self.set("RESIDUAL", resnet.residual);
                include_str!("take_home/resnet.py")
            }
            NetworkConfig::Mobilenet(m) => {
                self.set("WIDTH", m.width).set("STRIDE", m.stride).set("EXPANSIONS", &m.expansions);
                self.set("STAGES", &m.channels).set("BLOCKS", &m.blocks).set("STRIDES", &m.strides);
                self.set("FEATURES", m.features).set("DROPOUT", m.dropout);
                include_str!("take_home/mobilenet.py")
            }
            NetworkConfig::Vit(vit) => {
                self.set("PATCH", vit.patch).set("WIDTH", vit.width).set("DEPTH", vit.depth);
                self.set("HEADS", vit.heads).set("HIDDEN", vit.hidden);
                include_str!("take_home/vit.py")
            }
            NetworkConfig::Rnn(rnn) => {
                let cell = match rnn.cell {
                    RnnCell::Tanh => "tanh",
                    RnnCell::Lstm => "lstm",
                    RnnCell::Gru => "gru",
                };
                self.set("CELL", cell).set("LAYERS", rnn.layers).set("WIDTH", rnn.width).set("HIDDEN", rnn.hidden);
                self.set("PAPER_STACK", rnn.stack == Stack::Paper);
                include_str!("take_home/rnn.py")
            }
            NetworkConfig::Transformer(transformer) => {
                let t = transformer;
                let norm = match t.norm {
                    NormOrder::Pre => "pre",
                    NormOrder::Post => "post",
                    NormOrder::Inside => "inside",
                };
                let activation = match t.activation {
                    Activation::Relu => "functional.relu",
                    Activation::Gelu => "functional.gelu",
                    Activation::GeluTanh => "nn.GELU(\"tanh\")",
                };
                let RecipeInput::Tokens { vocabulary, .. } = recipe.input else { return "" };
                self.set("LAYERS", t.layers).set("WIDTH", t.width).set("HEADS", t.heads).set("HIDDEN", t.hidden);
                self.set("NORM", norm).line("ACTIVATION", activation);
                self.set("LEARNED_POSITIONS", t.positions == Positions::Learned).set("CAUSAL", t.causal);
                self.set("CROSS", t.cross).set("SHARED", t.shared).set("TIED", t.tied && vocabulary == classes);
                self.set("BERT", t.bert);
                include_str!("take_home/transformer.py")
            }
        }
    }
}

/// A value as Python writes it: JSON but for three words, with a space after each comma.
fn python(value: impl Serialize) -> String {
    let mut text = Vec::new();
    let written = value.serialize(&mut serde_json::Serializer::with_formatter(&mut text, Spaced));
    match (written, std::str::from_utf8(&text)) {
        (Ok(()), Ok("true")) => "True".to_string(),
        (Ok(()), Ok("false")) => "False".to_string(),
        (Ok(()), Ok(text)) if text != "null" => text.to_string(),
        _ => "None".to_string(),
    }
}

struct Spaced;

impl Formatter for Spaced {
    fn begin_array_value<W: ?Sized + std::io::Write>(&mut self, writer: &mut W, first: bool) -> std::io::Result<()> {
        if first { Ok(()) } else { writer.write_all(b", ") }
    }
}
