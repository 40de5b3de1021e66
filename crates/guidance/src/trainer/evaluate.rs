//! Evaluations: loss and top-1 over a split, whole sequences that are right, CKA of the layer pairs on held-out examples.

use trellis_data::Place;
use trellis_tensor::{Graph, Log, Plan, StepState, Tensor, TensorType};

use super::control::{Control, guide_sides};
use super::guidance::Guidance;
use super::run::{Event, Trainer};
use crate::data::BatchSource;
use crate::data::Split;
use crate::data::dataset::{Dataset, MOST_CONFUSED};
use crate::error::{Error, Result};
use crate::guide::COMPARED;
use crate::network::{CapturePoint, InputShape, LabelPer, Mode, Network, Output};
use crate::trainer::records::EvalRecord;

/// Largest number of examples of one evaluation step; fewer of sequences, with 16 times as many positions.
const BATCH: usize = 500;

/// Numbers that the examples of an evaluation step are made of, or their logits, unless a training step has more examples.
const NUMBERS: usize = 1 << 20;

/// Number of examples of an evaluation step, up to `most`, so that it needs not much more memory than a training step.
fn examples_of_step(most: usize, data: &Dataset, batch: usize) -> usize {
    let Output { classes, label_per } = data.output();
    let (numbers, logits) = match (data.input(), label_per) {
        (InputShape::Image(image), _) => (image.iter().product(), classes),
        (InputShape::Tokens(tokens), LabelPer::Example) => (tokens.time, classes),
        (InputShape::Tokens(tokens), LabelPer::Position) => (tokens.time, tokens.time * classes),
    };
    most.min(batch.max(NUMBERS / numbers.max(logits).max(1))).max(1)
}

/// Evaluations of a target on all splits, with alignment to its guide.
pub struct Evaluation<'a> {
    evaluators: Vec<Evaluator<'a>>,
    /// The step of the last evaluation.
    last: u32,
    probe: Option<AlignmentEval<'a>>,
    pairs: Vec<[String; 2]>,
    warned: Vec<[String; 2]>,
}

impl<'a> Evaluation<'a> {
    /// Its plans share their memory with `steps`, the plan of the training steps, and with each other.
    pub(super) fn new(trainer: &Trainer<'a>, steps: Option<&Plan>) -> Result<Self> {
        let last = trainer.training.steps;
        let mut evaluators: Vec<Evaluator<'a>> = Vec::new();
        for (name, split) in trainer.data.splits() {
            let beside = evaluators.last().map(|evaluator| &evaluator.plan).or(steps);
            let split = split.first(if name == "train" { TRAINING } else { usize::MAX });
            let what = (trainer.target, trainer.data, name, &split);
            evaluators.push(Evaluator::new(what, trainer.training.batch, MOST_CONFUSED, beside)?);
        }
        let beside = evaluators.last().map(|evaluator| &evaluator.plan).or(steps);
        let probe =
            (!trainer.probes.is_empty()).then(|| AlignmentEval::new(trainer, &trainer.probes, beside)).transpose()?;
        Ok(Self { evaluators, last, probe, pairs: trainer.pairs()?, warned: Vec::new() })
    }

    /// Bytes of its plans beyond those that training steps have too.
    pub fn memory(&self) -> u64 {
        let probe = self.probe.iter().map(|probe| &probe.plan);
        self.evaluators.iter().map(|evaluator| &evaluator.plan).chain(probe).map(Plan::memory).sum()
    }

