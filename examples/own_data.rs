//! A data set of one's own: fill in [`Images`] from wherever they come, here stripes that are upright or lie flat.

use trellis_guidance::data::Images;
use trellis_guidance::{Dataset, Fcn, Network, Result, Trainer, Training};
use trellis_tensor::Gpu;
use trellis_tensor::rng::Rng;

/// `count` grey images of 12 × 12: label 0 for upright stripes, 1 for flat ones, under noise.
fn stripes(count: usize, seed: u64) -> Images {
    let mut rng = Rng::new(seed, 0);
    let labels: Vec<u16> = (0..count).map(|_| rng.below(2) as u16).collect();
    let mut pixels = Vec::new();
    for &label in &labels {
        let phase = rng.below(6);
        for (row, column) in (0..144).map(|at| (at / 12, at % 12)) {
            let along = if label == 0 { column } else { row };
            let bright = if (along + phase) % 6 < 3 { 150 } else { 50 };
            pixels.push((bright + rng.below(100)) as u8);
        }
    }
    Images { channels: 1, height: 12, width: 12, pixels, labels, classes: 2, name: "stripes".to_string() }
}

fn main() -> Result<()> {
    let gpu = Gpu::new()?;
    let parts = stripes(1500, 0).split(&[1000, 500], 0)?;
    let data = Dataset::new(&gpu, &parts[0], None, Some(&parts[1]))?;
    let target = Network::new(Fcn::new(2, 64), &data, 1)?;
    let run = Trainer::new(&target, &data, Training::new(60)).run()?;
    if let Some(test) = run.last_eval("test") {
        println!("test top-1 {:.1} %", 100.0 * test.top1);
    }
    Ok(())
}
