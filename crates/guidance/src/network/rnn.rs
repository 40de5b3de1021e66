//! Recurrent networks over tokens.

use serde::{Deserialize, Serialize};
use trellis_data::Place;
use trellis_tensor::{Cell, Init, KeyMask, RecurrentLayer, Var};

use super::{Architecture, InitialWeights, Input, LabelPer, Output, Pass};
use crate::error::{Error, Result};

/// Cell of a recurrent network: the computation of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RnnCell {
    /// The vanilla cell, `torch.nn.RNN`.
    Tanh,
    /// `torch.nn.LSTM`.
    Lstm,
    /// `torch.nn.GRU`.
    Gru,
}

impl From<RnnCell> for Cell {
    fn from(cell: RnnCell) -> Self {
        match cell {
            RnnCell::Tanh => Self::Tanh,
            RnnCell::Lstm => Self::Lstm,
            RnnCell::Gru => Self::Gru,
        }
    }
}

/// Stacking of the layers of a recurrent network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stack {
    /// Every layer begins with zeros. An output depends on no later token.
    Causal,
    /// The paper's code: a layer begins with the *last* state of the layer below, so that every output of the second
    /// layer and those above has seen the whole sequence. Predictions of a text by such a network have leaked. Where an
    /// example has one label, a ReLU stands before the logits.
    Paper,
}

/// A recurrent network over tokens: an embedding, layers, and logits of each state. Where an example has one label, the
/// logits are of the state after its last token that is no padding.
///
/// Parameters have PyTorch's names and shapes: `embedding.weight`, `rnn.weight_ih_l0`, `rnn.weight_hh_l0`, `rnn.bias_ih_l0`,
/// `rnn.bias_hh_l0` and so on, `logits.weight`, `logits.bias`. Layers to align are `rnn.l0`, `rnn.l1`, …, their states
/// `[batch, time, hidden]`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Rnn {
    /// Cell: the computation of a step.
    pub cell: RnnCell,
    /// Layers.
    pub layers: usize,
    /// Features of a token.
    pub width: usize,
    /// Units of each layer.
    pub hidden: usize,
    /// Stacking of the layers.
    pub stack: Stack,
    /// Share of activations that are dropped while training, after every layer but the last.
    pub dropout: f32,
    /// Initial recurrent weights, a matrix for each gate; LSUV has others for the layers' input and the head too.
    pub init: InitialWeights,
}

impl Rnn {
    /// Causal, as many features as units, without dropout.
    pub fn new(cell: RnnCell, layers: usize, hidden: usize) -> Self {
        Self { cell, layers, width: hidden, hidden, stack: Stack::Causal, dropout: 0.0, init: InitialWeights::Default }
    }

    /// The paper's copy-paste and language-model target: four vanilla layers of 512 units, embeddings of 256.
    pub fn paper() -> Self {
        Self { width: 256, stack: Stack::Paper, ..Self::new(RnnCell::Tanh, 4, 512) }
    }
}

impl Default for Rnn {
    fn default() -> Self {
        Self::new(RnnCell::Tanh, 2, 64)
    }
}

impl Architecture for Rnn {
    fn describe(&self) -> String {
        let kind = match self.cell {
            RnnCell::Tanh => "rnn",
            RnnCell::Lstm => "lstm",
            RnnCell::Gru => "gru",
        };
        let stack = if self.stack == Stack::Paper { " paper's stack" } else { "" };
        let init = match self.init {
            InitialWeights::Default => String::new(),
            other => format!(" {other}"),
        };
        format!("{kind} {}x{} embedding {}{stack}{init}", self.layers, self.hidden, self.width)
    }

    fn forward<'g>(&self, pass: &mut Pass<'_, 'g>, input: Input<'g>, output: Output) -> Result<Var<'g>> {
        let (ids, tokens) = input.tokens()?;
        let (batch, time, hidden) = (input.batch(), tokens.time, self.hidden);
        if self.stack == Stack::Paper && self.cell != RnnCell::Tanh {
            return Err(Error::config(
                Place::setting("network"),
                "stack",
                "the paper's is one of tanh cells",
                "remove the key",
            ));
        }
        let cell = Cell::from(self.cell);
        let columns = cell.gates() * hidden;
        let steps = tokens.padding.map(|padding| KeyMask::Ids { ids, padding });
        let init = Init::Uniform(1.0 / (hidden as f32).sqrt());
        let recurrent_init = self.init.of_recurrence(cell, hidden, init)?;
        let bias_init = if self.init == InitialWeights::Identity { Init::Constant(0.0) } else { init };
        // Scaled once their outputs are known.
        let [input_init, head_init] = match self.init {
            InitialWeights::Lsuv => [Init::Orthogonal(1.0); 2],
            _ => [init, Init::Default],
        };
        let zeros = ids.graph().constant(0.0, [batch, hidden]);
        let table = pass.param("embedding.weight".to_string(), [tokens.vocabulary, self.width], Init::Normal(1.0));
        let mut x = table.gather(ids)?.reshape([batch * time, self.width])?;
        let mut h0 = zeros;
        let mut last = zeros;
        for layer in 0..self.layers {
            pass.block();
            let name = format!("rnn.l{layer}");
            let _scope = ids.graph().scope(&name);
            let inputs = x.shape().last_axis();
            let w = pass.param(format!("rnn.weight_ih_l{layer}"), [columns, inputs], input_init);
            let recurrent = pass.param(format!("rnn.weight_hh_l{layer}"), [columns, hidden], recurrent_init);
            let bias = pass.param(format!("rnn.bias_ih_l{layer}"), [columns], bias_init);
            let recurrent_bias = pass.param(format!("rnn.bias_hh_l{layer}"), [columns], bias_init);
            let z = pass.product(x, w)?.add(bias)?;
            pass.weighted(&name, vec![format!("rnn.weight_ih_l{layer}")], z);
            let z = z.reshape([batch, time, columns])?;
            let c0 = (cell == Cell::Lstm).then_some(zeros);
            let y = z.recurrent(RecurrentLayer { cell, w: recurrent, bias: recurrent_bias, h0, c0 }, steps)?;
            pass.capture(&name, y);
            last = y.slice(1, time - 1, 1)?.reshape([batch, hidden])?;
            if self.stack == Stack::Paper {
                h0 = last;
            }
            x = y.reshape([batch * time, hidden])?;
            if layer + 1 < self.layers {
                x = pass.dropout(x, self.dropout)?;
            }
        }
        pass.head("logits");
        match output.label_per {
            LabelPer::Position => {
                let logits = pass.linear("logits", x, output.classes, true, head_init)?;
                Ok(logits.reshape([batch, time, output.classes])?)
            }
            LabelPer::Example => {
                let last = if self.stack == Stack::Paper { last.relu()? } else { last };
                pass.linear("logits", last, output.classes, true, head_init)
            }
        }
    }

    fn initial_weights(&self) -> InitialWeights {
        self.init
    }
}
