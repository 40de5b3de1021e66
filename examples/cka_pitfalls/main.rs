//! Four ways to misread CKA, each as a table: batch size, wide layers, one dominant direction, and a value without its null.
//!
//! You learn to ask of a CKA: how many examples, how wide, how many directions, and what would chance give? Nothing is trained; layers
//! are drawn so that their true similarity is known.
//!
//! Run: `cargo run --release --example cka_pitfalls`. Try next: `SimilarityMeasure::MutualKnn` or `Procrustes` in the tables; 100
//! in place of 10 as the dominant direction.

use trellis_guidance::Result;
use trellis_lab::similarity::measures::{Activations, SimilarityMatrix, SimilarityMeasure, permutations};
use trellis_rng::Rng;

use SimilarityMeasure::{Cka, DebiasedCka, MutualKnn};

/// A layer of `n` examples; `of` gives each feature of an example from a random number of its own.
fn layer(n: usize, features: usize, seed: u64, of: impl Fn(usize, usize, f32) -> f32) -> Result<Activations> {
    let mut rng = Rng::new(seed, 0);
    let values = (0..n * features).map(|at| of(at / features, at % features, rng.normal())).collect();
    Activations::new(format!("layer {seed}"), n, values)
}

/// Independent noise.
fn noise(n: usize, features: usize, seed: u64) -> Result<Activations> {
    layer(n, features, seed, |_, _, own| own)
}

fn main() -> Result<()> {
    let short = std::env::var_os("TRELLIS_SHORT_EXAMPLES").is_some();
    // ANCHOR: batch
    println!("1. Batch size. Two layers of 256 features that have nothing in common:\n");
    println!("{:>10} {:>12} {:>12}", "examples", "CKA", "debiased");
    let counts = if short { vec![16, 64] } else { vec![16, 64, 256, 1024] };
    for n in counts {
        let (x, y) = (noise(n, 256, 1)?, noise(n, 256, 2)?);
        println!("{n:>10} {:>12.3} {:>12.3}", Cka.compare(&x, &y)?, DebiasedCka.compare(&x, &y)?);
    }
    // ANCHOR_END: batch

    println!("\n2. Wide layers. 64 examples, nothing in common; the last column is sqrt(p/(p+n) q/(q+n)):\n");
    println!("{:>10} {:>12} {:>12} {:>12}", "features", "CKA", "debiased", "predicted");
    for p in [4, 16, 64, 256, 1024] {
        let (x, y) = (noise(64, p, 1)?, noise(64, p, 2)?);
        let predicted = p as f64 / (p + 64) as f64;
        println!("{p:>10} {:>12.3} {:>12.3} {predicted:>12.3}", Cka.compare(&x, &y)?, DebiasedCka.compare(&x, &y)?);
    }

    // ANCHOR: dominance
    println!(
        "\n3. One dominant direction. 400 examples, 32 features, of which the first is ten times as long as the others:\n"
    );
    println!("{:<34} {:>12} {:>12}", "in common", "CKA", "neighbors");
    let n = if short { 50 } else { 400 };
    let long = |feature, value: f32| if feature == 0 { 10.0 * value } else { value };
    let x = layer(n, 32, 1, |_, feature, own| long(feature, own))?;
    // A second layer takes the first feature from x, or all the others; the rest is noise of its own.
    let mut rng = Rng::new(1, 0);
    let of_x: Vec<f32> = (0..n * 32).map(|_| rng.normal()).collect();
    for (name, takes_first) in [("the long direction alone", true), ("the 31 others, not the long one", false)] {
        let y = layer(n, 32, 2, |example, feature, own| {
            long(feature, if (feature == 0) == takes_first { of_x[32 * example + feature] } else { own })
        })?;
        println!("{name:<34} {:>12.3} {:>12.3}", Cka.compare(&x, &y)?, MutualKnn.compare(&x, &y)?);
    }
    // ANCHOR_END: dominance

    // ANCHOR: null
    println!(
        "\n4. A value without its null. 64 examples; the examples of one side in 200 random orders say what chance gives:\n"
    );
    println!("{:<34} {:>8} {:>8} {:>11} {:>8}", "layers", "CKA", "chance", "calibrated", "p");
    let orders = permutations(64, 200, 1);
    let mut rng = Rng::new(3, 0);
    let shared: Vec<f32> = (0..64).map(|_| rng.normal()).collect();
    for (name, features, strength) in [
        ("wide, nothing in common", 512, 0.0),
        ("narrow, something in common", 8, 1.0),
        ("wide, something in common", 512, 0.2),
    ] {
        let side = |seed| layer(64, features, seed, |example, _, own| own + strength * shared[example]);
        let [x, y] = [Cka.prepare(&side(4)?)?, Cka.prepare(&side(5)?)?];
        let pair = SimilarityMatrix::measure(&[x], &[y], &orders)?.pairs[0];
        println!("{name:<34} {:>8.3} {:>8.3} {:>11.3} {:>8.3}", pair.value, pair.chance, pair.calibrated, pair.p);
    }
    // ANCHOR_END: null
    Ok(())
}
