//! A network of one's own: implement [`Architecture`], here for gated units. It is trained alone, and guided by a small CNN.

use trellis_data::glyphs::glyphs;
use trellis_guidance::network::{Architecture, ConvKernel, Input, Output, Pass};
use trellis_guidance::trainer::{EvalRecord, RunRecord};
use trellis_guidance::{Cnn, Dataset, Guidance, GuideSchedule, Network, Result, Trainer, Training};
use trellis_tensor::{Gpu, Init, OptimizerConfig, Schedule, Var};

// ANCHOR: network
/// Convolutions of gated units without normalization, `(W x + b) · σ(V x + c)`. Each halves its input, so a deep stack learns badly.
#[derive(Debug)]
struct Gated {
    channels: usize,
    strides: Vec<usize>,
}

impl Architecture for Gated {
    fn describe(&self) -> String {
        format!("gated {}x{}", self.strides.len(), self.channels)
    }

    /// The calls that declare the parameters are those that record the forward pass.
    fn forward<'g>(&self, pass: &mut Pass<'_, 'g>, input: Input<'g>, output: Output) -> Result<Var<'g>> {
        let (mut x, classes) = (input.images()?, output.of_examples()?);
        for (number, &stride) in (1..).zip(&self.strides) {
            let (name, kernel) = (format!("gated{number}"), ConvKernel { size: 3, stride });
            pass.block();
            let value = pass.conv(&name, x, self.channels, kernel, true, Init::Default)?;
            let gate = pass.conv(&format!("{name}.gate"), x, self.channels, kernel, true, Init::Default)?;
            x = value.mul(gate.sigmoid()?)?;
            // A layer that a guide can pull at.
            pass.capture(&name, x);
        }
        pass.head("logits");
        pass.linear("logits", x.flatten()?, classes, true, Init::Default)
    }
}
// ANCHOR_END: network

fn main() -> Result<()> {
    // `make test` takes a few steps, to see that it runs.
    let share = if std::env::var_os("TRELLIS_SHORT_EXAMPLES").is_some() { 20 } else { 1 };
    let gpu = Gpu::new()?;
    let images = glyphs(1300, 16, 0).split(&[1000, 300], 0)?;
    let data = Dataset::new(&gpu, &images[0], None, Some(&images[1]))?;
    let optimizer = OptimizerConfig::adam(Schedule::Constant(5e-3));
    let training = Training { batch: 64, eval_every: 20, optimizer, ..Training::new(120 / share) };

    let guide = Network::new(Cnn::new(&[8, 16]), &data, 1)?;
    Trainer::new(&guide, &data, training).run()?;
    let target = || Network::new(Gated { channels: 16, strides: vec![2, 2, 1, 1] }, &data, 2);
    let guidance = Guidance::new(guide.freeze()).schedule(GuideSchedule::first_steps(60 / share)).weight(2.0);

    let alone = Trainer::new(&target()?, &data, training).measured_against(guidance.clone()).run()?;
    let guided = Trainer::new(&target()?, &data, training).guided_by(guidance).run()?;

    println!("{} on test images: cross-entropy, mean CKA with the guide\n", target()?.describe());
    println!("{:>5}  {:>14}  {:>22}", "step", "alone", "guided for half of it");
    let on_test = |run: &RunRecord| run.evals.iter().filter(|eval| eval.split == "test").map(cell).collect::<Vec<_>>();
    for ((step, alone), (_, guided)) in on_test(&alone).iter().zip(on_test(&guided)) {
        println!("{step:>5}  {alone:>14}  {guided:>22}");
    }
    Ok(())
}

/// Step of an evaluation, and its numbers.
fn cell(eval: &EvalRecord) -> (u64, String) {
    let similarity = eval.similarity.iter().sum::<f32>() / eval.similarity.len() as f32;
    (eval.step, format!("{:.3}  {similarity:.3}", eval.loss))
}
