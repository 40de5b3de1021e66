//! A data set of one's own: implement [`Source`], here for stripes that are upright or lie flat. Threads read the images
//! while the network trains; `Dataset::load(&gpu, &train, None, Some(&test), false)` would read them all first.

use std::sync::Arc;

use trellis_data::Source;
use trellis_guidance::{Dataset, Fcn, Network, Result, Trainer, Training};
use trellis_rng::Rng;
use trellis_tensor::Gpu;

// ANCHOR: data
/// Gray images of 12 × 12: class 0 for upright stripes, 1 for flat ones, under noise.
struct Stripes {
    count: usize,
    seed: u64,
}

#[rustfmt::skip]
impl Source for Stripes {
    fn name(&self) -> &str { "stripes" }
    fn shape(&self) -> [usize; 3] { [1, 12, 12] }
    fn classes(&self) -> usize { 2 }
    fn count(&self) -> usize { self.count }

    fn read(&self, index: usize, pixels: &mut [u8]) -> trellis_data::Result<u16> {
        let mut rng = Rng::new(self.seed, index as u64);
        let (class, phase) = (rng.below(2), rng.below(6));
        for (at, pixel) in pixels.iter_mut().enumerate() {
            let along = [at % 12, at / 12][class];
            *pixel = (if (along + phase) % 6 < 3 { 150 } else { 50 } + rng.below(100)) as u8;
        }
        Ok(class as u16)
    }
}
// ANCHOR_END: data

fn main() -> Result<()> {
    let gpu = Gpu::new()?;
    let split = |count, seed| Arc::new(Stripes { count, seed });
    let data = Dataset::stream(&gpu, split(1000, 1), None, Some(split(500, 2)), false)?;
    let target = Network::new(Fcn::new(2, 64), &data, 1)?;
    let run = Trainer::new(&target, &data, Training::new(60)).run()?;
    if let Some(test) = run.last_eval("test") {
        println!("test top-1 {:.1} %", 100.0 * test.top1);
    }
    Ok(())
}
