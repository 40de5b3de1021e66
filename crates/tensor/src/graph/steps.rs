//! The end of a step: a plan that updates parameters advances the step state that their update reads.

use std::any::Any;
use std::rc::Rc;

use crate::error::{Error, Result};
use crate::graph::{Graph, Kind, Node};
use crate::ops::{Advance, EndStep};
use crate::tensor::Tensor;

impl Graph {
    /// Requests that `state` be advanced at the end of a plan of this graph.
    pub(crate) fn request_advance(&self, state: &Tensor) -> Result<()> {
        let id = self.leaf(state).id;
        if self.advanced.borrow().contains(&id) {
            return Err(Error::AdvancedTwice { state: state.name().to_string() });
        }
        self.advanced.borrow_mut().push(id);
        Ok(())
    }

    /// Records the advance of each step state that an update of parameters reads, or that was requested, unless it is recorded
    /// already. Where metrics are the last to read the state, their op advances it too.
    pub(crate) fn end_steps(&self) -> Result<()> {
        let mut states = self.advanced.borrow().clone();
        for node in self.nodes.borrow().iter() {
            let Kind::Op(op) = &node.kind else { continue };
            let Some(state) = op.step_state().map(|input| node.inputs[input]) else { continue };
            if self.advanced.borrow().contains(&state) {
                let state = self.nodes.borrow()[state].layer.to_string();
                return Err(Error::AdvancedTwice { state });
            }
            if !states.contains(&state) {
                states.push(state);
            }
        }
        if let Some(state) = self.logged().into_iter().find(|state| !states.contains(state)) {
            return Err(Error::NotAdvanced { state: self.nodes.borrow()[state].layer.to_string() });
        }
        for state in states {
            if self.nodes.borrow().iter().any(|node| advances(node, state)) {
                continue;
            }
            let last = self.nodes.borrow().iter().rposition(|node| node.inputs.contains(&state));
            let metrics = last.and_then(|last| Some((last, end_step(&self.nodes.borrow()[last])?)));
            match metrics {
                Some((last, metrics)) => {
                    let op = EndStep { advance: true, ..metrics };
                    self.nodes.borrow_mut()[last].kind = Kind::Op(Rc::new(op));
                }
                None => {
                    self.push(Advance, &[self.var(state)])?;
                }
            }
        }
        Ok(())
    }

    /// Step states whose metrics are recorded, and that no op advances.
    fn logged(&self) -> Vec<usize> {
        let nodes = self.nodes.borrow();
        let states = nodes.iter().filter(|node| end_step(node).is_some()).map(|node| node.inputs[0]);
        states.filter(|&state| !nodes.iter().any(|node| advances(node, state))).collect()
    }
}

/// The op of a node that writes metrics.
fn end_step(node: &Node) -> Option<EndStep> {
    let Kind::Op(op) = &node.kind else { return None };
    let any: &dyn Any = op.as_ref();
    any.downcast_ref::<EndStep>().copied()
}

/// A node that advances `state`.
fn advances(node: &Node, state: usize) -> bool {
    let Kind::Op(op) = &node.kind else { return false };
    let any: &dyn Any = op.as_ref();
    let advance = any.is::<Advance>() || end_step(node).is_some_and(|metrics| metrics.advance);
    advance && node.inputs[0] == state
}
