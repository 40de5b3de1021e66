//! `trellis bench`

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use regex_lite::Regex;
use serde_json::json;
use trellis_data::Place;
use trellis_guidance::{Error, Result};
use trellis_lab::workload::{Prepared, Workload, large_workloads, workloads};
use trellis_tensor::{CkaForm, CkaSizes, Gpu, LaunchInfo, LaunchTime};

use crate::{next, print};

#[derive(Args)]
#[command(after_help = "\
`median`, `min` and `p90` are of repetitions that are each submitted and waited for; `piped` is the time of one among many
that are submitted together. Every workload is warmed up until its time settles, as GPUs raise their clocks only under load;
`unsettled` is said where it does not within 2 seconds. `_generic` computes the same CKA through matmul, sums and autograd. After the
two `cka_form_` of one size: which of them the cost model takes, and what was measured.

Examples:
  trellis bench
  trellis bench --filter '^cka' --json
  trellis bench --filter mlp_guided --kernels
  trellis bench --size large        # a hardware GPU with 16 GB or more")]
pub(crate) struct Bench {
    /// Only workloads whose name this regular expression matches
    #[arg(long, value_name = "RE", default_value = "")]
    filter: String,
    /// Set of workloads
    #[arg(long, value_enum, default_value_t = Size::Small)]
    size: Size,
    /// After each workload, the time of its kernels by timestamps (each costs a GPU up to 8 µs)
    #[arg(long)]
    kernels: bool,
    /// Time for each workload
    #[arg(long, value_name = "SECONDS", default_value_t = 1.0, value_parser = seconds)]
    seconds: f64,
}

