//! A profile of one guided step: where its time goes, and how far each kernel is from what the adapter can do.
//!
//! You learn to read a roofline (Williams, Waterman and Patterson 2009). A kernel takes at least the time that its bytes need, and that
//! its operations need. Left of the ridge bytes decide, right of it operations. Below both, something else does: a dispatch too
//! small, or memory that is read in a bad order.
//!
//! Run: `cargo run --release --example 10_profile`. Try next: a batch of 16 and one of 512; no guide; `profile.page()` for the page of
//! `trellis profile --html`; `trellis profile FILE` for an experiment of yours.

use trellis_data::glyphs::glyphs;
use trellis_guidance::{Cnn, Dataset, Fcn, Guidance, Network, Result, Training};
use trellis_lab::profile::{Per, Profile};
use trellis_tensor::Gpu;

/// Size of the plot in letters.
const WIDTH: usize = 76;
const HEIGHT: usize = 20;

fn main() -> Result<()> {
    // `make test` takes a few steps, to see that it runs.
    let steps = if std::env::var_os("TRELLIS_SHORT_EXAMPLES").is_some() { 1 } else { 20 };
    let gpu = Gpu::new()?;
    if !gpu.caps().timestamps {
        println!("{} has no timestamps within a pass: there is nothing to measure by", gpu.name());
        return Ok(());
    }
    let data = Dataset::new(&gpu, &glyphs(1000, 16, 0), None, None)?;

    // ANCHOR: measure
    let guide = Network::new(Cnn::new(&[8, 16, 32]), &data, 1)?.freeze();
    let target = Network::new(Fcn::new(6, 256), &data, 2)?;
    let guidance = [Guidance::new(guide)];
    let profile = Profile::measure("guided step", &target, &data, Training::new(50), &guidance, steps, Per::Dispatch)?;
    // ANCHOR_END: measure

    let (bytes, flop) = (profile.ceilings.copy_bytes_per_s / 1e9, profile.ceilings.fma_flop_per_s / 1e9);
    println!("{} on {}, batch {}\n", target.describe(), profile.adapter, Training::new(50).batch);
    println!("The adapter, measured now: {bytes:.1} GB/s of a copy, {flop:.1} GFLOP/s of multiply-adds.");
    println!("They meet at {:.1} operations a byte, the ridge.\n", flop / bytes);
    println!(
        "{:<18} {:>10} {:>8} {:>8} {:>10} {:>8} {:>9}",
        "phase", "dispatches", "ms", "share", "GFLOP/s", "GB/s", "x floor"
    );
    for group in profile.by_phase() {
        let floor = group.times_floor().map_or("-".to_string(), |times| format!("{times:.1}"));
        let share = 100.0 * group.ms / profile.gpu_ms();
        let (flop, bytes) = (group.gflop_per_s(), group.gb_per_s());
        println!(
            "{:<18} {:>10} {:>8.3} {share:>7.1}% {flop:>10.2} {bytes:>8.2} {floor:>9}",
            group.name, group.launches, group.ms
        );
    }
    println!("\nThe five kernels that take most:");
    for group in profile.by_time(|launch| launch.kernel.clone()).iter().take(5) {
        println!("  {:<50} {:>3} x {:>8.3} ms", group.name, group.launches, group.ms / group.launches as f64);
    }
    println!(
        "\nGFLOP/s over operations a byte, both by powers of ten; `/` and `-` are the roof, a letter is a dispatch:"
    );
    println!("f target forward, g guide, a alignment, b backward, o others\n");
    roofline(&profile);
    let (wall, sum) = (profile.step_ms, profile.gpu_ms());
    println!(
        "\nA step takes {wall:.2} ms, its dispatches {sum:.2} ms together, and encoding it {:.3} ms.",
        profile.encode_ms
    );
    println!("Below 1 x floor a kernel's data lie in a cache, which is faster than the memory that was measured.");
    let path = std::env::temp_dir().join("trellis_10_roofline.svg");
    std::fs::write(&path, profile.roofline()).map_err(|error| trellis_guidance::Error::io(&path, error))?;
    println!("\nopen: {}", path.display());
    Ok(())
}

// ANCHOR: roofline
/// Every dispatch with operations: from 0.01 to 1,000 operations a byte, over five powers of ten of rates below the roof.
fn roofline(profile: &Profile) {
    let (bytes, flop) = (profile.ceilings.copy_bytes_per_s, profile.ceilings.fma_flop_per_s);
    let column =
        |intensity: f64| ((intensity.log10() + 2.0) / 5.0 * WIDTH as f64).clamp(0.0, WIDTH as f64 - 1.0) as usize;
    let row = |rate: f64| {
        ((flop.log10() + 0.2 - rate.log10()) / 5.0 * HEIGHT as f64).clamp(0.0, HEIGHT as f64 - 1.0) as usize
    };
    let mut lines = vec![vec![' '; WIDTH]; HEIGHT];
    for (at, slope) in (0..WIDTH).map(|at| (at, bytes * 10f64.powf(at as f64 / WIDTH as f64 * 5.0 - 2.0))) {
        lines[row(slope.min(flop))][at] = if slope < flop { '/' } else { '-' };
    }
    for launch in profile.launches.iter().filter(|launch| launch.flops > 0 && launch.ms > 0.0) {
        let mark = match launch.layer.split('/').next() {
            Some("target") => 'f',
            Some("guide") => 'g',
            Some("alignment") => 'a',
            Some("backward") if launch.layer.contains("alignment") => 'a',
            Some("backward") => 'b',
            _ => 'o',
        };
        let intensity = launch.flops as f64 / launch.bytes as f64;
        lines[row(launch.flops as f64 / launch.ms * 1e3)][column(intensity)] = mark;
    }
    lines.iter().for_each(|line| println!("  {}", line.iter().collect::<String>().trim_end()));
}
// ANCHOR_END: roofline
