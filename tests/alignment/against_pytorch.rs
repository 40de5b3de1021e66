//! Measures and their gradients against PyTorch.

use trellis_guidance::{Cka, Ridge, Rsa, Tokens};

use super::measures::Measure::ByFeatures;
use super::measures::{Compared, Measure, compare, compare_shaped, largest};

/// Cases that `golden/alignment.py` wrote.
fn golden(part: &str) -> Vec<serde_json::Value> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/alignment.json");
    let text = std::fs::read_to_string(path).expect("checked in");
    let all: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    all[part].as_array().expect("cases").clone()
}

fn numbers(value: &serde_json::Value) -> Vec<f32> {
    value.as_array().expect("an array").iter().map(|v| v.as_f64().expect("a number") as f32).collect()
}

fn assert_golden(name: &str, got: &Compared, wanted: &serde_json::Value) {
    let value = wanted["value"].as_f64().expect("a number") as f32;
    assert!((got.value - value).abs() <= 1e-4 * value.abs(), "{name}: {} for {value}", got.value);
    let gradients = [(&got.gradient, "gradient"), (&got.gradient_y, "gradient_y")];
    for (gradient, which) in gradients {
        let wanted = numbers(&wanted[which]);
        assert_eq!(gradient.len(), wanted.len());
        for (a, b) in gradient.iter().zip(&wanted) {
            assert!((a - b).abs() <= 1e-4 * largest(&wanted), "{name}, {which}: {a} for {b}");
        }
    }
}

/// Values and gradients by PyTorch in float64, from formulas written another way: see `golden/alignment.py`.
#[test]
fn every_measure_agrees_with_pytorch() {
    let named: [(&str, Measure); 8] = [
        ("cka", Cka::linear().into()),
        ("cka", ByFeatures),
        ("cka_debiased", Cka::linear().debiased().into()),
        ("rbf_cka", Cka::rbf(0.8).into()),
        ("rbf_cka_debiased", Cka::rbf(0.8).debiased().into()),
        ("rsa_cosine", Rsa::Cosine.into()),
        ("rsa_pearson", Rsa::Pearson.into()),
        ("ridge", Ridge::new(0.1).into()),
    ];
    for case in golden("cases") {
        let n = case["n"].as_u64().expect("a number") as usize;
        assert_eq!(case["measures"].as_object().expect("measures").len(), named.len() - 1);
        for (name, measure) in &named {
            let compared = compare(measure.clone(), &numbers(&case["x"]), &numbers(&case["y"]), n);
            assert_golden(&format!("{measure}, n {n}"), &compared, &case["measures"][*name]);
        }
    }
}

/// PyTorch loops over the time steps.
#[test]
fn each_time_step_is_compared_with_its_own() {
    let named: [(&str, Measure); 5] = [
        ("cka", Cka::linear().tokens(Tokens::PerTimestep).into()),
        ("cka_debiased", Cka::linear().debiased().tokens(Tokens::PerTimestep).into()),
        ("rbf_cka", Cka::rbf(0.8).tokens(Tokens::PerTimestep).into()),
        ("rbf_cka_debiased", Cka::rbf(0.8).debiased().tokens(Tokens::PerTimestep).into()),
        ("cka_flattened", Cka::linear().into()),
    ];
    for case in golden("sequences") {
        let [n, time] = ["n", "time"].map(|key| case[key].as_u64().expect("a number") as usize);
        assert_eq!(case["measures"].as_object().expect("measures").len(), named.len());
        let (x, y) = (numbers(&case["x"]), numbers(&case["y"]));
        let shape = |v: &[f32]| [n, time, v.len() / n / time];
        for (name, measure) in &named {
            let compared = compare_shaped(measure, (&shape(&x), &x), (&shape(&y), &y));
            assert_golden(&format!("{measure}, n {n}, time {time}"), &compared, &case["measures"][*name]);
        }
    }
}
