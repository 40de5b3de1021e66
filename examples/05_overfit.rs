//! Overfitting, watched: a network that learns its training images by heart, and the same with ten times as many images.
//!
//! You learn to read two curves together. While both fall, the network learns; where test loss rises and training loss goes on falling,
//! it memorizes. Data, not a smaller network, is the first cure.
//!
//! Run: `cargo run --release --example 05_overfit`. Try next: `shift: 2` in `Training`, which makes new images of
//! old ones; `dropout: 0.5` in the `Fcn`; `Cnn::new(&[16, 32])` in its
//! place, which knows that a shape may lie anywhere (two minutes on two cores); then `06_cka`.

use std::fmt::Write;

use trellis_data::glyphs::glyphs;
use trellis_guidance::trainer::RunRecord;
use trellis_guidance::{Dataset, Fcn, Network, Result, Trainer, Training};
use trellis_tensor::Gpu;

/// Size of the plot, its margin, and the greatest loss in it.
const WIDTH: f32 = 640.0;
const HEIGHT: f32 = 360.0;
const MARGIN: f32 = 40.0;
const MOST: f32 = 4.0;

fn main() -> Result<()> {
    // `make test` takes a few steps, to see that it runs.
    let steps = if std::env::var_os("TRELLIS_SHORT_EXAMPLES").is_some() { 20 } else { 400 };
    let gpu = Gpu::new()?;
    let images = glyphs(4000, 16, 0).split(&[200, 2000, 1000], 0)?;

    let mut runs = Vec::new();
    for train in &images[..2] {
        // ANCHOR: train
        let data = Dataset::new(&gpu, train, None, Some(&images[2]))?;
        let network = Network::new(Fcn::new(2, 128), &data, 1)?;
        let training = Training { batch: 100, eval_every: steps / 20, ..Training::new(steps) };
        runs.push((data.train_count(), Trainer::new(&network, &data, training).run()?));
        // ANCHOR_END: train
    }

    println!("{:>5} {:>22}   {:>22}", "", "200 images", "2,000 images");
    println!("{:>5} {:>10} {:>11}   {:>10} {:>11}   cross-entropy in nats", "step", "train", "test", "train", "test");
    let curves = runs.iter().map(|(_, run)| [curve(run, "train"), curve(run, "test")]).collect::<Vec<_>>();
    for at in 0..curves[0][0].len() {
        let cells = curves.iter().map(|[train, test]| {
            let lowest = test.iter().map(|(_, loss)| *loss).fold(f32::INFINITY, f32::min);
            let mark = if test[at].1 == lowest { "<" } else { " " };
            format!("{:>10.3} {:>10.3}{mark}", train[at].1, test[at].1)
        });
        println!("{:>5} {}", curves[0][0][at].0, cells.collect::<Vec<_>>().join("   "));
    }
    println!("\n`<` is the lowest test loss. Right of it, longer training makes its loss on new images worse.");
    for (count, run) in &runs {
        if let (Some(train), Some(test)) = (run.last_eval("train"), run.last_eval("test")) {
            let [train, test] = [train, test].map(|eval| 100.0 * eval.top1);
            println!(
                "{count:>5} images: in the end {train:.0} % of the training images are right, {test:.0} % of the test images"
            );
        }
    }
    let path = std::env::temp_dir().join("trellis_05_overfit.svg");
    std::fs::write(&path, picture(&curves)).map_err(|error| trellis_guidance::Error::io(&path, error))?;
    println!("\nopen: {}", path.display());
    Ok(())
}

/// Loss on a split by step.
fn curve(run: &RunRecord, split: &str) -> Vec<(f32, f32)> {
    run.evals.iter().filter(|eval| eval.split == split).map(|eval| (eval.step as f32, eval.loss)).collect()
}

/// The curves as an SVG: test loss in full, training loss dashed.
fn picture(curves: &[[Vec<(f32, f32)>; 2]]) -> String {
    let last = curves[0][0].last().map_or(1.0, |(step, _)| *step);
    let x = |step: f32| MARGIN + step / last * (WIDTH - 2.0 * MARGIN);
    let y = |loss: f32| HEIGHT - MARGIN - loss.min(MOST) / MOST * (HEIGHT - 2.0 * MARGIN);
    let mut svg = format!(
        "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {WIDTH} {HEIGHT}' width='{WIDTH}' font-family='sans-serif' \
         font-size='12'><rect width='{WIDTH}' height='{HEIGHT}' fill='white'/>\n"
    );
    for loss in 0..=MOST as u32 {
        let at = y(loss as f32);
        let _ = writeln!(
            svg,
            "<path d='M{MARGIN} {at}H{}' stroke='#ddd'/><text x='20' y='{}'>{loss}</text>",
            WIDTH - MARGIN,
            at + 4.0
        );
    }
    for (number, (pair, color)) in curves.iter().zip(["#c0392b", "#2471a3"]).enumerate() {
        for (points, dash) in pair.iter().zip(["5 4", "none"]) {
            let line: Vec<String> =
                points.iter().map(|(step, loss)| format!("{:.1},{:.1}", x(*step), y(*loss))).collect();
            let line = line.join(" ");
            let _ = writeln!(
                svg,
                "<polyline points='{line}' fill='none' stroke='{color}' stroke-width='2' stroke-dasharray='{dash}'/>"
            );
        }
        let words = ["200 images", "2,000 images"][number];
        let _ = writeln!(svg, "<text x='{}' y='20' fill='{color}'>{words}</text>", MARGIN + 100.0 * number as f32);
    }
    let _ = writeln!(svg, "<text x='260' y='20'>full: test loss, dashed: training loss (nats), by step</text></svg>");
    svg
}
