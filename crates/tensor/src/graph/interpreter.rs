//! The oracle: evaluates a graph on the CPU in f64, op by op, by each op's own definition. Rounding is no part of a definition:
//! an f16 value is kept in f64 too.

use crate::graph::{Graph, Kind, Var};
use crate::shape::{DType, TensorType};
use crate::tensor::Tensor;

/// Values of a graph's leaves and, after [`Interpreter::run`], of every recorded node.
#[derive(Default)]
pub struct Interpreter {
    leaves: Vec<(Tensor, Vec<f64>)>,
    values: Vec<Vec<f64>>,
}

impl Interpreter {
    /// An interpreter without known leaves.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets a leaf's values.
    pub fn set(&mut self, tensor: &Tensor, values: Vec<f64>) {
        assert_eq!(values.len(), tensor.ty().elements(), "{}", tensor.name());
        match self.leaves.iter_mut().find(|(leaf, _)| leaf.same(tensor)) {
            Some((_, old)) => *old = values,
            None => self.leaves.push((tensor.clone(), values)),
        }
    }

    /// Current values of a leaf: ops that update in place have written them.
    ///
    /// # Panics
    /// If the leaf was never set.
    pub(crate) fn leaf(&self, tensor: &Tensor) -> &[f64] {
        let found = self.leaves.iter().find(|(leaf, _)| leaf.same(tensor));
        &found.unwrap_or_else(|| panic!("{} was not set", tensor.name())).1
    }

    /// Evaluates every recorded node once.
    ///
    /// # Panics
    /// If the graph has a leaf that was not [`set`](Interpreter::set).
    pub fn run(&mut self, graph: &Graph) {
        let nodes = graph.nodes();
        self.values = Vec::with_capacity(nodes.len());
        for node in &nodes {
            let value = match &node.kind {
                Kind::Leaf(tensor) => self.leaf(tensor).to_vec(),
                Kind::Constant(value) => vec![f64::from(*value); node.ty.elements()],
                Kind::Reshape => self.values[node.inputs[0]].clone(),
                Kind::Op(op) => {
                    // A leaf is read as it is now: an update recorded earlier has already changed it.
                    let mut inputs: Vec<Vec<f64>> = node
                        .inputs
                        .iter()
                        .map(|&id| match &nodes[id].kind {
                            Kind::Leaf(tensor) => self.leaf(tensor).to_vec(),
                            _ => self.values[id].clone(),
                        })
                        .collect();
                    let types: Vec<&TensorType> = node.inputs.iter().map(|&id| &nodes[id].ty).collect();
                    let value = op.reference(&mut inputs, &types, &node.ty);
                    for &position in op.updates() {
                        if let Kind::Leaf(tensor) = &nodes[node.inputs[position]].kind {
                            self.set(tensor, std::mem::take(&mut inputs[position]));
                        }
                    }
                    value
                }
            };
            debug_assert_eq!(value.len(), node.ty.elements(), "{}", node.op_name());
            let float = matches!(node.ty.dtype, DType::F32 | DType::F16);
            debug_assert!(float || value.iter().all(|v| v.fract() == 0.0));
            self.values.push(value);
        }
    }

    /// The value of `var` in the last run.
    ///
    /// # Panics
    /// If the graph was not run since `var` was recorded.
    pub fn value(&self, var: Var<'_>) -> &[f64] {
        &self.values[var.id()]
    }
}
