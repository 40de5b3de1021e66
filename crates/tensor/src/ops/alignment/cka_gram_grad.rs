//! The gradient of CKA and that of a Gram matrix in one product, made by fusion.

use std::rc::Rc;

use crate::device::caps::Caps;
use crate::error::Result;
use crate::graph::Var;
use crate::graph::op::{Lowered, Op, TestCase};
use crate::ops::alignment::cka::CkaGrad;
use crate::ops::alignment::gram::FLOATS;
use crate::ops::alignment::gram_grad::{GramGrad, casts_of, grad_dispatch, grad_shapes};
use crate::ops::elementwise::cast::Stored;
use crate::shape::TensorType;
use trellis_rng::Rng;

/// `dX = 2 M X` where `M` is the gradient of CKA, computed while it is read: [`CkaGrad`] and [`GramGrad`] in one. Inputs: own
/// and other Gram matrix, CKA's statistics, gradient of the CKA value, activations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CkaGramGrad {
    /// The gradient is for CKA's second argument.
    pub right: bool,
    /// Storage type of the result.
    pub stored: Stored,
}

impl Op for CkaGramGrad {
    fn name(&self) -> &'static str {
        "cka_gram_grad"
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<TensorType, String> {
        let [own, other, stats, dc, x] = inputs else { return Err("takes five inputs".to_string()) };
        CkaGrad { right: self.right, centering: None }.infer(&[own, other, stats, dc])?;
        GramGrad { stored: self.stored }.infer(&[own, x])
    }

    fn backward<'g>(&self, _: &[Var<'g>], y: Var<'g>, _: Var<'g>) -> Result<Vec<Option<Var<'g>>>> {
        Err(y.not_differentiable())
    }

    fn lower(&self, caps: &Caps, inputs: &[&TensorType], _: &TensorType) -> Lowered {
        let dispatch = self.stored.on(grad_dispatch(caps, inputs[4]));
        dispatch.constant("CKA", 1).constant("RIGHT", u32::from(self.right)).bind(5).into()
    }

    fn reference(&self, inputs: &mut [Vec<f64>], types: &[&TensorType], output: &TensorType) -> Vec<f64> {
        let (cka, gram) = inputs.split_at_mut(4);
        let m = CkaGrad { right: self.right, centering: None }.reference(cka, &types[..4], types[0]);
        GramGrad::default().reference(&mut [m, gram[0].clone()], &[types[0], types[4]], output)
    }

    fn sample(rng: &mut Rng) -> TestCase {
        let (m, x) = grad_shapes(rng);
        let (right, casts, dtype) = (rng.below(2) == 0, rng.below(3), FLOATS[rng.below(2)]);
        let op = CkaGramGrad { right, stored: Stored::default() };
        let mut sample = TestCase::new(move |x| casts_of(x[0].graph().push(op, x)?, casts));
        sample.differentiable = false;
        sample.rounds_to_f16 = casts > 0;
        let mut stats = m[..m.len() - 2].to_vec();
        stats.push(8);
        let sample = sample.normal(rng, m.clone()).normal(rng, m).uniform(rng, stats, 0.5, 2.0);
        sample.normal(rng, []).normal_of(rng, dtype, x)
    }

    fn fuse_consumer(&self, consumer: &dyn Op, _: usize, own: &TensorType, _: &[&TensorType]) -> Option<Rc<dyn Op>> {
        let stored = self.stored.then(consumer, own.shape.last_axis(), true)?;
        Some(Rc::new(CkaGramGrad { stored, ..*self }))
    }
}
