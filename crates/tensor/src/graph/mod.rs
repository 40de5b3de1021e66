//! The graph: operations that are recorded, not run. Shape errors are found here.

pub(crate) mod autograd;
pub(crate) mod facts;
pub(crate) mod interpreter;
pub(crate) mod op;
pub(crate) mod recompute;
mod steps;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::fmt;
use std::rc::Rc;

use crate::error::{Error, Result};
use crate::graph::facts::Facts;
use crate::graph::op::Op;
use crate::shape::{Shape, TensorType};
use crate::tensor::Tensor;

/// A recording of operations. Nothing runs until a [`Plan`](crate::Plan) is made of it.
#[derive(Default)]
pub struct Graph {
    nodes: RefCell<Vec<Node>>,
    /// Node of each tensor that is a leaf, by [`Tensor::number`].
    leaves: RefCell<HashMap<usize, usize>>,
    scope: RefCell<Vec<Rc<str>>>,
    /// Number of the segment that is being recorded, 0 for none, and of the last one.
    pub(crate) segment: Cell<u32>,
    pub(crate) last_segment: Cell<u32>,
    /// Step states that are to be advanced at the end of a plan.
    advanced: RefCell<Vec<usize>>,
}

/// One recorded value.
#[derive(Clone)]
pub(crate) struct Node {
    pub(crate) kind: Kind,
    pub(crate) inputs: Vec<usize>,
    pub(crate) ty: TensorType,
    /// Scopes open when it was recorded, joined by `/`; the first is the phase in a profile.
    pub(crate) layer: Rc<str>,
    /// Segment that is recomputed for the backward pass; 0: the value is kept.
    pub(crate) segment: u32,
    /// Known facts.
    pub(crate) facts: Facts,
}

#[derive(Clone)]
pub(crate) enum Kind {
    /// Data that stays on the GPU between steps.
    Leaf(Tensor),
    /// A tensor filled with one value.
    Constant(f32),
    /// The same storage under another shape.
    Reshape,
    /// An operation.
    Op(Rc<dyn Op>),
}

impl Node {
    pub(crate) fn op_name(&self) -> &'static str {
        match &self.kind {
            Kind::Leaf(_) => "leaf",
            Kind::Constant(_) => "constant",
            Kind::Reshape => "reshape",
            Kind::Op(op) => op.name(),
        }
    }
}

/// A value in a graph. Copy it freely; it cannot outlive its graph.
#[derive(Clone, Copy)]
pub struct Var<'g> {
    graph: &'g Graph,
    id: usize,
}

/// Closes a scope when it is dropped. Made by [`Graph::scope`].
#[must_use = "the scope closes when this is dropped"]
pub struct Scope<'g> {
    graph: &'g Graph,
}

impl Drop for Scope<'_> {
    fn drop(&mut self) {
        self.graph.scope.borrow_mut().pop();
    }
}

impl Graph {
    /// An empty graph.
    pub fn new() -> Self {
        Self::default()
    }

    /// Opens a scope: nodes recorded until the guard drops belong to layer `name` of the scope around it. Errors, prints and
    /// profiles show the scopes.
    pub fn scope(&self, name: &str) -> Scope<'_> {
        self.scope.borrow_mut().push(name.into());
        Scope { graph: self }
    }

    /// The scopes now open, joined by `/`.
    pub fn layer(&self) -> String {
        self.scope.borrow().join("/")
    }

    /// A tensor as a value. The same tensor gives the same value.
    pub fn leaf(&self, tensor: &Tensor) -> Var<'_> {
        let known = self.leaves.borrow().get(&tensor.number()).copied();
        let id = known.unwrap_or_else(|| {
            let kind = Kind::Leaf(tensor.clone());
            self.add_node(kind, Vec::new(), tensor.ty().clone(), tensor.name().into()).id
        });
        self.leaves.borrow_mut().insert(tensor.number(), id);
        Var { graph: self, id }
    }

    /// An f32 tensor filled with `value`. It costs no dispatch.
    pub fn constant(&self, value: f32, shape: impl Into<Shape>) -> Var<'_> {
        self.add_node(Kind::Constant(value), Vec::new(), TensorType::f32(shape), self.layer().into())
    }

    /// Records `op` on `inputs`.
    ///
    /// # Errors
    /// [`Error::Shape`] when the inputs break the op's shape rule.
    pub fn push<'g, O: Op>(&'g self, op: O, inputs: &[Var<'g>]) -> Result<Var<'g>> {
        let types: Vec<TensorType> = inputs.iter().map(|input| input.ty()).collect();
        let types: Vec<&TensorType> = types.iter().collect();
        let ty = op.infer(&types).map_err(|problem| Error::Shape { op: op.name(), layer: self.layer(), problem })?;
        let ids = inputs.iter().map(|input| input.id).collect();
        let facts: Vec<Facts> = inputs.iter().map(|input| input.facts()).collect();
        let facts = op.facts(&facts);
        let var = self.add_node(Kind::Op(Rc::new(op)), ids, ty, self.layer().into());
        Ok(var.with_facts(facts))
    }

    pub(crate) fn add_node(&self, kind: Kind, inputs: Vec<usize>, ty: TensorType, layer: Rc<str>) -> Var<'_> {
        let mut nodes = self.nodes.borrow_mut();
        nodes.push(Node { kind, inputs, ty, layer, segment: self.segment.get(), facts: Facts::default() });
        Var { graph: self, id: nodes.len() - 1 }
    }

    /// Number of recorded values.
    pub fn len(&self) -> usize {
        self.nodes.borrow().len()
    }

    /// True if nothing is recorded.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(crate) fn var(&self, id: usize) -> Var<'_> {
        Var { graph: self, id }
    }

    pub(crate) fn node(&self, id: usize) -> Node {
        self.nodes.borrow()[id].clone()
    }

    pub(crate) fn nodes(&self) -> Vec<Node> {
        self.nodes.borrow().clone()
    }
}

