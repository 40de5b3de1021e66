//! An op defined outside the crate. A backward rule that is wrong is refused where its gradients are recorded, and a
//! kernel that is wrong where it is compiled.

use trellis_rng::Rng;
use trellis_tensor::{
    Caps, DType, Dispatch, Error, Graph, Kernel, Lowered, Op, Plan, Result, TensorType, TestCase, Var, check_op,
};

use crate::gpu;

/// `y = x`, with a backward rule that makes the mistake.
#[derive(Clone, Copy, Debug)]
struct Twin(Mistake);

#[derive(Clone, Copy, Debug)]
enum Mistake {
    None,
    Scalar,
    F16,
    TwoGradients,
    NoGradient,
}

impl Op for Twin {
    fn name(&self) -> &'static str {
        "twin"
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<TensorType, String> {
        Ok((*inputs[0]).clone())
    }

    fn backward<'g>(&self, _x: &[Var<'g>], _y: Var<'g>, dy: Var<'g>) -> Result<Vec<Option<Var<'g>>>> {
        Ok(match self.0 {
            Mistake::None => vec![Some(dy)],
            Mistake::Scalar => vec![Some(dy.sum_all()?)],
            Mistake::F16 => vec![Some(dy.cast(DType::F16)?)],
            Mistake::TwoGradients => vec![Some(dy), Some(dy)],
            Mistake::NoGradient => vec![],
        })
    }

    fn lower(&self, _caps: &Caps, _inputs: &[&TensorType], output: &TensorType) -> Lowered {
        let kernel = Kernel { name: "twin", source: "// twin.wgsl\n#import indx\n" };
        Dispatch::linear(kernel, output.elements()).into()
    }

    fn reference(&self, inputs: &mut [Vec<f64>], _types: &[&TensorType], _output: &TensorType) -> Vec<f64> {
        inputs[0].clone()
    }

    fn sample(rng: &mut Rng) -> TestCase {
        TestCase::forward_only(Self(Mistake::None)).normal(rng, [2, 3])
    }
}

fn gradient(mistake: Mistake) -> Result<(), Error> {
    let graph = Graph::new();
    let x = graph.constant(1.0, [2, 3]);
    let y = {
        let _scope = graph.scope("fc1");
        graph.push(Twin(mistake), &[x])?
    };
    graph.grad(y.sum_all()?, &[x]).map(|_| ())
}

#[test]
fn a_backward_rule_that_is_wrong_is_refused() {
    gradient(Mistake::None).expect("the right rule");
    for (mistake, expected) in [
        (Mistake::Scalar, "returned f32[] as the gradient of input 0, which is f32[2, 3]"),
        (Mistake::F16, "returned f16[2, 3] as the gradient of input 0, which is f32[2, 3]"),
        (Mistake::TwoGradients, "returned 2 gradients for 1 inputs"),
        (Mistake::NoGradient, "returned 0 gradients for 1 inputs"),
    ] {
        let message = gradient(mistake).expect_err("a wrong rule").to_string();
        assert!(message.starts_with("the backward rule of twin in "), "{message}");
        assert!(message.contains("fc1") && message.contains(expected), "{message}");
    }
}

#[test]
fn a_kernel_with_a_mistyped_import_is_an_error() {
    let graph = Graph::new();
    let y = graph.push(Twin(Mistake::None), &[graph.constant(1.0, [2, 3])]).expect("recorded");
    let error = Plan::new(&gpu(), &graph, &[y]).err().expect("no such text").to_string();
    assert!(
        error.starts_with("twin.wgsl, line 2: #import of `indx`, which is none of ") && error.contains("index"),
        "{error}"
    );
}

/// `y = x³`, whole: what a user writes outside the crate.
#[derive(Clone, Copy, Debug)]
struct Cube {
    /// The factor of the backward rule, 3 where it is right.
    slope: f32,
}

impl Op for Cube {
    fn name(&self) -> &'static str {
        "cube"
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<TensorType, String> {
        match inputs {
            [x] if x.dtype == DType::F32 => Ok((*x).clone()),
            _ => Err(format!("takes one f32, not {inputs:?}")),
        }
    }

    fn backward<'g>(&self, x: &[Var<'g>], _: Var<'g>, dy: Var<'g>) -> Result<Vec<Option<Var<'g>>>> {
        Ok(vec![Some(x[0].mul(x[0])?.affine(self.slope, 0.0)?.mul(dy)?)])
    }

    fn lower(&self, _: &Caps, _: &[&TensorType], output: &TensorType) -> Lowered {
        let source = "#import grid\n\
            @group(0) @binding(0) var<uniform> n: u32;\n\
            @group(0) @binding(1) var<storage, read> x: array<f32>;\n\
            @group(0) @binding(2) var<storage, read_write> y: array<f32>;\n\
            @compute @workgroup_size(256)\n\
            fn cube(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,\n\
                    @builtin(local_invocation_index) local: u32) {\n\
                let i = linear_index(group, groups, local);\n\
                if (i < n) { y[i] = x[i] * x[i] * x[i]; }\n\
            }\n";
        let n = output.elements();
        Dispatch::linear(Kernel { name: "cube", source }, n).dims(&[n]).bind(1).flops(2 * n).into()
    }

    fn reference(&self, inputs: &mut [Vec<f64>], _: &[&TensorType], _: &TensorType) -> Vec<f64> {
        inputs[0].iter().map(|x| x.powi(3)).collect()
    }

    fn sample(rng: &mut Rng) -> TestCase {
        let n = 1 + rng.below(600);
        TestCase::new(|x| x[0].graph().push(Cube { slope: 3.0 }, x)).normal(rng, [n])
    }
}

/// The same with a wrong factor in its gradient.
#[derive(Clone, Copy, Debug)]
struct WrongCube;

impl Op for WrongCube {
    fn name(&self) -> &'static str {
        "wrong cube"
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<TensorType, String> {
        Cube { slope: 2.0 }.infer(inputs)
    }

    fn backward<'g>(&self, x: &[Var<'g>], y: Var<'g>, dy: Var<'g>) -> Result<Vec<Option<Var<'g>>>> {
        Cube { slope: 2.0 }.backward(x, y, dy)
    }

    fn lower(&self, caps: &Caps, inputs: &[&TensorType], output: &TensorType) -> Lowered {
        Cube { slope: 2.0 }.lower(caps, inputs, output)
    }

    fn reference(&self, inputs: &mut [Vec<f64>], types: &[&TensorType], output: &TensorType) -> Vec<f64> {
        Cube { slope: 2.0 }.reference(inputs, types, output)
    }

    fn sample(rng: &mut Rng) -> TestCase {
        let n = 1 + rng.below(600);
        TestCase::new(|x| x[0].graph().push(WrongCube, x)).normal(rng, [n])
    }
}

/// An op from outside the crate takes the checks of those inside.
#[test]
fn an_op_of_ones_own_is_checked_like_any_other() {
    check_op::<Cube>(&gpu()).expect("a kernel and a rule that are right");
    let error = check_op::<WrongCube>(&gpu()).expect_err("a factor of 2").to_string();
    assert!(error.starts_with("wrong cube, random case ") && error.contains("backward rule"), "{error}");
}
