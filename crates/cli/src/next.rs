//! Last lines of a command: files to open, and commands to try next.

use std::path::Path;

use trellis_guidance::Result;
use trellis_lab::config::Config;

use crate::print;

/// A path as a shell takes it: quoted where it holds more than letters, digits and a few signs.
pub(crate) fn shell(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = |c: char| c.is_alphanumeric() || "/._-+,:@%~".contains(c);
    match !text.is_empty() && text.chars().all(plain) {
        true => text,
        false => format!("'{}'", text.replace('\'', r"'\''")),
    }
}

fn data(place: Option<&Path>) -> String {
    place.map_or(String::new(), |place| format!(" --data {}", shell(place)))
}

/// Tells where the report lies, and how to make the intervals tighter or see where the time goes.
pub(crate) fn after_train(config: &Config, file: &Path, place: Option<&Path>, out: &Path) -> Result<()> {
    report(config, out)?;
    let (file, place) = (shell(file), data(place));
    let mut seeds = config.seeds.clone();
    let more = (1..).filter(|seed| !config.seeds.contains(seed)).take(2);
    seeds.extend(more);
    let seeds: Vec<String> = seeds.iter().map(u64::to_string).collect();
    let out = if out == Path::new("runs") { String::new() } else { format!(" --out {}", shell(out)) };
    print::line(format_args!(
        "next: trellis train {file}{place}{out} --seeds {} --resume (two more seeds); trellis profile {file}{place}",
        seeds.join(",")
    ))
}

pub(crate) fn after_demo(config: &Config, out: &Path) -> Result<()> {
    report(config, out)?;
    print::line("next: trellis init (a configuration of your own); trellis init --data PATH (for your own data)")
}

fn report(config: &Config, out: &Path) -> Result<()> {
    print::line(format_args!("report: {}", out.join(&config.name).join("report.html").display()))
}

pub(crate) fn after_init(file: &Path, place: Option<&Path>) -> Result<()> {
    let (file, place) = (shell(file), data(place));
    print::line(format_args!("next: trellis plan {file}{place} (its memory); trellis train {file}{place}"))
}

pub(crate) fn after_plan(file: &Path, place: Option<&Path>) -> Result<()> {
    let (file, place) = (shell(file), data(place));
    print::line(format_args!("next: trellis train {file}{place}; trellis profile {file}{place} (its time)"))
}

/// Tells how to look for a size that fits.
pub(crate) fn after_plan_that_does_not_fit(
    config: &Config,
    arm: &str,
    file: &Path,
    place: Option<&Path>,
) -> Result<()> {
    let (file, place) = (shell(file), data(place));
    // A guide is trained with the batch of the file.
    let key = if config.arms.iter().any(|own| own == arm) {
        config.training_key(arm, "batch")
    } else {
        "training.batch".into()
    };
    let batch = (config.batch_of(arm) / 2).max(1);
    print::line(format_args!(
        "next: trellis plan {file}{place} --set {key}={batch} (or --set training.recompute=1, a smaller network, or \
         a larger TRELLIS_MEMORY_MB)"
    ))
}

pub(crate) fn after_profile(file: &Path, place: Option<&Path>, pages: &[&Path]) -> Result<()> {
    let (file, place) = (shell(file), data(place));
    let first = match pages {
        [] => format!("trellis profile {file}{place} --html profile.html (every dispatch, drawn)"),
        pages => {
            let paths: Vec<String> = pages.iter().map(|page| page.display().to_string()).collect();
            print::line(format_args!("open: {}", paths.join(" ")))?;
            format!("trellis train {file}{place}")
        }
    };
    print::line(format_args!("next: {first}; --json > before.json, and --compare before.json after.json later"))
}

pub(crate) fn after_bench() -> Result<()> {
    print::line(
        "next: trellis tune (the fastest kernels for this adapter); trellis profile CONFIG.toml (a step of yours)",
    )
}

pub(crate) fn after_tune() -> Result<()> {
    print::line(
        "next: trellis bench --filter matmul; TRELLIS_TUNING=off trellis bench --filter matmul (without the table)",
    )
}

pub(crate) fn after_devices(name: &str) -> Result<()> {
    // Quoted, since names of adapters have spaces.
    let name = name.split(['(', ',']).next().unwrap_or(name).trim();
    print::line(format_args!("next: trellis demo --adapter {} (part of a name); trellis tune", shell(name.as_ref())))
}

pub(crate) fn after_inspect(file: &Path) -> Result<()> {
    print::line(format_args!("next: trellis convert {} OUT.safetensors --dtype f16; or --names gpt2", shell(file)))
}

pub(crate) fn after_convert(file: &Path) -> Result<()> {
    let file = shell(file);
    print::line(format_args!("next: trellis inspect {file}; in Python: safetensors.torch.load_file(\"{file}\")"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_quoted_where_a_shell_would_cut_them() {
        for (path, wanted) in
            [("a/b-1.toml", "a/b-1.toml"), ("my data", "'my data'"), ("it's", r"'it'\''s'"), ("$x", "'$x'"), ("", "''")]
        {
            assert_eq!(shell(Path::new(path)), wanted);
        }
    }
}