    /// Evaluates the target as it is after `step` steps of training.
    pub(super) fn run(
        &mut self,
        step: u32,
        observe: &mut dyn FnMut(Event<'_>) -> Result<()>,
    ) -> Result<Vec<EvalRecord>> {
        let similarity = self.probe.as_mut().map(AlignmentEval::measure).transpose()?.unwrap_or_default();
        // Nothing else gives exactly 0.
        for (pair, _) in self.pairs.iter().zip(&similarity).filter(|(_, similarity)| **similarity == 0.0) {
            if !self.warned.contains(pair) {
                let [guide, target] = pair;
                observe(Event::Warning(&format!(
                    "step {step}: {guide} or {target} gives the same for every example; their similarity is 0 and pulls nothing",
                )))?;
                self.warned.push(pair.clone());
            }
        }
        let (mut evals, splits) = (Vec::new(), self.evaluators.len());
        for (number, evaluator) in (1..).zip(&mut self.evaluators) {
            let mut eval = evaluator.evaluate(step)?;
            if step == self.last && number == splits {
                eval.confusion = evaluator.confusion()?;
            }
            if eval.split == AlignmentEval::SPLIT {
                eval.similarity.clone_from(&similarity);
            }
            observe(Event::Eval(&eval))?;
            evals.push(eval);
        }
        Ok(evals)
    }
}

/// Largest number of classes for which [`evaluate`] counts the confusion matrix: a table of 16 MiB.
const MOST_COUNTED: usize = 2048;

/// Evaluates `network` on `split` of `data`, called `name`. `batch` is the number of examples of a training step. With
/// that of a run, the sums have the same order and the result has the same bits as the run's own evaluations. The
/// confusion matrix is there up to 2,048 classes.
///
/// # Errors
/// [`Error::Data`] if no example has a label; when the network does not take such data, or memory does not allow it.
pub fn evaluate(
    network: &Network,
    data: &Dataset,
    name: &'static str,
    split: &Split,
    batch: usize,
) -> Result<EvalRecord> {
    let mut evaluator = Evaluator::new((network, data, name, split), batch, MOST_COUNTED, None)?;
    let eval = evaluator.evaluate(0)?;
    Ok(EvalRecord { confusion: evaluator.confusion()?, ..eval })
}

/// Largest number of training examples that an evaluation looks at: enough for what is plotted, and no second epoch.
pub const TRAINING: usize = 10_000;

/// Mean loss and top-1 of a network over the labels of one split, its share of sequences without a mistake, and its
/// confusion matrix.
struct Evaluator<'a> {
    plan: Plan,
    step_state: StepState,
    log: Log,
    batches: BatchSource<'a>,
    /// Counts by label and class, `[classes, classes]`.
    confusion: Option<Tensor>,
    split: &'static str,
    label_per: LabelPer,
    top5: bool,
    count: usize,
    steps: usize,
}

impl<'a> Evaluator<'a> {
    /// Classes are counted one by one if there are at most `most_confused`.
    fn new(
        (network, data, name, split): (&Network, &'a Dataset, &'static str, &Split),
        batch: usize,
        most_confused: usize,
        beside: Option<&Plan>,
    ) -> Result<Self> {
        let (step_state, log) = (StepState::new(data.gpu())?, Log::new(data.gpu(), 5)?);
        let positions = if let InputShape::Tokens(tokens) = data.input() { tokens.time } else { 1 };
        let batch = examples_of_step(BATCH * 16 / positions.max(16), data, batch).min(split.count());
        let graph = Graph::new();
        let batches = BatchSource::sequential(data, split, batch)?;
        let examples = batches.batch(&graph, &step_state)?;
        let logits = network.forward(&graph, examples.input, Mode::Eval, CapturePoint::default())?.logits;
        let (logits, labels) = examples.rows(logits)?;
        let loss = logits.cross_entropy_rows(labels, 0.0)?.sum_all()?;
        let Output { classes, label_per } = network.output();
        let top5 = label_per == LabelPer::Example && classes > 10;
        // An example with one label is a sequence of one.
        let sequences = [batch, labels.ty().elements() / batch];
        let hits = logits.top1(labels)?.reshape(sequences)?;
        let score = hits.sequence_score(labels.reshape(sequences)?, classes)?.sum(&[0], false)?;
        let five = match top5 {
            true => logits.top_k(labels, 5)?.sum_all()?,
            false => graph.constant(0.0, []),
        };
        let table = || Tensor::zeros(data.gpu(), "confusion matrix", TensorType::u32([classes, classes]));
        let confusion = (classes <= most_confused).then(table).transpose()?;
        if let Some(table) = &confusion {
            logits.count_confusion(labels, graph.leaf(table))?;
        }
        log.record(&graph, &step_state, &[loss, score.reshape([3, 1])?, five])?;
        step_state.advance(&graph)?;
        let plan = Plan::beside(beside, data.gpu(), &graph, &[])?;
        let (count, steps) = (split.count(), split.count().div_ceil(batch));
        Ok(Self { plan, step_state, log, batches, confusion, split: name, label_per, top5, count, steps })
    }

