//! `trellis profile`

use std::path::{Path, PathBuf};

use clap::Args;
use trellis_data::Place;
use trellis_data::io::write_atomic;
use trellis_guidance::{Error, GuideSchedule, Result};
use trellis_lab::config::{ArmGuide, Config};
use trellis_lab::memory::Memory;
use trellis_lab::profile::{Ceilings, Group, Per, Profile, compare};
use trellis_tensor::Gpu;

use crate::next::Invocation;
use crate::{next, print};

#[derive(Args)]
#[command(after_help = "\
Times every dispatch of a guided training step with timestamps on the device, and compares it with what the adapter can
do at best, which is measured first.

Examples:
  trellis profile examples/configs/demo.toml
  trellis profile examples/configs/demo.toml --html profile.html --trace trace.json
  trellis profile examples/configs/demo.toml --per phase     few timestamps: little is disturbed
  trellis profile examples/configs/demo.toml --json > before.json
  trellis profile --compare before.json after.json")]
pub(crate) struct ProfileCommand {
    /// The experiment whose step is profiled: see examples/configs/
    #[arg(required_unless_present = "compare")]
    config: Option<PathBuf>,
    /// Path of the data, as for `train`
    #[arg(long, value_name = "PATH")]
    data: Option<PathBuf>,
    /// Steps to time
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=1000))]
    steps: u16,
    /// Profile the step without a guide
    #[arg(long)]
    alone: bool,
    /// Part that is timed: a `dispatch`, or neighboring dispatches of one `phase`, which takes few timestamps. On an NVIDIA H100 a
    /// timestamp adds 8 µs
    #[arg(long, value_name = "PART", default_value = "dispatch", value_parser = ["dispatch", "phase"])]
    per: String,
    /// Write the timeline for ui.perfetto.dev
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,
    /// Set a key of the configuration, as often as there are keys: --set training.learning_rate=3e-4
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Write a page with roofline and timeline
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Write the roofline alone, as a picture
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    /// Compare two profiles that --json has printed
    #[arg(long, num_args = 2, value_names = ["BEFORE", "AFTER"], conflicts_with_all = ["config", "trace", "html", "svg", "alone"])]
    compare: Option<Vec<PathBuf>>,
}

impl ProfileCommand {
    pub(crate) fn run(&self, gpu: impl FnOnce() -> Result<Gpu>, json: bool) -> Result<()> {
        if let Some([before, after]) = self.compare.as_deref() {
            return print_changes(&read(before)?, &read(after)?, json);
        }
        let path = self.config.as_deref().unwrap_or(Path::new(""));
        let config = Config::read_with(path, &self.set)?;
        let drawn = [("--trace", &self.trace), ("--html", &self.html), ("--svg", &self.svg)];
        if let Some((option, _)) = drawn.iter().find(|(_, file)| self.per == "phase" && file.is_some()) {
            let hint = "leave out `--per phase`, or the file";
            return Err(Error::config(Place::setting("profile"), *option, "draws single dispatches", hint));
        }
        let profile = self.measure(&gpu()?, &config, path)?;
        if let Some(file) = &self.trace {
            write_atomic(file, profile.trace().as_bytes())?;
        }
        if let Some(file) = &self.html {
            write_atomic(file, profile.page().as_bytes())?;
        }
        if let Some(file) = &self.svg {
            write_atomic(file, profile.roofline().as_bytes())?;
        }
        if json {
            return print::json(&profile);
        }
        print_profile(&profile)?;
        let pages: Vec<&Path> =
            [&self.html, &self.svg, &self.trace].into_iter().flatten().map(PathBuf::as_path).collect();
        next::after_profile(&Invocation { file: path, data: self.data.as_deref(), set: &self.set }, &pages)
    }

    fn measure(&self, gpu: &Gpu, config: &Config, path: &Path) -> Result<Profile> {
        let data = config.dataset(gpu, path, self.data.as_deref())?;
        print::warn_of_data(&data);
        let config = &config.resolved_for(path, &data)?;
        Memory::count(config, &data)?.and("buffers whose copy is measured", Ceilings::bytes(gpu)?).check(gpu, 1)?;
        let seed = config.seeds[0];
        let guided = config.guided_arm().filter(|_| !self.alone);
        let arm = guided.or_else(|| config.arm_with(&ArmGuide::None)).unwrap_or(&config.arms[0]);
        let name = if guided.is_some() { "guided" } else { "unguided" };
        let target = config.draw_target(arm, &data, seed)?;
        // Trained or not, a guide costs the same.
        let mut guides = Vec::new();
        for of in guided.map_or(Vec::new(), |arm| config.guiding_arms(arm)) {
            let guide = config.guide(&config.guide_of(&of), &data, seed)?;
            if guide.is_streamed() {
                print::warn("the time to read the rows of a guide's activations before each step is not measured");
            }
            guides.push(config.guidance(&of, guide).schedule(GuideSchedule::always()));
        }
        let name = format!("{}, {name} step", config.name);
        let per = if self.per == "phase" { Per::Phase } else { Per::Dispatch };
        Profile::measure(&name, &target, &data, config.training(arm, seed), &guides, usize::from(self.steps), per)
    }
}

