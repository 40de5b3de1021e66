//! Profile of a training step: where its time goes, and how far each dispatch is from what the adapter could do.
//!
//! The ceilings are measured first, on the same adapter in the same process. They are bytes per second of a copy, and
//! multiply-adds per second of a kernel that does nothing else. The floor of a dispatch is the longer of the times that
//! its bytes and its operations need at those rates (the roofline model, Williams et al. 2009). Bytes are those that a
//! dispatch must read and write at least once; caches may make it faster than that.
//!
//! Read next: `ceilings.rs`, `bound.rs`, `loading.rs`, `page.rs` and `roofline.rs` for the HTML page, `trace.rs` for Perfetto, `compare.rs`.

mod bound;
mod ceilings;
mod compare;
mod group;
mod loading;
mod page;
mod roofline;
mod spans;
mod trace;

use std::time::Instant;

use serde::{Deserialize, Serialize};
use trellis_tensor::{LaunchInfo, LaunchTime, Plan};

pub use bound::Bound;
pub use ceilings::Ceilings;
pub use compare::{Change, compare};
pub use group::Group;
pub use loading::Loading;
use loading::WARM_UP;
use spans::spans;
pub use spans::{Per, Span};
use trellis_guidance::{BatchSource, Dataset, Guidance, Network, Result, Session, Training};

/// One profiled step. All times are medians.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Profile {
    /// Name of what was profiled.
    pub name: String,
    /// The adapter.
    pub adapter: String,
    /// Version of Trellis.
    pub version: String,
    /// Steps that were timed.
    pub steps: usize,
    /// Ceilings of the adapter.
    pub ceilings: Ceilings,
    /// Wall-clock milliseconds of a step that is not profiled, many submitted at once.
    pub step_ms: f64,
    /// Rate of the threads that read a streamed data set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loading: Option<Loading>,
    /// CPU milliseconds to encode one step.
    pub encode_ms: f64,
    /// CPU milliseconds to submit it.
    pub submit_ms: f64,
    /// The most bytes in use at once.
    pub memory_peak: u64,
    /// Bytes in use by name, most first.
    pub memory: Vec<(String, u64)>,
    /// Every dispatch of the step, in order; empty where spans were timed.
    pub launches: Vec<Launch>,
    /// Spans of neighboring dispatches of one phase, in order, where no more was timed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub spans: Vec<Span>,
}

/// One dispatch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Launch {
    /// The op.
    pub op: String,
    /// The kernel and what it was compiled with, for example `matmul SUBGROUP LHS_K4`: the loop that was chosen.
    pub kernel: String,
    /// The layer in which it was recorded.
    pub layer: String,
    /// The part of the step.
    pub phase: Phase,
    /// Workgroups.
    pub groups: [u32; 3],
    /// Milliseconds.
    pub ms: f64,
    /// Floating-point operations.
    pub flops: u64,
    /// Bytes that must be read or written at least once.
    pub bytes: u64,
    /// A barrier stands in front of it: it waits until every dispatch before it has ended.
    #[serde(default)]
    pub barrier: bool,
    /// Limit of its time; `None` in profiles of versions that did not tell.
    #[serde(default)]
    pub bound: Option<Bound>,
}

/// Parts of a training step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Drawing and augmenting the batch.
    Data,
    /// The target's forward pass.
    TargetForward,
    /// The guide's forward pass.
    GuideForward,
    /// The alignment loss and its gradient, up to the target's activations.
    Alignment,
    /// The rest of the backward pass.
    Backward,
    /// The optimizer.
    Optimizer,
    /// The task loss, metrics, the step state.
    Other,
}

impl Phase {
    /// Every phase, in the order of a step.
    pub const ALL: [Self; 7] = [
        Self::Data,
        Self::TargetForward,
        Self::GuideForward,
        Self::Alignment,
        Self::Backward,
        Self::Optimizer,
        Self::Other,
    ];

    /// The phase of a launch that was recorded in `layer`: see [`Session`] for the scopes.
    fn of(layer: &str) -> Self {
        let backward = layer.strip_prefix("backward/");
        match (backward.unwrap_or(layer).split('/').next(), backward) {
            (Some("alignment"), _) => Self::Alignment,
            (_, Some(_)) => Self::Backward,
            (Some("data"), _) => Self::Data,
            (Some("target"), _) => Self::TargetForward,
            (Some("guide"), _) => Self::GuideForward,
            (Some("optimizer"), _) => Self::Optimizer,
            _ => Self::Other,
        }
    }

