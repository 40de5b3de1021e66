//! Guidance: a network that learns badly is pulled towards the layers of one that has learned, and is then left alone.
//!
//! You learn the four parts of it: a frozen guide, a target, a schedule, and a trainer that joins them. The target minimizes its
//! loss plus `Σ (1 − CKA(target layer, guide layer))` for the first steps. The guide gives no labels, only which images are alike.
//!
//! Run: `cargo run --release --example 08_guidance`. Try next: `GuideSchedule::always()`, an untrained guide (leave its run out),
//! `.weight(5.0)`, `Control` for a guide that sees other images; then `09_untrained_guide`.

use trellis_data::glyphs::glyphs;
use trellis_guidance::trainer::{EvalRecord, RunRecord};
use trellis_guidance::{Cnn, Dataset, Fcn, Guidance, GuideSchedule, Network, Result, Trainer, Training};
use trellis_tensor::Gpu;

fn main() -> Result<()> {
    // `make test` takes a few steps, to see that it runs.
    let share = if std::env::var_os("TRELLIS_SHORT_EXAMPLES").is_some() { 20 } else { 1 };
    let gpu = Gpu::new()?;
    let images = glyphs(3000, 16, 0).split(&[2000, 1000], 0)?;
    let data = Dataset::new(&gpu, &images[0], None, Some(&images[1]))?;
    let training = |steps: u32| Training { eval_every: 80, ..Training::new(steps / share) };

    // ANCHOR: guide
    let guide = Network::new(Cnn::new(&[8, 16, 32]), &data, 1)?;
    let learned = Trainer::new(&guide, &data, training(200)).run()?;
    let guide = guide.freeze();
    // ANCHOR_END: guide

    // ANCHOR: arms
    let guidance = Guidance::new(guide).schedule(GuideSchedule::first_steps(100 / share));
    let target = || Network::new(Fcn::new(6, 128), &data, 2);
    let alone = Trainer::new(&target()?, &data, training(240)).measured_against(guidance.clone()).run()?;
    let guided = Trainer::new(&target()?, &data, training(240)).guided_by(guidance).run()?;
    // ANCHOR_END: arms

    println!("{} on test images\n", target()?.describe());
    println!("{:>5}   {:^28}   {:^28}", "", "alone", "guided for 100 steps");
    println!("{0:>5}   {1:>6} {2:>8} {3:>12}   {1:>6} {2:>8} {3:>12}", "step", "top-1", "loss", "like guide");
    let on_test = |run: &RunRecord| run.evals.iter().filter(|eval| eval.split == "test").map(cell).collect::<Vec<_>>();
    for ((step, alone), (_, guided)) in on_test(&alone).iter().zip(on_test(&guided)) {
        println!("{step:>5}   {alone}   {guided}");
    }
    if let Some(test) = learned.last_eval("test") {
        println!("\nThe guide itself: test top-1 {:.1} %.", 100.0 * test.top1);
    }
    println!(
        "`like guide` is the mean CKA over the pairs of layers. It falls when the guide has left; the head start stays."
    );
    Ok(())
}

/// Step of an evaluation, and its numbers.
fn cell(eval: &EvalRecord) -> (u64, String) {
    let alike = eval.similarity.iter().sum::<f32>() / eval.similarity.len() as f32;
    (eval.step, format!("{:>5.1}% {:>8.3} {:>12.3}", 100.0 * eval.top1, eval.loss, alike))
}
