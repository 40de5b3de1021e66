//! 16-bit floats: how they are stored and rounded, and training with them.

use half::f16;
use trellis_tensor::rng::Rng;
use trellis_tensor::{DType, Graph, Plan, Tensor, Var};

use crate::gpu;

/// Numbers at which rounding is decided, and a few thousand of every size.
fn numbers() -> Vec<f32> {
    let edges = [
        0.0,
        1.0,
        65503.99,
        65504.0,
        65519.996, // rounds to 65504
        65520.0,   // to infinity
        65536.0,
        1e9,
        f32::MAX,
        f32::INFINITY,
        f32::NAN,
        6.103_515_6e-5, // the smallest normal f16
        6.097_555e-5,   // the largest denormal
        6.1005354e-5,   // between the two
        5.960_464_5e-8, // the smallest denormal
        2.980_232_2e-8, // half of it: a tie, to even, 0
        2.980_233e-8,
        1e-8,
        f32::MIN_POSITIVE,
        1e-42,
        1.000_488_3, // a tie, to even, 1
        1.001_464_8, // a tie, to even, upwards
    ];
    let mut rng = Rng::new(16, 0);
    let mut all: Vec<f32> = edges.iter().flat_map(|&v| [v, -v]).collect();
    all.extend((0..4001).map(|_| rng.normal() * 2.0f32.powi(rng.below(46) as i32 - 28)));
    all
}

fn same(a: f32, b: f32) -> bool {
    a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan())
}

#[test]
fn a_cast_rounds_as_ieee_754_does() {
    let values = numbers();
    let n = values.len();
    assert_eq!(n % 2, 1, "the last word holds one number");
    let graph = Graph::new();
    let x = graph.leaf(&Tensor::from_f32(&gpu(), "x", [n], &values).expect("fits"));
    let half = x.cast(DType::F16).expect("f32");
    let back = half.cast(DType::F32).expect("f16");
    let plan = Plan::new(&gpu(), &graph, &[half, back]).expect("fits");
    plan.run(1).expect("works");
    let (half, back) = (plan.read(half).expect("kept"), plan.read(back).expect("kept"));
    for ((&value, half), back) in values.iter().zip(half).zip(back) {
        let wanted = f16::from_f32(value).to_f32();
        assert!(same(half, wanted), "{value:e} is {half:e} in f16, not {wanted:e}");
        assert!(same(back, wanted), "{value:e} comes back as {back:e}, not {wanted:e}");
    }
}

/// Every one of the 65,536 bit patterns.
#[test]
fn every_half_is_read_and_written_back() {
    let values: Vec<f32> = (0..=u16::MAX).map(|bits| f16::from_bits(bits).to_f32()).collect();
    let tensor = Tensor::from_f16(&gpu(), "x", [65_536], &values).expect("fits");
    assert_eq!(tensor.ty().bytes(), 2 * 65_536);
    assert!(tensor.read_f16().expect("works").iter().zip(&values).all(|(&a, &b)| same(a, b)));
    let graph = Graph::new();
    let wide = graph.leaf(&tensor).cast(DType::F32).expect("f16");
    let again = wide.cast(DType::F16).expect("f32");
    let plan = Plan::new(&gpu(), &graph, &[wide, again]).expect("fits");
    plan.run(1).expect("works");
    for var in [wide, again] {
        let read = plan.read(var).expect("kept");
        let wrong = read.iter().zip(&values).find(|(a, b)| !same(**a, **b));
        assert!(wrong.is_none(), "{wrong:?}");
    }
}

#[test]
fn odd_numbers_of_halves_fill_whole_words() {
    let tensor = Tensor::from_f16(&gpu(), "x", [3], &[1.0, 2.0, 1e6]).expect("fits");
    assert_eq!(tensor.ty().bytes(), 8);
    assert_eq!(tensor.read_f16().expect("works"), [1.0, 2.0, f32::INFINITY]);
    assert!(Tensor::from_f16(&gpu(), "x", [3], &[1.0]).is_err());
}

#[test]
fn what_takes_f32_refuses_f16() {
    let graph = Graph::new();
    let x = graph.leaf(&Tensor::from_f16(&gpu(), "x", [2, 2], &[1.0; 4]).expect("fits"));
    for (what, result) in [
        ("relu", x.relu()),
        ("add", x.add(x)),
        ("sum", x.sum_all()),
        ("concat", Var::concat(&[x, x], 0)),
        ("center", x.centered_gram()),
        ("slice", x.slice(0, 0, 1)),
        ("softmax", x.softmax()),
    ] {
        assert!(result.err().is_some_and(|error| error.to_string().contains("f32")), "{what}");
    }
    assert!(graph.leaf(&Tensor::from_u32(&gpu(), "i", [1], &[0]).expect("fits")).cast(DType::F16).is_err());
}

/// A value used twice: its gradients are added in f32 and kept in f16.
#[test]
fn gradients_of_an_f16_value_are_f16() {
    let graph = Graph::new();
    let x = graph.leaf(&Tensor::from_f16(&gpu(), "x", [3], &[1.0, 2.0, 3.0]).expect("fits"));
    let (a, b) = (x.cast(DType::F32).expect("f16"), x.cast(DType::F32).expect("f16"));
    let loss = a.mul(b).and_then(Var::sum_all).expect("f32");
    let unused = graph.leaf(&Tensor::from_f16(&gpu(), "y", [2], &[1.0; 2]).expect("fits"));
    let gradients = graph.grad(loss, &[x, unused]).expect("differentiable");
    assert!(gradients.iter().all(|gradient| gradient.ty().dtype == DType::F16));
    let plan = Plan::new(&gpu(), &graph, &gradients).expect("fits");
    plan.run(1).expect("works");
    assert_eq!(plan.read(gradients[0]).expect("kept"), [2.0, 4.0, 6.0]);
    assert_eq!(plan.read(gradients[1]).expect("kept"), [0.0, 0.0]);
}