    /// Its name in tables.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Data => "data",
            Self::TargetForward => "target forward",
            Self::GuideForward => "guide forward",
            Self::Alignment => "alignment",
            Self::Backward => "backward",
            Self::Optimizer => "optimizer",
            Self::Other => "other",
        }
    }
}

impl Profile {
    /// Times `steps` steps of the training of `target`, pulled by no guide, one or several. They are steps like others: the
    /// parameters move.
    ///
    /// # Errors
    /// [`trellis_tensor::Error::Device`] on an adapter without timestamps; else as [`Session::new`].
    pub fn measure<'g>(
        name: &str,
        target: &Network,
        data: &Dataset,
        training: Training,
        guides: impl IntoIterator<Item = &'g Guidance>,
        steps: usize,
        per: Per,
    ) -> Result<Self> {
        let gpu = data.gpu();
        let training = Training { steps: training.steps.max((WARM_UP + steps) as u32 + 1), ..training };
        let mut session = Session::new(target, data, training, guides)?;
        let loading = match data.is_streamed() {
            true => {
                let mut batches = BatchSource::shuffled(data, training.batch, training.seed)?;
                Some(Loading::measure(&mut session, &mut batches, steps)?)
            }
            false => None,
        };
        let plan = session.plan().expect("a training has steps");
        let (memory, memory_peak) = gpu.memory_by_name();
        let step_ms = wall_ms(plan, steps, gpu)?;
        let ceilings = Ceilings::measure(gpu)?;
        let (launches, spans, encode, submit) = match per {
            Per::Dispatch => {
                let time = plan.profile(steps)?;
                let bounded = |launch: Launch| Launch { bound: Some(Bound::of(&launch, &ceilings)), ..launch };
                let launches = time.launches.into_iter().map(Launch::from).map(bounded);
                (launches.collect(), Vec::new(), time.encode, time.submit)
            }
            Per::Phase => {
                let mut spans = spans(plan.launches(), &ceilings);
                let ends = spans.iter().scan(0, |end, span| {
                    *end += span.dispatches;
                    Some(*end)
                });
                let time = plan.profile_spans(steps, &ends.collect::<Vec<_>>())?;
                spans.iter_mut().zip(time.nanoseconds).for_each(|(span, nanoseconds)| span.ms = nanoseconds / 1e6);
                (Vec::new(), spans, time.encode, time.submit)
            }
        };
        Ok(Self {
            name: name.to_string(),
            adapter: gpu.name().to_string(),
            version: env!("CARGO_PKG_VERSION").to_string(),
            steps,
            ceilings,
            step_ms,
            loading,
            encode_ms: encode / 1e6,
            submit_ms: submit / 1e6,
            memory_peak,
            memory,
            launches,
            spans,
        })
    }

    /// Milliseconds between the first and the last timestamp.
    pub fn gpu_ms(&self) -> f64 {
        self.launches.iter().map(|launch| launch.ms).chain(self.spans.iter().map(|span| span.ms)).sum()
    }

    /// Dispatches of a step.
    pub fn dispatches(&self) -> usize {
        self.launches.len() + self.spans.iter().map(|span| span.dispatches).sum::<usize>()
    }

    /// Dispatches of a step that wait behind a barrier.
    pub fn barriers(&self) -> usize {
        let of_spans = self.spans.iter().map(|span| span.barriers).sum::<usize>();
        self.launches.iter().filter(|launch| launch.barrier).count() + of_spans
    }

    /// The dispatches grouped by `key`, in order of their first.
    pub(crate) fn grouped(&self, key: impl Fn(&Launch) -> String) -> Vec<Group> {
        let mut groups: Vec<Group> = Vec::new();
        for launch in &self.launches {
            let floor_ms = self.ceilings.floor_ms(launch.flops, launch.bytes);
            Group::named(&mut groups, &key(launch)).add_launch(launch, floor_ms);
        }
        groups
    }

    /// The dispatches grouped by `key`, the longest first.
    pub fn by_time(&self, key: impl Fn(&Launch) -> String) -> Vec<Group> {
        let mut groups = self.grouped(key);
        groups.sort_by(|a, b| b.ms.total_cmp(&a.ms));
        groups
    }

    /// By phase, in the order of a step.
    pub fn by_phase(&self) -> Vec<Group> {
        let mut groups = self.grouped(|launch| launch.phase.name().to_string());
        self.spans.iter().for_each(|span| Group::named(&mut groups, span.phase.name()).add_span(span));
        groups.sort_by_key(|group| Phase::ALL.iter().position(|phase| phase.name() == group.name));
        groups
    }

    /// The timeline for Perfetto or chrome://tracing, as JSON.
    pub fn trace(&self) -> String {
        trace::trace(self)
    }

    /// A self-contained page with the roofline, the timeline and the tables.
    pub fn page(&self) -> String {
        page::page(self)
    }

    /// The roofline alone, as an SVG picture.
    pub fn roofline(&self) -> String {
        roofline::picture(self)
    }
}

