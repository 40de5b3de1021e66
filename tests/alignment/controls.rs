//! Controls: each keeps of the guide's Gram matrices what it says, and takes the rest away.

use trellis_data::glyphs::glyphs;
use trellis_guidance::alignment::GuideSide;
use trellis_guidance::data::DrawnSequences;
use trellis_guidance::network::{Input, InputShape};
use trellis_guidance::trainer::guide_sides;
use trellis_guidance::{
    BatchSource, Cka, Cnn, Control, Dataset, Guidance, Metric, Network, Trainer, Training, Transformer,
};
use trellis_tensor::{Graph, Plan, StepState};

use crate::gpu;

/// Number of examples of a batch.
const N: usize = 24;

/// Gram matrix of one layer, as a control has it at `step`, and the batch: its input (ids as numbers) and labels.
fn gram(data: &Dataset, guide: &Network, control: Control, step: u32) -> (Vec<f32>, Vec<f32>, Vec<u32>) {
    let guidance = Guidance::new(guide.clone().freeze()).control(control);
    let (graph, step_state) = (Graph::new(), StepState::new(data.gpu()).expect("fits"));
    let mut batches = BatchSource::sequential(data, data.train(), N).expect("fits");
    let batch = batches.batch(&graph, &step_state).expect("fits");
    let draws = Some((&step_state, 7));
    let sides = guide_sides(&graph, data.gpu(), &batch, data.output(), &guidance, &[(1, 0)], draws).expect("fits");
    let gram = match sides[0] {
        GuideSide::Activations(layer) => Metric::from(Cka::linear()).gram(layer).expect("fits"),
        GuideSide::Gram(gram) => gram,
    };
    let (Input::Images(values) | Input::Tokens(values, _)) = batch.input;
    let tokens = matches!(batch.input, Input::Tokens(..));
    step_state.advance(&graph).expect("once");
    let plan = Plan::new(data.gpu(), &graph, &[gram, values, batch.labels]).expect("fits");
    step_state.set(step).expect("fits");
    batches.prepare(step, 1).expect("reads");
    plan.run(1).expect("runs");
    let words = |var| plan.read_u32(var).expect("kept");
    let values =
        if tokens { words(values).iter().map(|&id| id as f32).collect() } else { plan.read(values).expect("kept") };
    (plan.read(gram).expect("kept"), values, words(batch.labels))
}

/// Centered Gram matrix of rows, in f64.
fn centered(rows: &[Vec<f64>]) -> Vec<f64> {
    let n = rows.len();
    let means: Vec<f64> = (0..rows[0].len()).map(|at| rows.iter().map(|row| row[at]).sum::<f64>() / n as f64).collect();
    let product = |a: &[f64], b: &[f64]| a.iter().zip(b).zip(&means).map(|((a, b), m)| (a - m) * (b - m)).sum::<f64>();
    (0..n * n).map(|at| product(&rows[at / n], &rows[at % n])).collect()
}

/// Eigenvalues of a symmetric matrix in order, by Jacobi's rotations.
fn spectrum(matrix: &[f32]) -> Vec<f64> {
    let n = matrix.len().isqrt();
    let mut a: Vec<f64> = matrix.iter().map(|&value| f64::from(value)).collect();
    for _ in 0..30 {
        for (p, q) in (0..n).flat_map(|p| (p + 1..n).map(move |q| (p, q))) {
            let theta = 0.5 * (2.0 * a[p * n + q]).atan2(a[q * n + q] - a[p * n + p]);
            let (sine, cosine) = theta.sin_cos();
            for k in 0..n {
                let (x, y) = (a[k * n + p], a[k * n + q]);
                (a[k * n + p], a[k * n + q]) = (cosine * x - sine * y, sine * x + cosine * y);
            }
            for k in 0..n {
                let (x, y) = (a[p * n + k], a[q * n + k]);
                (a[p * n + k], a[q * n + k]) = (cosine * x - sine * y, sine * x + cosine * y);
            }
        }
    }
    let mut values: Vec<f64> = (0..n).map(|i| a[i * n + i]).collect();
    values.sort_by(f64::total_cmp);
    values
}

