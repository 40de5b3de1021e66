//! A measure of similarity of one's own: implement [`Measure`], here for distance correlation (Székely et al. 2007). A target is
//! pulled by it, and by linear CKA.

use trellis_data::glyphs::glyphs;
use trellis_guidance::trainer::{EvalRecord, RunRecord};
use trellis_guidance::{Cka, Cnn, Dataset, Fcn, Guidance, Measure, Metric, Network, Result, Trainer, Training};
use trellis_tensor::{Gpu, Layout, Var};

// ANCHOR: measure
/// Correlation of the distances between examples in one layer with those in the other: `<A, B> / (|A| |B|)`, where A and B are the
/// matrices of distances, less the means of their rows and columns.
#[derive(Debug)]
struct DistanceCorrelation {
    /// Rounds off the square root at 0, as a share of the mean squared distance.
    softening: f32,
}

impl DistanceCorrelation {
    /// Distances between the rows of x, less the means of rows and columns: `[n, n]`.
    fn distances<'g>(&self, x: Var<'g>) -> Result<Var<'g>> {
        let x = x.flatten()?;
        let x = x.sub(x.mean(&[0], true)?)?; // an offset would cost digits
        let lengths = x.mul(x)?.sum(&[1], true)?;
        let squares = lengths.add(lengths.transpose()?)?.sub(x.matmul(x, Layout::NT)?.affine(2.0, 0.0)?)?;
        // The square root has no slope at 0, where rounding leaves numbers on either side.
        let distances = squares.relu()?.add(squares.mean_all()?.affine(self.softening, 1e-30)?)?.sqrt()?;
        let centered = distances.sub(distances.mean(&[0], true)?)?;
        Ok(centered.sub(centered.mean(&[1], true)?)?)
    }
}

impl Measure for DistanceCorrelation {
    fn describe(&self) -> String {
        "distance correlation".into()
    }

    fn least_examples(&self) -> usize {
        3
    }

    fn compare<'g>(&self, target: Var<'g>, guide: Var<'g>) -> Result<Var<'g>> {
        let (a, b) = (self.distances(target)?, self.distances(guide)?);
        let product = |a: Var<'g>, b: Var<'g>| a.mul(b)?.mean_all();
        Ok(product(a, b)?.div(product(a, a)?.mul(product(b, b)?)?.affine(1.0, 1e-30)?.sqrt()?)?)
    }

    // Training checks its gradient for both.
    fn ignores_offset(&self) -> bool {
        true
    }

    fn ignores_scale(&self) -> bool {
        true
    }
}
// ANCHOR_END: measure

fn main() -> Result<()> {
    // `make test` takes a few steps, to see that it runs.
    let share = if std::env::var_os("TRELLIS_SHORT_EXAMPLES").is_some() { 20 } else { 1 };
    let gpu = Gpu::new()?;
    let images = glyphs(700, 16, 0).split(&[600, 100], 0)?;
    let data = Dataset::new(&gpu, &images[0], None, Some(&images[1]))?;
    let training = Training { batch: 32, check: true, ..Training::new(60 / share) };

    let guide = Network::new(Cnn::new(&[8, 16]), &data, 1)?;
    Trainer::new(&guide, &data, training).run()?;
    let guide = guide.freeze();

    println!("mean similarity of the layers of target and guide, on test images");
    println!("{:<22} {:>8} {:>8} {:>8}", "", "at first", "alone", "pulled");
    for metric in [Metric::from(Cka::linear()), DistanceCorrelation { softening: 1e-3 }.into()] {
        let guidance = || Guidance::new(guide.clone()).align(metric.clone());
        let target = || Network::new(Fcn::new(3, 32), &data, 2);
        let alone = Trainer::new(&target()?, &data, training).measured_against(guidance()).run()?;
        let pulled = Trainer::new(&target()?, &data, training).guided_by(guidance()).run()?;
        let [before, alone, pulled] =
            [(&pulled, 0), (&alone, training.steps), (&pulled, training.steps)].map(similarity);
        println!("{:<22} {before:>8.3} {alone:>8.3} {pulled:>8.3}", metric.to_string());
    }
    Ok(())
}

/// Mean similarity over the pairs of layers, on test images after so many steps.
fn similarity((run, step): (&RunRecord, u32)) -> f32 {
    let of_step = |eval: &&EvalRecord| eval.step == u64::from(step) && !eval.similarity.is_empty();
    let measured = run.evals.iter().find(of_step).map_or(&[][..], |eval| &eval.similarity);
    measured.iter().sum::<f32>() / measured.len() as f32
}