fn read(path: &Path) -> Result<Profile> {
    let text = std::fs::read_to_string(path).map_err(|e| Error::io(path, e))?;
    serde_json::from_str(&text)
        .map_err(|e| Error::data(path, format!("is no profile: {e}"), "make one with `trellis profile CONFIG --json`"))
}

fn print_profile(profile: &Profile) -> Result<()> {
    let ceilings = profile.ceilings;
    print::line(format_args!("{} on {}", profile.name, profile.adapter))?;
    print::line(format_args!(
        "ceilings, measured: {:.1} GFLOP/s of multiply-adds, {:.1} GB/s of copying; {:.1} us for a dispatch of nothing",
        ceilings.fma_flop_per_s / 1e9,
        ceilings.copy_bytes_per_s / 1e9,
        1e3 * ceilings.launch_ms
    ))?;
    print::line(format_args!(
        "step: {:.3} ms of wall clock; {:.3} ms on the device in {} dispatches, {} of them behind a barrier; CPU {:.3} ms to \
         encode, {:.3} ms to submit",
        profile.step_ms,
        profile.gpu_ms(),
        profile.dispatches(),
        profile.barriers(),
        profile.encode_ms,
        profile.submit_ms
    ))?;
    if let Some(loading) = profile.loading {
        print::line(format_args!(
            "data: {:.0} examples/s are read by themselves, {:.0} examples/s taken by steps that wait for none; together {:.3} \
             ms a step, of which {:.3} ms wait for data",
            loading.reads_per_s,
            loading.takes_per_s(profile.step_ms),
            loading.step_ms,
            loading.waited_ms
        ))?;
    }
    let mebibytes = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    print::line(format_args!("memory: {:.1} MiB at most; most of it:", mebibytes(profile.memory_peak)))?;
    for (name, bytes) in profile.memory.iter().take(5) {
        print::line(format_args!("  {:>9.2} MiB  {name}", mebibytes(*bytes)))?;
    }
    let total = profile.gpu_ms();
    let stamps = profile.launches.len() + profile.spans.len() + 1;
    let fewer = if profile.spans.is_empty() { "; `--per phase` takes few" } else { "" };
    print::line(format_args!(
        "timestamps: {stamps} a step, with which it takes {:.2} of the time without any{fewer}",
        total / profile.step_ms.max(1e-9)
    ))?;
    print_groups("phase", &profile.by_phase(), total)?;
    if !profile.spans.is_empty() {
        return Ok(());
    }
    print_groups("op", &profile.by_time(|launch| launch.op.clone()), total)?;
    print_groups("kernel", &profile.by_time(|launch| launch.kernel.clone()), total)?;
    print_groups("layer", &profile.by_time(|launch| launch.layer.clone()), total)
}

fn print_groups(head: &str, groups: &[Group], total: f64) -> Result<()> {
    print::line("")?;
    print::line(format_args!(
        "{head:<36} {:>10} {:>8} {:>9} {:>7} {:>9} {:>8} {:>8} {:>10}",
        "dispatches", "barriers", "ms", "share", "GFLOP/s", "GB/s", "x floor", "bound"
    ))?;
    for group in groups {
        print::line(format_args!(
            "{:<36} {:>10} {:>8} {:>9.3} {:>6.1}% {:>9.2} {:>8.2} {:>8} {:>10}",
            group.name,
            group.launches,
            group.barriers,
            group.ms,
            100.0 * group.ms / total.max(1e-12),
            group.gflop_per_s(),
            group.gb_per_s(),
            group.times_floor().map_or("-".to_string(), |ratio| format!("{ratio:.1}")),
            group.bound().map_or("-".to_string(), |bound| bound.to_string()),
        ))?;
    }
    Ok(())
}

fn print_changes(before: &Profile, after: &Profile, json: bool) -> Result<()> {
    if !json {
        print::line(format_args!("{:<36} {:>10} {:>10} {:>8}", "op", "before ms", "after ms", "ratio"))?;
    }
    let whole = ("step".to_string(), before.gpu_ms(), after.gpu_ms());
    let ops = compare(before, after).into_iter().map(|change| (change.name, change.before_ms, change.after_ms));
    for (name, old, new) in ops.chain([whole]) {
        if json {
            print::line(serde_json::json!({"name": name, "before_ms": old, "after_ms": new}))?;
        } else {
            let ratio = if old > 0.0 { format!("{:.2}", new / old) } else { "new".to_string() };
            print::line(format_args!("{name:<36} {old:>10.3} {new:>10.3} {ratio:>8}"))?;
        }
    }
    Ok(())
}
