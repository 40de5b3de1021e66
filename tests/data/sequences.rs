//! Tasks on tokens: what is drawn, how it is scored, and that a network without memory ends at the trivial solution.

use std::collections::BTreeSet;

use trellis_data::text::{Text, Tokenizer};
use trellis_guidance::data::DrawnSequences;
use trellis_guidance::network::{Architecture, Input, Output, Pass};
use trellis_guidance::{BatchSource, Dataset, Network, Result, Trainer, Training};
use trellis_tensor::ops::IGNORE;
use trellis_tensor::{Graph, Init, OptimizerConfig, Plan, Schedule, StepState, Var};

use crate::gpu;

/// Each position by itself: an embedding and a linear layer.
#[derive(Debug)]
struct PerPosition;

impl Architecture for PerPosition {
    fn describe(&self) -> String {
        "per position".to_string()
    }

    fn forward<'g>(&self, pass: &mut Pass<'_, 'g>, input: Input<'g>, output: Output) -> Result<Var<'g>> {
        let (ids, shape) = input.tokens()?;
        let rows = ids.ty().elements();
        let table = pass.param("embedding".to_string(), [shape.vocabulary, 16], Init::Uniform(1.0));
        let x = table.gather(ids)?.reshape([rows, 16])?;
        pass.capture("embedding", x.reshape([rows / shape.time, shape.time * 16])?);
        let logits = pass.linear("logits", x, output.classes, true, Init::Default)?;
        Ok(logits.reshape([rows / shape.time, shape.time, output.classes])?)
    }
}

/// Tokens and labels, a row for each example, of the training batch at a step or of the first examples of a split.
fn examples(data: &Dataset, split: Option<&str>, batch: usize, step: u32, seed: u64) -> Vec<(Vec<u32>, Vec<u32>)> {
    let (graph, step_state) = (Graph::new(), StepState::new(&gpu()).expect("fits"));
    step_state.set(step).expect("a device");
    let batches = match split {
        None => BatchSource::shuffled(data, batch, seed),
        Some(name) => {
            let split = data.splits().find(|(split, _)| *split == name).expect("there").1;
            BatchSource::sequential(data, split, batch)
        }
    };
    let drawn = batches.and_then(|batches| batches.batch(&graph, &step_state)).expect("fits");
    let (tokens, _) = drawn.input.tokens().expect("tokens");
    let plan = Plan::new(&gpu(), &graph, &[tokens, drawn.labels]).expect("fits");
    plan.run(1).expect("a device");
    let [tokens, labels] = [tokens, drawn.labels].map(|var| plan.read_u32(var).expect("kept"));
    let rows = |values: Vec<u32>| -> Vec<Vec<u32>> {
        let width = values.len() / batch;
        values.chunks(width).map(<[u32]>::to_vec).collect()
    };
    rows(tokens).into_iter().zip(rows(labels)).collect()
}

#[test]
fn copy_paste_asks_for_its_digits_again() {
    let task = DrawnSequences::copy_paste(10, [20, 40], 3).expect("legal");
    let data = Dataset::drawn(&gpu(), task, [64, 64, 64]).expect("fits");
    let mut lengths = BTreeSet::new();
    let mut counts = [0_usize; 10];
    for (tokens, labels) in examples(&data, None, 1000, 7, 5) {
        let length = tokens.iter().position(|&token| token == 11).expect("a mark");
        lengths.insert(length);
        let digits = &tokens[..length];
        let mut expected = digits.to_vec();
        expected.push(11);
        expected.resize(2 * length + 1, 0);
        expected.push(12);
        expected.resize(82, 0);
        assert_eq!(tokens, expected);
        let mut asked = vec![IGNORE; length + 1];
        asked.extend(digits.iter().map(|&digit| if digit == 0 { IGNORE } else { digit }));
        asked.push(12);
        asked.resize(82, IGNORE);
        assert_eq!(labels, asked);
        digits.iter().for_each(|&digit| counts[digit as usize] += 1);
    }
    assert_eq!(lengths, (20..=40).collect());
    let drawn: usize = counts.iter().sum();
    // Five standard deviations of a binomial count.
    let (expected, spread) = (drawn as f64 / 10.0, 5.0 * (drawn as f64 * 0.09).sqrt());
    assert!(counts.iter().all(|&count| (count as f64 - expected).abs() < spread), "{counts:?}");
}

#[test]
fn parity_counts_the_ones() {
    let task = DrawnSequences::parity([2, 50], 0).expect("legal");
    let data = Dataset::drawn(&gpu(), task, [64, 64, 64]).expect("fits");
    let (mut odd, batch) = (0, 2000);
    for (tokens, labels) in examples(&data, None, batch, 0, 1) {
        let length = tokens.iter().position(|&token| token == 2).unwrap_or(50);
        assert!(length >= 2 && tokens[length..].iter().all(|&token| token == 2));
        assert_eq!(labels, [tokens[..length].iter().sum::<u32>() % 2]);
        odd += labels[0];
    }
    assert!((f64::from(odd) - 1000.0).abs() < 5.0 * (batch as f64 * 0.25).sqrt(), "{odd}");
}