    /// Evaluates the network as it is after `step` steps of training.
    fn evaluate(&mut self, step: u32) -> Result<EvalRecord> {
        self.step_state.set(0)?;
        if let Some(table) = &self.confusion {
            table.write_u32(&vec![0; table.ty().elements()])?;
        }
        // Loss, right labels, labels, right sequences, labels among the first five.
        let mut sums = [0.0_f64; 5];
        for first in (0..self.steps).step_by(self.batches.depth()) {
            let steps = (self.steps - first).min(self.batches.depth());
            self.batches.prepare(first as u32, steps)?;
            self.plan.run(steps)?;
            self.log.request(first as u32, steps);
            for row in self.log.collect(true)? {
                sums.iter_mut().zip(row.values).for_each(|(sum, value)| *sum += f64::from(value));
            }
        }
        let [loss, right, labels, sequences, five] = sums;
        if labels == 0.0 {
            let problem = format!("no example of its {} split has a label", self.split);
            return Err(Error::data(Place::dataset(self.batches.data().name()), problem, "look at what was left out"));
        }
        Ok(EvalRecord {
            step: u64::from(step),
            split: self.split.to_string(),
            loss: (loss / labels) as f32,
            top1: (right / labels) as f32,
            top5: self.top5.then_some((five / labels) as f32),
            sequences: (self.label_per == LabelPer::Position).then_some((sequences / self.count as f64) as f32),
            similarity: Vec::new(),
            confusion: Vec::new(),
        })
    }

    /// The confusion matrix of the last evaluation; empty where there are too many classes.
    fn confusion(&self) -> Result<Vec<Vec<u32>>> {
        let Some(table) = &self.confusion else { return Ok(Vec::new()) };
        Ok(table.read_u32()?.chunks(table.shape()[0]).map(<[u32]>::to_vec).collect())
    }
}

/// Alignment evaluation: similarity of a target's layers to those of its guides, on the first images of the test split (of the
/// training split if there is none), both networks in evaluation mode.
struct AlignmentEval<'a> {
    plan: Plan,
    step_state: StepState,
    log: Log,
    batches: BatchSource<'a>,
}

impl<'a> AlignmentEval<'a> {
    /// The evaluations that carry its numbers.
    const SPLIT: &'static str = "test";

    fn new(trainer: &Trainer<'a>, guides: &[Guidance], beside: Option<&Plan>) -> Result<Self> {
        let Trainer { target, data, training, .. } = *trainer;
        let split = data.splits().last().expect("a data set has a training split").1;
        let graph = Graph::new();
        let step_state = StepState::new(data.gpu())?;
        let most = examples_of_step(COMPARED, data, training.batch).min(split.count());
        let split = data.first_readable(split, most)?;
        let batches = BatchSource::sequential(data, &split, split.count())?;
        let examples = batches.batch(&graph, &step_state)?;
        // Guides of one target share their point of capture.
        let capture = guides.first().map_or(CapturePoint::default(), |guidance| guidance.capture);
        let ours = target.forward(&graph, examples.input, Mode::Eval, capture)?.activations;
        let (mut stats, mut columns) = (Vec::new(), 0);
        for guidance in guides {
            // A guide that saw something else in training is compared as it is.
            let control = match guidance.control {
                Control::Input | Control::Labels => guidance.control,
                Control::None | Control::Permuted | Control::Noise | Control::Rotated => Control::None,
            };
            let compared = guidance.clone().control(control).layer_weights([]);
            let indices = guidance.pairs(target)?;
            let sides = guide_sides(&graph, data.gpu(), &examples, data.output(), &compared, &indices, None)?;
            let pairs = compared.pair_up(&ours, &indices, sides)?;
            let weight = trellis_tensor::Schedule::Constant(1.0);
            columns += pairs.len();
            stats.extend(guidance.align.loss(&graph, &step_state, weight, &pairs)?.stats);
        }
        let log = Log::new(data.gpu(), columns)?;
        log.record(&graph, &step_state, &stats)?;
        step_state.advance(&graph)?;
        Ok(Self { plan: Plan::beside(beside, data.gpu(), &graph, &[])?, step_state, log, batches })
    }

    fn measure(&mut self) -> Result<Vec<f32>> {
        self.step_state.set(0)?;
        self.batches.prepare(0, 1)?;
        self.plan.run(1)?;
        self.log.request(0, 1);
        Ok(self.log.collect(true)?.into_iter().flat_map(|row| row.values).collect())
    }
}