/// Cosine between two matrices: CKA of centered ones.
fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}

fn near(a: &[f64], b: &[f64], what: &str) {
    let scale = a.iter().fold(0.0_f64, |most, value| most.max(value.abs()));
    let worst = a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
    assert!(a.len() == b.len() && worst < 1e-5 * scale, "{what}: {worst:e} of {scale}");
}

fn wide(values: &[f32]) -> Vec<f64> {
    values.iter().map(|&value| f64::from(value)).collect()
}

fn check(data: &Dataset, guide: &Network, one_hot_input: Option<usize>) {
    let of = |control| gram(data, guide, control, 0);
    let (plain, input, labels) = of(Control::None);
    let values = spectrum(&plain);

    let (permuted, ..) = of(Control::Permuted);
    let expected: Vec<f32> = (0..N * N).map(|at| plain[(at / N + 1) % N * N + (at % N + 1) % N]).collect();
    near(&wide(&expected), &wide(&permuted), "rows of the next example");
    near(&values, &spectrum(&permuted), "the spectrum stays");

    let (rotated, ..) = of(Control::Rotated);
    near(&values, &spectrum(&rotated), "the spectrum stays");
    let largest = plain.iter().fold(0.0_f32, |most, value| most.max(value.abs()));
    assert!(rotated.chunks(N).all(|row| row.iter().sum::<f32>().abs() < 1e-4 * largest), "centered");
    let refused = Guidance::new(guide.clone().freeze()).align(Cka::linear().debiased()).control(Control::Rotated);
    let training = Training { batch: N, ..Training::new(2) };
    let error = Trainer::new(guide, data, training).guided_by(refused).run().expect_err("not centered");
    assert!(error.to_string().contains("choose another control"), "{error}");
    assert!(cosine(&plain, &rotated) < 0.8 && cosine(&plain, &permuted) < 0.8, "the correspondence goes");

    let (noise, ..) = of(Control::Noise);
    assert!(cosine(&plain, &noise) < 0.8);
    assert_eq!(noise, of(Control::Noise).0, "the same at the same step");
    assert_ne!(noise, gram(data, guide, Control::Noise, 1).0, "another one at the next");

    let rows = |values: &[f32]| -> Vec<Vec<f64>> { values.chunks(values.len() / N).map(wide).collect() };
    let hot = |ids: &[u32], classes: usize| -> Vec<Vec<f64>> {
        let one = |&id: &u32| (0..classes).map(move |class| f64::from(u8::from(class == id as usize)));
        ids.chunks(ids.len() / N).map(|ids| ids.iter().flat_map(one).collect()).collect()
    };
    let seen = match one_hot_input {
        Some(vocabulary) => hot(&input.iter().map(|&id| id as u32).collect::<Vec<_>>(), vocabulary),
        None => rows(&input),
    };
    near(&centered(&seen), &wide(&of(Control::Input).0), "the input");
    near(&centered(&hot(&labels, data.output().classes)), &wide(&of(Control::Labels).0), "the labels");
}

#[test]
fn controls_of_images_do_what_they_say() {
    let parts = glyphs(60, 16, 1).split(&[40, 20], 0).expect("enough");
    let data = Dataset::new(&gpu(), &parts[0], None, Some(&parts[1])).expect("fits");
    check(&data, &Network::new(Cnn::new(&[4, 8]), &data, 5).expect("fits"), None);
}

#[test]
fn controls_of_tokens_do_what_they_say() {
    let drawn = DrawnSequences::copy_paste(4, [4, 4], 1).expect("sane");
    let data = Dataset::drawn(&gpu(), drawn, [40, 0, 20]).expect("fits");
    let guide =
        Network::new(Transformer { layers: 2, width: 8, heads: 2, hidden: 8, ..Transformer::default() }, &data, 5);
    let InputShape::Tokens(tokens) = data.input() else { panic!("tokens") };
    check(&data, &guide.expect("fits"), Some(tokens.vocabulary));
}
