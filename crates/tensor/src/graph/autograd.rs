//! Reverse-mode differentiation of a graph: gradients are recorded into the same graph.
//!
//! Backward rules are naive and local (each op's file). This file has the global part, once: the values on a path to a wanted
//! gradient, and the sum of the gradients of a value that is used more than once.

use std::collections::HashMap;

use crate::error::{Error, Result};
use crate::graph::{Graph, Kind, Var};
use crate::shape::DType;

impl Graph {
    /// Records the gradients of `loss`, a single element, with respect to each of `wrt`.
    ///
    /// Only values between `wrt` and `loss` are visited: a frozen network costs nothing here. A value that `loss` does not
    /// depend on gets a constant zero.
    ///
    /// # Errors
    /// [`Error::Shape`] when `loss` is not a single element. [`Error::NotDifferentiable`] when a path leads through an op
    /// without a gradient. [`Error::Gradient`] when a backward rule returns another number of gradients than the op has inputs,
    /// or one of another shape or type than its input.
    pub fn grad<'g>(&'g self, loss: Var<'g>, wrt: &[Var<'g>]) -> Result<Vec<Var<'g>>> {
        self.grad_from(loss, self.constant(1.0, loss.shape()), wrt)
    }

    /// [`Graph::grad`] times `seed`, of the shape of `loss`.
    pub(crate) fn grad_from<'g>(&'g self, loss: Var<'g>, seed: Var<'g>, wrt: &[Var<'g>]) -> Result<Vec<Var<'g>>> {
        if loss.ty().elements() != 1 {
            let problem = format!("the loss must be a single element, not {}", loss.ty());
            return Err(Error::Shape { op: "grad", layer: loss.layer(), problem });
        }
        let needed = self.depends_on(wrt, loss.id());
        let forward = &self.nodes()[..=loss.id()];
        // Segments that are recomputed, by number: the stand-in of each value.
        let mut replayed: HashMap<u32, HashMap<usize, Var<'g>>> = HashMap::new();
        let mut gradients: Vec<Option<Var<'g>>> = vec![None; loss.id() + 1];
        gradients[loss.id()] = Some(seed);

        for id in (0..=loss.id()).rev() {
            let Some(dy) = gradients[id] else { continue };
            if !needed[id] {
                continue;
            }
            let node = &forward[id];
            // Gradients belong to the layer whose forward they undo.
            let _scope = self.scope(&format!("backward/{}", node.layer));
            let y = self.var(id);
            let x = y.inputs();
            let input_gradients = match &node.kind {
                Kind::Leaf(_) | Kind::Constant(_) => continue,
                Kind::Reshape => vec![Some(dy.reshape(x[0].shape())?)],
                Kind::Op(op) if node.segment == 0 => op.backward(&x, y, dy)?,
                Kind::Op(op) => {
                    let again = replayed.entry(node.segment).or_insert_with(|| self.replay(forward, node.segment));
                    let now = |var: Var<'g>| again.get(&var.id()).copied().unwrap_or(var);
                    let x: Vec<Var<'g>> = x.iter().copied().map(now).collect();
                    op.backward(&x, now(y), dy)?
                }
            };
            let wrong =
                |problem: String| Error::Gradient { op: node.op_name(), layer: node.layer.to_string(), problem };
            if input_gradients.len() != x.len() {
                let (given, inputs) = (input_gradients.len(), x.len());
                return Err(wrong(format!("returned {given} gradients for {inputs} inputs")));
            }
            for (number, (input, gradient)) in x.iter().zip(input_gradients).enumerate() {
                let Some(gradient) = gradient else { continue };
                if gradient.ty() != input.ty() {
                    let (given, wanted) = (gradient.ty(), input.ty());
                    return Err(wrong(format!(
                        "returned {given} as the gradient of input {number}, which is {wanted}"
                    )));
                }
                if !needed[input.id()] {
                    continue;
                }
                let slot = &mut gradients[input.id()];
                *slot = Some(match *slot {
                    None => gradient,
                    Some(sum) => add(sum, gradient)?,
                });
            }
        }
        let gradient = |var: &Var<'g>| match gradients.get(var.id()).copied().flatten() {
            Some(gradient) => Ok(gradient),
            None => self.constant(0.0, var.shape()).cast(var.ty().dtype),
        };
        wrt.iter().map(gradient).collect()
    }

    /// True for each value up to `last` that depends on one of `wrt`.
    fn depends_on(&self, wrt: &[Var<'_>], last: usize) -> Vec<bool> {
        let mut depends = vec![false; last + 1];
        for var in wrt.iter().filter(|var| var.id() <= last) {
            depends[var.id()] = true;
        }
        for (id, node) in self.nodes().iter().enumerate().take(last + 1) {
            depends[id] |= node.inputs.iter().any(|&input| depends[input]);
        }
        depends
    }
}

/// The sum of two gradients of one value. Those of an f16 value are f16; they are added in f32.
fn add<'g>(a: Var<'g>, b: Var<'g>) -> Result<Var<'g>> {
    let dtype = a.ty().dtype;
    a.cast(DType::F32)?.add(b.cast(DType::F32)?)?.cast(dtype)
}
