//! 16-bit floats: how they are stored and rounded, and products of them.

use half::f16;
use trellis_rng::Rng;
use trellis_tensor::ops::Center;
use trellis_tensor::{DType, Gpu, Graph, Layout, Plan, Tensor, Var};

use crate::{gpu, gpu_with_gpu_kernels};

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

fn normal<'g>(gpu: &Gpu, graph: &'g Graph, shape: [usize; 2], stream: u64) -> Var<'g> {
    let mut rng = Rng::new(7, stream);
    let values: Vec<f32> = (0..shape[0] * shape[1]).map(|_| rng.normal()).collect();
    graph.leaf(&Tensor::from_f16(gpu, "x", shape, &values).expect("fits"))
}

/// Sizes of products: by fours and not; whole blocks of matrix units; an inner axis in parts; rows that are copied first.
const PRODUCTS: [[usize; 3]; 5] = [[5, 7, 9], [64, 32, 64], [65, 36, 12], [3, 4, 40_000], [128, 2048, 512]];

/// Products of f16 `lhs` and `rhs`, with both, either or no side widened to f32, and the first rounded to f16.
fn products(lhs: &Tensor, rhs: &Tensor, layout: Layout) -> [Vec<f32>; 5] {
    let graph = Graph::new();
    let [lhs, rhs] = [lhs, rhs].map(|x| graph.leaf(x).cast(DType::F16).expect("f32"));
    let [wide_lhs, wide_rhs] = [lhs, rhs].map(|x| x.cast(DType::F32).expect("f16"));
    let pairs = [(lhs, rhs), (wide_lhs, rhs), (lhs, wide_rhs), (wide_lhs, wide_rhs)];
    let [a, b, c, d] = pairs.map(|(lhs, rhs)| lhs.matmul(rhs, layout).expect("fits"));
    let half = lhs.matmul(rhs, layout).and_then(|product| product.cast(DType::F16)).expect("f32");
    let plan = Plan::new(&gpu(), &graph, &[a, b, c, d, half]).expect("fits");
    plan.run(1).expect("works");
    [a, b, c, d, half].map(|product| plan.read(product).expect("kept"))
}

/// Each product of two f16 numbers in f64, and the sum of the magnitudes of its terms.
fn exact(lhs: &[f32], rhs: &[f32], layout: Layout, [m, n, k]: [usize; 3]) -> Vec<(f64, f64)> {
    let lhs = |i: usize, l: usize| if layout == Layout::TN { lhs[l * m + i] } else { lhs[i * k + l] };
    let rhs = |l: usize, j: usize| if layout == Layout::NT { rhs[j * k + l] } else { rhs[l * n + j] };
    let term = |i: usize, j: usize, l: usize| f64::from(lhs(i, l)) * f64::from(rhs(l, j));
    let sums = |i: usize, j: usize| (0..k).fold((0.0, 0.0), |(s, t), l| (s + term(i, j, l), t + term(i, j, l).abs()));
    (0..m * n).map(|at| sums(at / n, at % n)).collect()
}

/// Runs `check` with the exact sums and the products of every size and layout, of values that `draw` gives.
fn each_product(draw: fn(&mut Rng) -> f32, check: impl Fn(&[(f64, f64)], &[Vec<f32>; 5], &str, usize)) {
    for [m, n, k] in PRODUCTS {
        for layout in [Layout::NN, Layout::NT, Layout::TN] {
            let values = |count: usize, stream| {
                let mut rng = Rng::new(16, stream);
                (0..count).map(|_| f16::from_f32(draw(&mut rng)).to_f32()).collect::<Vec<f32>>()
            };
            let (lhs, rhs) = (values(m * k, 1), values(k * n, 2));
            let sums = exact(&lhs, &rhs, layout, [m, n, k]);
            let tensor = |name, shape, values: &[f32]| Tensor::from_f32(&gpu(), name, shape, values).expect("fits");
            let lhs = tensor("lhs", if layout == Layout::TN { [k, m] } else { [m, k] }, &lhs);
            let rhs = tensor("rhs", if layout == Layout::NT { [n, k] } else { [k, n] }, &rhs);
            check(&sums, &products(&lhs, &rhs, layout), &format!("{layout:?} {m} {n} {k}"), k);
        }
    }
}

/// Whole numbers up to 15: every partial sum is exact in f32, so any order of adding gives the bits of f64.
#[test]
fn products_of_halves_are_exact_where_their_sums_are() {
    let whole = |rng: &mut Rng| rng.below(31) as f32 - 15.0;
    each_product(whole, |sums, products, name, _| {
        for (number, product) in products[..4].iter().enumerate() {
            assert!(product.iter().zip(sums).all(|(&v, (sum, _))| f64::from(v) == *sum), "{name}, product {number}");
        }
        let rounded = |(value, (sum, _)): (&f32, &(f64, f64))| *value == f16::from_f64(*sum).to_f32();
        assert!(products[4].iter().zip(sums).all(rounded), "{name} as f16");
    });
}

