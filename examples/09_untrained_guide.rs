//! An untrained guide, and guided initialization: a network that cannot copy what it reads, freed by one that has learned nothing.
//!
//! You learn that a guide can give its architecture's bias without any knowledge, that a few guided steps serve as an
//! initialization, and that one must ask what a better initialization does without a guide.
//!
//! Run: `cargo run --release --example 09_untrained_guide`. Try next: other seeds, as one run proves nothing; more digits; the whole
//! experiment, four seeds at the best rate of each arm: `make demo`; then `10_profile`.

use trellis_guidance::data::DrawnSequences;
use trellis_guidance::network::{InitialWeights, RnnCell};
use trellis_guidance::trainer::RunRecord;
use trellis_guidance::{Dataset, Guidance, GuideSchedule, Network, Result, Rnn, Trainer, Training, Transformer};
use trellis_tensor::{Gpu, OptimizerConfig, Schedule};

/// Digits to copy, and steps.
const DIGITS: usize = 8;
const STEPS: u32 = 300;

fn main() -> Result<()> {
    // `make test` takes a few steps, to see that it runs.
    let share = if std::env::var_os("TRELLIS_SHORT_EXAMPLES").is_some() { 20 } else { 1 };
    let steps = STEPS / share;
    let gpu = Gpu::new()?;
    // The network reads digits of 8 kinds, then says them again. Sequences are drawn on the GPU: each batch is of new ones.
    let task = DrawnSequences::copy_paste(8, [DIGITS, DIGITS], 0)?;
    let data = Dataset::drawn(&gpu, task, [64, 0, 256])?;

    // ANCHOR: arms
    let deep = Rnn::new(RnnCell::Tanh, 6, 48);
    let orthogonal = Rnn { init: InitialWeights::Orthogonal, ..deep };
    let guide = Transformer { hidden: 48, causal: true, ..Transformer::encoder(2, 48, 4) };
    let guide = Network::new(guide, &data, 11)?.freeze(); // as it was drawn: it never sees a step
    let guidance = || Guidance::new(guide.clone());
    let first = GuideSchedule::first_steps(steps / 2);
    let arms = [
        ("alone", deep, None),
        ("guided throughout", deep, Some(guidance())),
        ("guided for half", deep, Some(guidance().schedule(first))),
        ("orthogonal, no guide", orthogonal, None),
    ];
    // ANCHOR_END: arms

    let mut runs = Vec::new();
    for (name, network, guidance) in arms {
        let optimizer = OptimizerConfig::adam(Schedule::Constant(2e-3));
        let training = Training { batch: 32, eval_every: 30, optimizer, ..Training::new(steps) };
        let target = Network::new(network, &data, 1)?;
        let trainer = Trainer::new(&target, &data, training);
        let run = guidance.into_iter().fold(trainer, Trainer::guided_by).run()?;
        println!("{name:<22} {}", line(&run));
        runs.push((name, run));
    }
    println!(
        "\nShare of digits said right, by step. {:.1} % is what a network gets that has learned nothing of its input.\n",
        100.0 * task.floor()
    );
    print!("{:>5}", "");
    runs.iter().for_each(|(name, _)| print!("  {name:>20}"));
    println!();
    for at in 0..tests(&runs[0].1).len() {
        print!("{:>5}", tests(&runs[0].1)[at].0);
        runs.iter().for_each(|(_, run)| print!("  {:>19.1}%", 100.0 * tests(run)[at].1));
        println!();
    }
    println!("\nOne seed and one learning rate: the README has four seeds, with the best rate of each arm.");
    Ok(())
}

/// Step and share of right digits of each evaluation on test sequences.
fn tests(run: &RunRecord) -> Vec<(u64, f32)> {
    run.evals.iter().filter(|eval| eval.split == "test").map(|eval| (eval.step, eval.top1)).collect()
}

/// A run as a line of bars, from nothing to all right.
fn line(run: &RunRecord) -> String {
    let bars = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    tests(run).iter().map(|(_, top1)| bars[(8.0 * top1).clamp(0.0, 7.0) as usize]).collect()
}
