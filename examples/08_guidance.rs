//! The README's program: a fully connected network, guided by a small CNN during its first steps.

use trellis_data::glyphs::glyphs;
use trellis_guidance::{Cnn, Dataset, Fcn, Guidance, GuideSchedule, Network, Result, Trainer, Training};
use trellis_tensor::Gpu;

fn main() -> Result<()> {
    // `make test` takes a few steps, to see that it runs.
    let share = if std::env::var_os("TRELLIS_SHORT_EXAMPLES").is_some() { 20 } else { 1 };
    let gpu = Gpu::new()?;
    let images = glyphs(3000, 16, 0).split(&[2000, 1000], 0)?;
    let data = Dataset::new(&gpu, &images[0], None, Some(&images[1]))?;

    let guide = Network::new(Cnn::new(&[8, 16, 32]), &data, 1)?;
    Trainer::new(&guide, &data, Training::new(300 / share)).run()?;

    let alone = Network::new(Fcn::new(6, 128), &data, 2)?;
    let by_itself = Trainer::new(&alone, &data, Training::new(240 / share)).run()?;

    let target = Network::new(Fcn::new(6, 128), &data, 2)?;
    let guidance = Guidance::new(guide.freeze()).schedule(GuideSchedule::first_steps(100 / share));
    let guided = Trainer::new(&target, &data, Training::new(240 / share)).guided_by(guidance).run()?;

    for (name, run) in [("alone", by_itself), ("guided", guided)] {
        if let Some(test) = run.last_eval("test") {
            println!("{name}: test top-1 {:.1} %, cross-entropy {:.3}", 100.0 * test.top1, test.loss);
        }
    }
    Ok(())
}