#[test]
fn splits_steps_and_seeds_draw_other_examples_and_the_same_ones_again() {
    let task = |seed| DrawnSequences::copy_paste(10, [20, 40], seed).expect("legal");
    let data = |seed| Dataset::drawn(&gpu(), task(seed), [30, 30, 30]).expect("fits");
    let one = data(1);
    let mut seen = BTreeSet::new();
    let mut count = 0;
    let batches = [
        examples(&one, None, 30, 0, 1),
        examples(&one, None, 30, 1, 1),
        examples(&one, None, 30, 0, 2),
        examples(&one, Some("train"), 30, 0, 0),
        examples(&one, Some("validation"), 30, 0, 0),
        examples(&one, Some("test"), 30, 0, 0),
        examples(&data(2), Some("test"), 30, 0, 0),
    ];
    for batch in &batches {
        count += batch.len();
        seen.extend(batch.iter().cloned());
    }
    assert_eq!(seen.len(), count);
    assert_eq!(examples(&data(1), None, 30, 1, 1), batches[1]);
    assert_eq!(examples(&data(1), Some("test"), 30, 0, 0), batches[5]);
    // Past the end there is nothing, and nothing is asked.
    let past = examples(&one, Some("test"), 20, 1, 0);
    assert_eq!(past[..10], batches[5][20..]);
    assert!(
        past[10..].iter().all(|(tokens, labels)| tokens.iter().all(|&t| t == 0) && labels.iter().all(|&l| l == IGNORE))
    );
}

#[test]
fn the_floor_is_what_the_definition_says() {
    // All sequences of one length written out: 2 digits of {0, 1, 2}, guessed as 1 throughout.
    let (mut right, mut asked) = (0, 0);
    for digits in 0..9 {
        let scored = [digits / 3, digits % 3].into_iter().filter(|&digit| digit != 0);
        asked += 1 + scored.clone().count();
        right += 1 + scored.filter(|&digit| digit == 1).count();
    }
    let floor = DrawnSequences::copy_paste(3, [2, 2], 0).expect("legal").floor();
    assert!((floor - right as f64 / asked as f64).abs() < 1e-12, "{floor}");
    assert!(DrawnSequences::copy_paste(10, [5, 4], 0).is_err() && DrawnSequences::parity([0, 4], 0).is_err());
}

#[test]
fn without_memory_copy_paste_ends_at_the_trivial_solution() {
    let task = DrawnSequences::copy_paste(10, [4, 8], 1).expect("legal");
    let data = Dataset::drawn(&gpu(), task, [100, 0, 1003]).expect("fits");
    let target = Network::new(PerPosition, &data, 1).expect("fits");
    let rate = OptimizerConfig::adam(Schedule::Constant(0.02));
    let training = Training { optimizer: rate, batch: 64, ..Training::new(150) };
    let run = Trainer::new(&target, &data, training).run().expect("trains");
    let last = run.last_eval("test").expect("a test split");
    assert!((f64::from(last.top1) - task.floor()).abs() < 0.02, "{last:?} for {}", task.floor());
    // Uniform over nine digits, certain of the end mark: 5.4 digits of 6.4 labels.
    let loss = 9_f64.ln() * 5.4 / 6.4;
    assert!((f64::from(last.loss) - loss).abs() < 0.03, "{last:?} for {loss}");
    // A sequence is right if each digit is guessed or a 0: about one in 400 of these lengths.
    assert!(last.sequences.is_some_and(|share| share < 0.03), "{last:?}");
}

#[test]
fn text_is_cut_into_blocks_and_labeled_with_what_follows() {
    let words = "abcdefghijklmnopqrstuvwxyz";
    let text = Text::new("words", words.as_bytes(), Tokenizer::Characters).expect("text");
    let data = Dataset::text(&gpu(), &text, 5, [2, 1, 2]).expect("fits");
    let split = |name, batch| examples(&data, Some(name), batch, 0, 0);
    let block = |from: u32| ((from..from + 5).collect::<Vec<_>>(), (from + 1..from + 6).collect::<Vec<_>>());
    assert_eq!(split("train", 2), [block(0), block(5)]);
    assert_eq!(split("validation", 1), [block(10)]);
    assert_eq!(split("test", 2), [block(15), block(20)]);
    let error = Dataset::text(&gpu(), &text, 5, [4, 1, 1]).expect_err("26 letters are too few").to_string();
    assert!(error.contains("words: has 5 blocks of 5 tokens, not 4 + 1 + 1"), "{error}");
}

#[test]
fn a_bigram_network_learns_an_alphabet() {
    let words = "abcdefghijklmnopqrstuvwxyz".repeat(40);
    let text = Text::new("words", words.as_bytes(), Tokenizer::Characters).expect("text");
    let data = Dataset::text(&gpu(), &text, 16, [50, 0, 10]).expect("fits");
    let target = Network::new(PerPosition, &data, 1).expect("fits");
    let rate = OptimizerConfig::adam(Schedule::Constant(0.05));
    let training = Training { optimizer: rate, batch: 16, ..Training::new(120) };
    let run = Trainer::new(&target, &data, training).run().expect("trains");
    let [first, last] = [run.evals.first(), run.last_eval("test")].map(|eval| eval.expect("evaluated"));
    assert!(first.perplexity() > 15.0 && last.perplexity() < 1.3, "{first:?} {last:?}");
    assert_eq!((last.top1, last.sequences), (1.0, Some(1.0)));
}
