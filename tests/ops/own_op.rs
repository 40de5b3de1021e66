//! An op defined outside the crate: a backward rule that is wrong is refused where its gradients are recorded, and a kernel that
//! is wrong where it is compiled.

use trellis_tensor::rng::Rng;
use trellis_tensor::{
    Caps, DType, Dispatch, Error, Graph, Kernel, Lowered, Op, Plan, Registered, Result, Sample, TensorType, Var,
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

    fn sample(rng: &mut Rng) -> Sample {
        Sample::forward_only(Self(Mistake::None)).normal(rng, [2, 3])
    }
}

impl Registered for Twin {}

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