/// Any order of adding k products in f32 is off by less than `k u Σ |aᵢ bᵢ|`, u = 2⁻²⁴ (Higham, *Accuracy and Stability
/// of Numerical Algorithms*, section 3.1). Matrix units add in an order of their own.
#[test]
fn products_of_halves_are_within_the_bound_of_any_order() {
    each_product(Rng::normal, |sums, products, name, k| {
        let bound = |size: f64| 1.01 * k as f64 * 0.5_f64.powi(24) * size;
        for (number, product) in products[..4].iter().enumerate() {
            let near = |(&v, (sum, size)): (&f32, &(f64, f64))| (f64::from(v) - sum).abs() <= bound(*size);
            assert!(product.iter().zip(sums).all(near), "{name}, product {number}");
        }
        let near = |(&v, (sum, size)): (&f32, &(f64, f64))| {
            (f64::from(v) - sum).abs() <= bound(*size) + sum.abs() * 0.5_f64.powi(11) + 1e-7
        };
        assert!(products[4].iter().zip(sums).all(near), "{name} as f16");
    });
}

#[test]
fn grams_of_halves_are_those_of_the_same_numbers_in_f32() {
    for (n, p) in [(70, 9), (33, 64), (5, 40_000)] {
        for gpu in [gpu(), gpu_with_gpu_kernels()] {
            let graph = Graph::new();
            // Numbers whose sums are exact, for matrix units add up in an order of their own.
            let mut rng = Rng::new(3, 3);
            let values: Vec<f32> = (0..n * p).map(|_| (rng.below(4) as f32 - 1.0) / 16.0).collect();
            let x = graph.leaf(&Tensor::from_f16(&gpu, "x", [n, p], &values).expect("fits"));
            let grams = [x, x.cast(DType::F32).expect("f16")].map(|x| x.gram().expect("f32 or f16"));
            let squares = grams.map(|k| k.mul(k).and_then(Var::sum_all).expect("f32"));
            let [narrow, wide] = [0, 1].map(|i| graph.grad(squares[i], &[x]).expect("differentiable")[0]);
            let plan = Plan::new(&gpu, &graph, &[grams[0], grams[1], narrow, wide]).expect("fits");
            plan.run(1).expect("works");
            let read = |var| plan.read(var).expect("kept");
            assert!(read(grams[0]) == read(grams[1]), "{n} {p}");
            assert_eq!(narrow.ty().dtype, DType::F16);
            assert!(read(narrow) == read(wide), "{n} {p}, gradient");
        }
    }
}

/// CKA whose Gram matrices are products of f16: as good as f16 is, and no dispatch more than the casts.
#[test]
fn cka_of_halves_is_close_to_cka() {
    let graph = Graph::new();
    let leaf = |stream, offset: f32| {
        let mut rng = Rng::new(8, stream);
        let values: Vec<f32> = (0..40 * 64).map(|_| rng.normal() + offset).collect();
        graph.leaf(&Tensor::from_f32(&gpu(), "x", [40, 64], &values).expect("fits"))
    };
    // The offset is taken off before anything is rounded.
    let (x, y) = (leaf(1, 300.0), leaf(2, -20.0));
    let half =
        [x, y].map(|x| graph.push(Center, &[x]).and_then(|x| x.cast(DType::F16)).and_then(Var::gram).expect("fits"));
    let run = |[k, l]: [Var<'_>; 2]| {
        let value = Var::cka(k, l).expect("square").value;
        let gradient = graph.grad(value, &[x]).expect("differentiable")[0];
        let plan = Plan::new(&gpu(), &graph, &[value, gradient]).expect("fits");
        plan.run(1).expect("works");
        (plan.read(value).expect("kept")[0], plan.read(gradient).expect("kept"), plan.launches().len())
    };
    let (own, slopes, launches) = run(half);
    let (exact, wanted, fewer) = run([x, y].map(|x| x.centered_gram().expect("fits")));
    assert!((own - exact).abs() <= 1e-3, "{own} for {exact}");
    let largest = wanted.iter().fold(0.0f32, |largest, slope| largest.max(slope.abs()));
    let worst = wanted.iter().zip(&slopes).fold(0.0f32, |worst, (a, b)| worst.max((a - b).abs()));
    assert!(worst <= 5e-3 * largest, "{worst} of {largest}");
    assert_eq!(launches, fewer + 2);
}

/// Ops that follow a product are computed with it rounded to f16, in the product's own dispatch.
#[test]
fn casts_behind_a_product_cost_no_dispatch() {
    let run = |fused: bool| -> (usize, Vec<f32>) {
        let graph = Graph::new();
        let (x, w) = (normal(&gpu(), &graph, [20, 12], 4), normal(&gpu(), &graph, [16, 12], 5));
        let bias = graph.leaf(&Tensor::from_f32(&gpu(), "b", [16], &[0.1; 16]).expect("fits"));
        let product = x.matmul(w, Layout::NT).expect("fits");
        let half = product.cast(DType::F16).expect("f32");
        let back = half.cast(DType::F32).expect("f16");
        let out = back.add(bias).and_then(Var::tanh).and_then(|v| v.cast(DType::F16)).expect("legal");
        // Values that are kept are not fused.
        let keep = if fused { vec![out] } else { vec![out, product, half, back] };
        let plan = Plan::new(&gpu(), &graph, &keep).expect("fits");
        plan.run(1).expect("works");
        (plan.launches().len(), plan.read(out).expect("kept"))
    };
    let ((one, fused), (many, apart)) = (run(true), run(false));
    assert_eq!((one, many), (1, 6));
    assert_eq!(fused, apart);
}