impl From<LaunchTime> for Launch {
    fn from(time: LaunchTime) -> Self {
        let LaunchTime { info, nanoseconds } = time;
        let phase = Phase::of(&info.layer);
        let (op, kernel) = (info.op.to_string(), format!("{} {}", info.kernel, info.variant).trim_end().to_string());
        let LaunchInfo { layer, groups, flops, bytes, barrier, .. } = info;
        Self { op, kernel, layer, phase, groups, ms: nanoseconds / 1e6, flops, bytes, barrier, bound: None }
    }
}

/// Wall-clock milliseconds of a step out of `steps` that are submitted together, after some to warm up.
fn wall_ms(plan: &Plan, steps: usize, gpu: &trellis_tensor::Gpu) -> Result<f64> {
    plan.run(WARM_UP)?;
    gpu.wait()?;
    let began = Instant::now();
    plan.run(steps)?;
    gpu.wait()?;
    Ok(1e3 * began.elapsed().as_secs_f64() / steps as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn profile() -> Profile {
        let launch = |op: &str, layer: &str, ms, flops, bytes| Launch {
            op: op.into(),
            kernel: op.into(),
            layer: layer.into(),
            phase: Phase::of(layer),
            groups: [1, 1, 1],
            ms,
            flops,
            bytes,
            barrier: op == "matmul",
            bound: (op == "matmul").then_some(Bound::Arithmetic),
        };
        Profile {
            name: "<demo>".into(),
            adapter: "a".into(),
            version: "0".into(),
            steps: 5,
            // 10 GB/s and 100 GFLOP/s: 10 bytes or 100 operations a nanosecond.
            ceilings: Ceilings { copy_bytes_per_s: 10e9, fma_flop_per_s: 100e9, launch_ms: 0.005, groups: 264 },
            step_ms: 4.0,
            loading: Some(Loading { batch: 100, reads_per_s: 5e4, step_ms: 4.5, waited_ms: 0.25 }),
            encode_ms: 0.2,
            submit_ms: 0.1,
            memory_peak: 3 << 20,
            memory: vec![("target".into(), 2 << 20)],
            launches: vec![
                launch("gather", "data", 0.5, 0, 1_000_000),
                launch("matmul", "target/fc1", 2.0, 100_000_000, 1000),
                launch("cka", "alignment/fc1-conv1", 0.25, 0, 1_000_000),
                launch("cka_gram_grad", "backward/alignment/fc1-conv1", 0.25, 0, 1_000_000),
                launch("matmul", "backward/target/fc1", 1.0, 50_000_000, 1000),
            ],
            spans: Vec::new(),
        }
    }

    #[test]
    fn phases_come_from_scopes() {
        for (layer, phase) in [
            ("target/fc1", Phase::TargetForward),
            ("guide/conv1", Phase::GuideForward),
            ("alignment/a-b", Phase::Alignment),
            ("backward/alignment/a-b", Phase::Alignment),
            ("backward/target/fc1", Phase::Backward),
            ("backward/", Phase::Backward),
            ("optimizer", Phase::Optimizer),
            ("metrics", Phase::Other),
            ("", Phase::Other),
        ] {
            assert_eq!(Phase::of(layer), phase, "{layer}");
        }
    }

    #[test]
    fn groups_add_up_and_floors_are_the_longer_of_two() {
        let profile = profile();
        let matmul = &profile.grouped(|launch| launch.op.clone())[1];
        assert_eq!((matmul.name.as_str(), matmul.launches, matmul.ms, matmul.flops), ("matmul", 2, 3.0, 150_000_000));
        assert_eq!((matmul.barriers, profile.barriers(), matmul.bound()), (2, 2, Some(Bound::Arithmetic)));
        assert!((matmul.floor_ms - 1.5).abs() < 1e-9, "{}", matmul.floor_ms);
        let phases = profile.by_phase();
        assert_eq!(
            phases.iter().map(|p| p.name.as_str()).collect::<Vec<_>>(),
            ["data", "target forward", "alignment", "backward"]
        );
        assert!((phases[0].floor_ms - 0.1).abs() < 1e-9);
        assert!((phases.iter().map(|p| p.ms).sum::<f64>() - profile.gpu_ms()).abs() < 1e-12);
    }
}