fn seconds(text: &str) -> Result<f64, String> {
    let seconds = text.parse().ok().filter(|seconds| (0.0..=600.0).contains(seconds));
    seconds.ok_or_else(|| "give a number of seconds from 0 to 600".to_string())
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Size {
    /// Those that a CPU can run too
    Small,
    /// Those for a hardware GPU
    Large,
}

struct Timing {
    /// Of one repetition among many that are submitted together.
    piped: f64,
    settled: bool,
    median: f64,
    min: f64,
    p90: f64,
    reps: usize,
    gflops: f64,
    dispatches: usize,
    barriers: usize,
}

impl Bench {
    pub(crate) fn run(&self, gpu: &Gpu, as_json: bool) -> Result<()> {
        let filter = Regex::new(&self.filter).map_err(|error| {
            Error::config(Place::setting("--filter"), "", error.to_string(), "give a regular expression")
        })?;
        let all = if self.size == Size::Large { large_workloads() } else { workloads() };
        let chosen: Vec<Workload> = all.iter().copied().filter(|w| filter.is_match(w.name)).collect();
        if chosen.is_empty() {
            let names: Vec<&str> = all.iter().map(|w| w.name).collect();
            let hint = format!("there are {}", names.join(", "));
            return Err(Error::config(Place::setting("--filter"), "", "matches no workload", hint));
        }
        if !as_json {
            print::line(gpu.name())?;
            print::line(format_args!(
                "{:<38} {:>10} {:>10} {:>10} {:>10} {:>6} {:>9} {:>10} {:>8}",
                "workload", "piped ms", "median ms", "min ms", "p90 ms", "reps", "GFLOP/s", "dispatches", "barriers"
            ))?;
        }
        let mut forms: Vec<(CkaSizes, CkaForm, f64)> = Vec::new();
        for workload in chosen {
            let t = self.time(gpu, &workload)?;
            if as_json {
                let line = json!({"name": workload.name, "piped_ms": t.piped, "settled": t.settled, "median_ms": t.median, "min_ms": t.min, "p90_ms": t.p90,
                    "reps": t.reps, "gflops": t.gflops, "dispatches": t.dispatches, "barriers": t.barriers,
                    "adapter": gpu.name()});
                print::line(line)?;
            } else {
                print::line(format_args!(
                    "{:<38} {:>10.4} {:>10.4} {:>10.4} {:>10.4} {:>6} {:>9.1} {:>10} {:>8}{}",
                    workload.name,
                    t.piped,
                    t.median,
                    t.min,
                    t.p90,
                    t.reps,
                    t.gflops,
                    t.dispatches,
                    t.barriers,
                    if t.settled { "" } else { "  unsettled" }
                ))?;
            }
            if self.kernels {
                print_kernels(gpu, &workload, as_json)?;
            }
            if let Some((sizes, form)) = workload.cka_form() {
                if let Some((.., other)) = forms.iter().find(|(of, ..)| *of == sizes) {
                    let (features, examples) =
                        if form == CkaForm::Features { (t.min, *other) } else { (*other, t.min) };
                    print_choice(gpu, sizes, features / examples, as_json)?;
                }
                forms.push((sizes, form, t.min));
            }
        }
        if as_json { Ok(()) } else { next::after_bench() }
    }

    fn time(&self, gpu: &Gpu, workload: &Workload) -> Result<Timing> {
        let prepared = workload.prepare(gpu)?;
        // The first runs compile.
        prepared.plan.run(2)?;
        gpu.wait()?;
        let budget = Duration::from_secs_f64(self.seconds);
        let (piped, settled) = piped(gpu, &prepared, budget / 2)?;
        let started = Instant::now();
        let mut times = Vec::new();
        while times.len() < 5 || (started.elapsed() < budget / 2 && times.len() < 1000) {
            let began = Instant::now();
            prepared.plan.run(1)?;
            gpu.wait()?;
            times.push(1e3 * began.elapsed().as_secs_f64());
        }
        times.sort_by(f64::total_cmp);
        let (reps, median) = (times.len(), times[times.len() / 2]);
        let gflops = prepared.flops as f64 / piped / 1e6;
        let p90 = times[(9 * reps / 10).min(reps - 1)];
        Ok(Timing {
            piped,
            settled,
            median,
            min: times[0],
            p90,
            reps,
            gflops,
            dispatches: prepared.plan.launches().len(),
            barriers: prepared.plan.barriers(),
        })
    }
}

/// The kernels of a workload, the one that takes most time first, and the largest launch of each.
fn print_kernels(gpu: &Gpu, workload: &Workload, as_json: bool) -> Result<()> {
    const STEPS: usize = 10;
    let plan = workload.prepare(gpu)?.plan;
    plan.run(20)?;
    let mut by_kernel: BTreeMap<(&str, &str), Vec<LaunchTime>> = BTreeMap::new();
    for launch in plan.profile(STEPS)?.launches {
        by_kernel.entry((launch.info.op, launch.info.kernel)).or_default().push(launch);
    }
    let total = |launches: &[LaunchTime]| launches.iter().map(|launch| launch.nanoseconds).sum::<f64>();
    let mut kernels: Vec<_> = by_kernel.into_iter().collect();
    kernels.sort_by(|(_, a), (_, b)| total(b).total_cmp(&total(a)));
    for ((op, kernel), launches) in kernels {
        let nanoseconds = total(&launches);
        let rate = |of: fn(&LaunchTime) -> u64| launches.iter().map(of).sum::<u64>() as f64 / nanoseconds.max(1.0);
        let (gflops, gbytes) = (rate(|launch| launch.info.flops), rate(|launch| launch.info.bytes));
        let Some(longest) = launches.iter().max_by(|a, b| a.nanoseconds.total_cmp(&b.nanoseconds)) else { continue };
        let LaunchInfo { layer, variant, groups: [x, y, z], .. } = &longest.info;
        if as_json {
            print::line(json!({"name": workload.name, "op": op, "kernel": kernel, "launches": launches.len(),
                "us": nanoseconds / 1e3, "gflops": gflops, "gbytes": gbytes, "longest_us": longest.nanoseconds / 1e3,
                "longest_layer": layer, "longest_groups": [x, y, z], "longest_variant": variant}))?;
        } else {
            print::line(format_args!(
                "  {:>10.1} us {:>4} x {op} {kernel}: {gflops:.0} GFLOP/s, {gbytes:.0} GB/s; longest {:.1} us, {x}x{y}x{z}, {layer}",
                nanoseconds / 1e3,
                launches.len(),
                longest.nanoseconds / 1e3,
            ))?;
        }
    }
    Ok(())
}

/// Milliseconds of one repetition among many that are submitted together: the median of several rounds, once two rounds
/// differ by less than 3 %. Whether they ever did.
fn piped(gpu: &Gpu, prepared: &Prepared, budget: Duration) -> Result<(f64, bool)> {
    let round = |reps: usize| -> Result<f64> {
        let began = Instant::now();
        prepared.plan.run(reps)?;
        gpu.wait()?;
        Ok(1e3 * began.elapsed().as_secs_f64() / reps as f64)
    };
    // 30 ms a round, so that submitting and waiting do not count.
    let reps = (30.0 / round(3)?.max(1e-3)).clamp(1.0, 2000.0) as usize;
    let (started, mut last, mut settled) = (Instant::now(), round(reps)?, false);
    while !settled && started.elapsed() < (4 * budget).min(Duration::from_secs(2)) {
        let now = round(reps)?;
        settled = (now / last - 1.0).abs() < 0.03;
        last = now;
    }
    let mut times = vec![last];
    let measuring = Instant::now();
    while times.len() < 3 || (measuring.elapsed() < budget && times.len() < 15) {
        times.push(round(reps)?);
    }
    times.sort_by(f64::total_cmp);
    Ok((times[times.len() / 2], settled))
}

/// Prints the prediction of the cost model for a size beside the measurement: the least time by features over that by
/// examples.
fn print_choice(gpu: &Gpu, sizes: CkaSizes, measured: f64, as_json: bool) -> Result<()> {
    let modeled = CkaForm::Features.cost(sizes).total() as f64 / CkaForm::Examples.cost(sizes).total() as f64;
    let (chosen, lost) = match CkaForm::choose(sizes) {
        CkaForm::Features => ("features", measured),
        CkaForm::Examples => ("examples", 1.0 / measured),
    };
    let CkaSizes { n, p, .. } = sizes;
    if as_json {
        return print::line(json!({"name": format!("cka_form_n{n}_p{p}"), "chosen": chosen,
            "features_over_examples": measured, "modeled": modeled, "chosen_over_other": lost,
            "adapter": gpu.name()}));
    }
    print::line(format_args!(
        "  n {n}, p {p}: the model takes {chosen}; features take {measured:.2} of the time of examples (modeled {modeled:.2})"
    ))
}
