//! A heat map of CKA: the layers of two trained networks, each with each.
//!
//! You learn to read such a map. Two networks that differ by their seed alone agree layer by layer, though no unit of one is a unit of
//! the other. Late layers have no counterpart in a network of another kind. Untrained layers all look like the images.
//!
//! Run: `cargo run --release --example 06_cka`. Try next: two seeds of the FCN; fewer steps; `Cka::linear()` without `debiased` in
//! `trellis_lab::similarity`, on batches of 16, and see everything look alike; then `07_cka_gradient`.

use std::fmt::Write;

use trellis_data::glyphs::glyphs;
use trellis_guidance::network::Architecture;
use trellis_guidance::{CapturePoint, Cnn, Dataset, Fcn, Network, Result, Trainer, Training};
use trellis_lab::similarity::LayerMatrix;
use trellis_tensor::Gpu;

fn main() -> Result<()> {
    // `make test` takes a few steps, to see that it runs.
    let steps = if std::env::var_os("TRELLIS_SHORT_EXAMPLES").is_some() { 5 } else { 250 };
    let gpu = Gpu::new()?;
    let images = glyphs(3000, 16, 0).split(&[2000, 1000], 0)?;
    let data = Dataset::new(&gpu, &images[0], None, Some(&images[1]))?;

    let trained = |architecture: Box<dyn Architecture>, seed| -> Result<Network> {
        let network = Network::new(architecture, &data, seed)?;
        let run = Trainer::new(&network, &data, Training { seed, batch: 64, ..Training::new(steps) }).run()?;
        let top1 = run.last_eval("test").map_or(f32::NAN, |test| 100.0 * test.top1);
        println!("{:<14} seed {seed}: test top-1 {top1:.1} %", network.describe());
        Ok(network)
    };
    let cnn = || -> Box<dyn Architecture> { Box::new(Cnn::new(&[8, 16, 32])) };
    let first = trained(cnn(), 1)?;
    let others = [
        ("another seed of it", trained(cnn(), 2)?),
        ("an FCN", trained(Box::new(Fcn::new(4, 96)), 1)?),
        ("it, untrained", Network::new(cnn(), &data, 3)?),
    ];

    let test = data.splits().find(|(name, _)| *name == "test").map(|(_, split)| split.clone());
    let test = test.unwrap_or_else(|| data.train().clone());
    let mut maps = Vec::new();
    for (name, other) in &others {
        // ANCHOR: measure
        // Debiased linear CKA over the whole split: sums over batches come before the ratio, so their size does not matter.
        let map = LayerMatrix::measure(&first, other, &data, &test, 250, CapturePoint::default())?;
        // ANCHOR_END: measure
        println!("\nrows: {}; columns: {name}", first.describe());
        println!("{:>8}{}", "", map.columns.iter().map(|column| format!("{column:>8}")).collect::<String>());
        for (row, layer) in map.rows.iter().enumerate() {
            let cell = |column| {
                let value = map.at(row, column);
                let shade = [' ', '░', '▒', '▓', '█'][(5.0 * value).clamp(0.0, 4.0) as usize];
                format!("  {shade}{shade}{value:>4.2}")
            };
            println!("{layer:>8}{}", (0..map.columns.len()).map(cell).collect::<String>());
        }
        maps.push((*name, map));
    }
    println!(
        "\nFirst map: see its diagonal. Second: the CNN's last layers are like nothing in the FCN, which has not learned shapes."
    );
    println!(
        "Third: an untrained network hardly changes its images, so all its layers are like conv1, which is near them too."
    );
    let path = std::env::temp_dir().join("trellis_06_cka.svg");
    std::fs::write(&path, picture(&maps)).map_err(|error| trellis_guidance::Error::io(&path, error))?;
    println!("\nopen: {}", path.display());
    Ok(())
}

/// The maps beside each other as an SVG, darker the more alike.
fn picture(maps: &[(&str, LayerMatrix)]) -> String {
    let mut svg = String::from(
        "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 860 320' width='860' font-family='sans-serif' font-size='11'>\
         <rect width='860' height='320' fill='white'/>\n",
    );
    for (number, (name, map)) in maps.iter().enumerate() {
        let left = 20 + 280 * number;
        let _ = writeln!(svg, "<text x='{left}' y='24' font-size='13'>columns: {name}</text>");
        for row in 0..map.rows.len() {
            let y = 60 + 40 * row;
            let _ = writeln!(svg, "<text x='{left}' y='{}'>{}</text>", y + 24, map.rows[row]);
            for column in 0..map.columns.len() {
                let (x, value) = (left + 34 + 40 * column, map.at(row, column));
                let (middle, ink) = (x + 20, if value > 0.55 { "white" } else { "black" });
                if row == 0 {
                    let _ =
                        writeln!(svg, "<text x='{middle}' y='54' text-anchor='middle'>{}</text>", map.columns[column]);
                }
                let _ = writeln!(
                    svg,
                    "<rect x='{x}' y='{y}' width='39' height='39' fill='#1a5276' fill-opacity='{:.2}'/>\
                     <text x='{middle}' y='{}' text-anchor='middle' fill='{ink}'>{value:.2}</text>",
                    value.clamp(0.0, 1.0),
                    y + 24
                );
            }
        }
    }
    svg + "</svg>\n"
}
