//! The picture of `trellis similarity`.

use crate::similarity::measures::{Activations, Agreement, SimilarityMatrix, SimilarityMeasure, permutations};
use trellis_rng::Rng;

use crate::report::heat_map_svg;
use crate::similarity::Comparison;

/// Layers of two networks, the rows noisier from one to the next, so that some are like none.
fn comparison(rows: usize, columns: usize) -> Comparison {
    let (n, measure) = (24, SimilarityMeasure::Cka);
    let layers = |side: u64, count: usize, name: &dyn Fn(usize) -> String| {
        let layer = |at: usize| {
            let (mut common, mut own) = (Rng::new(1, 0), Rng::new(2 + side, at as u64));
            let noise = side as f32 * 8.0 * at as f32 / count as f32;
            let values = (0..4 * n).map(|_| common.normal() + noise * own.normal() + 0.1 * own.normal()).collect();
            measure.prepare(&Activations::new(name(at), n, values).unwrap()).unwrap()
        };
        (0..count).map(layer).collect::<Vec<_>>()
    };
    let rows = layers(1, rows, &|at| format!("features.blocks.{at}.attention.projection<out>"));
    let columns = layers(0, columns, &|at| format!("layer{at}"));
    let matrix = SimilarityMatrix::measure(&rows, &columns, &permutations(n, 19, 1)).unwrap();
    let agreement = Agreement { labels: n, top1: [0.5, 0.5], agreement: 0.5, kappa: None };
    Comparison {
        measure,
        permutations: 19,
        names: ["a & b:alone:1".into(), "c:guide:1".into()],
        data: "glyphs16".into(),
        split: "test",
        examples: n,
        matrix,
        agreement,
        left_out: [Vec::new(), Vec::new()],
        notes: Vec::new(),
    }
}

/// Attribute of an element.
fn number(element: &str, key: &str) -> f64 {
    let from = element.find(&format!(" {key}=\"")).map(|at| at + key.len() + 3).expect("an attribute");
    element[from..].split('"').next().and_then(|number| number.parse().ok()).expect("a number")
}

#[test]
fn text_of_a_heat_map_does_not_overlap_and_stays_inside() {
    for (rows, columns) in [(1, 1), (3, 5), (12, 12), (40, 4), (4, 90), (120, 120)] {
        let compared = comparison(rows, columns);
        let svg = heat_map_svg(&compared);
        if let Ok(folder) = std::env::var("TRELLIS_PICTURES") {
            std::fs::write(format!("{folder}/heat-{rows}-{columns}.svg"), &svg).unwrap();
        }
        let (width, height) = (number(&svg, "width"), number(&svg, "height"));
        let texts: Vec<&str> = svg.lines().filter_map(|line| line.find("<text").map(|at| &line[at..])).collect();
        // Rows of names at the left end at the squares; lines above and below begin at the margin.
        let mut names: Vec<f64> = texts.iter().filter(|t| t.contains("\"end\"")).map(|t| number(t, "y")).collect();
        assert!(!names.is_empty() && names.len() <= rows);
        names.sort_by(f64::total_cmp);
        assert!(names.windows(2).all(|pair| pair[1] - pair[0] >= 12.0), "{rows} x {columns}: {names:?}");
        for text in &texts {
            let (x, y) = (number(text, "x"), number(text, "y"));
            assert!((0.0..width).contains(&x) && (0.0..height).contains(&y), "{rows} x {columns}: {text}");
        }
        let significant = compared.matrix.pairs.iter().filter(|pair| pair.is_significant()).count();
        let numbered = texts.iter().filter(|text| text.contains("\"11\"")).count();
        assert_eq!(numbered, if rows.max(columns) <= 17 { significant } else { 0 }, "{rows} x {columns}");
        assert_eq!(svg.matches("calibrated, ").count(), rows * columns);
        assert!(svg.contains("a &amp; b:alone:1") && !svg.contains("<out>") && svg.contains("projection&lt;out&gt;"));
    }
}
