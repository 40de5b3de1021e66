//! Plans that look at a target without changing it: answers on test images, Gram matrices, the answer to a drawing.

use trellis_guidance::network::{Captured, Mode};
use trellis_guidance::{BatchSource, Control, Dataset, Network, Result, Trainer};
use trellis_tensor::{Export, Graph, Plan, StepState, Tensor, Var};

use super::arms::Arm;
use crate::config::Config;

/// Number of test images whose Gram matrices a page shows.
pub(super) const COMPARED: usize = 64;

/// Adds the plans `ARM.look` and `ARM.draw`. The outputs of the first are `logits` and `labels` of the test split, and for each pair
/// of layers `target.N` and `guide.N`: centered Gram matrices `[n, n]` of the first test images. The second gives the `logits`
/// of the tensor `drawing`.
pub(super) fn record_look(
    export: &mut Export,
    data: &Dataset,
    target: &Network,
    guide: Option<&Network>,
    arm: &Arm,
    drawing: &Tensor,
    config: &Config,
) -> Result<()> {
    let capture = config.guidance_of(&arm.name).taps;
    let Some((_, split)) = data.splits().last() else { return Ok(()) };
    // It stays at step 0: every look is at the same images.
    let (graph, step_state) = (Graph::new(), StepState::new(data.gpu())?);
    let all = BatchSource::sequential(data, split, split.count())?.batch(&graph, &step_state)?;
    let logits = target.forward(&graph, all.input, Mode::Eval, capture)?.logits;
    let mut outputs = vec![("logits".to_string(), logits), ("labels".to_string(), all.labels)];
    if let Some(guide) = guide {
        let first = split.first(COMPARED);
        let few = BatchSource::sequential(data, &first, first.count())?.batch(&graph, &step_state)?;
        let ours = target.forward(&graph, few.input, Mode::Eval, capture)?.activations;
        let theirs = guide.forward(&graph, few.input, Mode::Eval, capture)?.activations;
        for (number, [of_guide, of_target]) in pairs(config, data, target, guide, arm)?.iter().enumerate() {
            let seen = match arm.control {
                Control::Input => few.input.images()?,
                _ => activation(&theirs, of_guide),
            };
            outputs.push((format!("guide.{number}"), seen.centered_gram()?));
            outputs.push((format!("target.{number}"), activation(&ours, of_target).centered_gram()?));
        }
    }
    let keep: Vec<Var<'_>> = outputs.iter().map(|(_, var)| *var).collect();
    let plan = Plan::new(data.gpu(), &graph, &keep)?;
    let named: Vec<_> = outputs.iter().map(|(name, var)| (name.as_str(), *var)).collect();
    export.plan(&format!("{}.look", arm.name), &plan, &named)?;

    let graph = Graph::new();
    let logits = target.forward(&graph, graph.leaf(drawing), Mode::Eval, capture)?.logits;
    let plan = Plan::new(data.gpu(), &graph, &[logits])?;
    export.plan(&format!("{}.draw", arm.name), &plan, &[("logits", logits)])?;
    Ok(())
}

/// Guide layer and target layer of each pair.
pub(super) fn pairs(
    config: &Config,
    data: &Dataset,
    target: &Network,
    guide: &Network,
    arm: &Arm,
) -> Result<Vec<[String; 2]>> {
    let guidance = config.guidance(&arm.name, guide.clone().freeze());
    Trainer::new(target, data, config.training(&arm.name, 0)).measured_against(guidance).pairs()
}

fn activation<'g>(of: &[Captured<'g>], name: &str) -> Var<'g> {
    of.iter().find(|layer| layer.name == name).expect("a pair names layers that were captured").value
}