/// One line for each value: `%7 = matmul %3 %5 : f32[128, 10]  target/logits`.
impl fmt::Display for Graph {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (id, node) in self.nodes.borrow().iter().enumerate() {
            write!(f, "%{id} = {}", node.op_name())?;
            if let Kind::Constant(value) = node.kind {
                write!(f, " {value}")?;
            }
            for input in &node.inputs {
                write!(f, " %{input}")?;
            }
            writeln!(f, " : {}  {}", node.ty, node.layer)?;
        }
        Ok(())
    }
}

impl<'g> Var<'g> {
    /// The graph that it belongs to.
    pub fn graph(self) -> &'g Graph {
        self.graph
    }

    /// Shape and element type.
    pub fn ty(self) -> TensorType {
        self.graph.nodes.borrow()[self.id].ty.clone()
    }

    /// Shape.
    pub fn shape(self) -> Shape {
        self.ty().shape
    }

    /// Scopes that were open when it was recorded, joined by `/`.
    pub(crate) fn layer(self) -> String {
        self.graph.nodes.borrow()[self.id].layer.to_string()
    }

    /// The same elements under another shape. It costs nothing.
    ///
    /// # Errors
    /// [`Error::Shape`] when the number of elements differs.
    pub fn reshape(self, shape: impl Into<Shape>) -> Result<Var<'g>> {
        let (from, to) = (self.ty(), shape.into());
        if from.shape == to {
            return Ok(self);
        }
        if from.elements() != to.elements() {
            let problem = format!("{} has {} elements, {to} has {}", from.shape, from.elements(), to.elements());
            return Err(Error::Shape { op: "reshape", layer: self.graph.layer(), problem });
        }
        if let Some(value) = self.as_constant() {
            return Ok(self.graph.constant(value, to));
        }
        let facts = self.facts().reshaped(&from.shape, &to);
        let ty = TensorType { shape: to, dtype: from.dtype };
        Ok(self.graph.add_node(Kind::Reshape, vec![self.id], ty, self.graph.layer().into()).with_facts(facts))
    }

    /// Folds all axes but the first into one: `[batch, …]` to `[batch, features]`.
    ///
    /// # Errors
    /// [`Error::Shape`] for a scalar.
    pub fn flatten(self) -> Result<Var<'g>> {
        let shape = self.shape();
        if shape.rank() == 0 {
            let problem = "a scalar has no batch axis".to_string();
            return Err(Error::Shape { op: "flatten", layer: self.graph.layer(), problem });
        }
        let features = shape[1..].iter().product();
        self.reshape([shape[0], features])
    }

    /// Known facts of this value.
    pub fn facts(self) -> Facts {
        self.graph.nodes.borrow()[self.id].facts
    }

    /// The same value with `facts` that its op, or the rule that recorded it, has stated.
    pub(crate) fn with_facts(self, facts: Facts) -> Self {
        self.graph.nodes.borrow_mut()[self.id].facts = facts;
        self
    }

    /// The value of a constant.
    pub(crate) fn as_constant(self) -> Option<f32> {
        match self.graph.nodes.borrow()[self.id].kind {
            Kind::Constant(value) => Some(value),
            _ => None,
        }
    }

    /// The op that made it.
    pub(crate) fn op(self) -> Option<Rc<dyn Op>> {
        match &self.graph.nodes.borrow()[self.id].kind {
            Kind::Op(op) => Some(op.clone()),
            _ => None,
        }
    }

    /// The value that this one reshapes.
    pub(crate) fn reshaped(self) -> Option<Var<'g>> {
        let is_reshape = matches!(self.graph.nodes.borrow()[self.id].kind, Kind::Reshape);
        is_reshape.then(|| self.inputs()[0])
    }

    pub(crate) fn inputs(self) -> Vec<Var<'g>> {
        let nodes = self.graph.nodes.borrow();
        nodes[self.id].inputs.iter().map(|&id| Var { graph: self.graph, id }).collect()
    }

    pub(crate) fn id(self) -> usize {
        self.id
    }

    /// The error for a backward rule that does not exist; `self` is the op's output.
    pub fn not_differentiable(self) -> Error {
        let node = self.graph.node(self.id);
        Error::NotDifferentiable { op: node.op_name(), layer: node.layer.to_string() }
    }
}

impl fmt::Debug for Var<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let node = self.graph.node(self.id);
        write!(f, "%{} {} {} {}", self.id, node.op_name(), node.ty, node.layer)
    }
}
