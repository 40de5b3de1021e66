//! Last lines of a command: files to open, and commands to try next.

use std::fmt;
use std::path::Path;

use trellis_guidance::Result;
use trellis_lab::config::Config;
use trellis_lab::sweep::{Row, Shard, State};

use crate::print;

/// A path as a shell takes it: quoted where it holds more than letters, digits and a few signs.
pub(crate) fn shell(path: &Path) -> String {
    quoted(&path.display().to_string())
}

/// A word as a shell takes it.
fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "/._-+,:@%~=".contains(c);
    match !text.is_empty() && text.chars().all(plain) {
        true => text.to_string(),
        false => format!("'{}'", text.replace('\'', r"'\''")),
    }
}

/// The option of a command for where data lie, if it was given.
fn data(place: Option<&Path>) -> String {
    place.map_or(String::new(), |place| format!(" --data {}", shell(place)))
}

/// Configuration, data and keys that a command was given, which the next one is to be given too.
pub(crate) struct Invocation<'a> {
    pub(crate) file: &'a Path,
    pub(crate) data: Option<&'a Path>,
    pub(crate) set: &'a [String],
}

impl Invocation<'_> {
    /// As a command line has it, without the keys for which `sets_anew` is true.
    fn without(&self, sets_anew: impl Fn(&str) -> bool) -> String {
        let data = data(self.data);
        let kept = self.set.iter().filter(|pair| !pair.split_once('=').is_some_and(|(key, _)| sets_anew(key.trim())));
        let set: String = kept.map(|pair| format!(" --set {}", quoted(pair))).collect();
        format!("{}{data}{set}", shell(self.file))
    }
}

impl fmt::Display for Invocation<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.without(|_| false))
    }
}

/// Tells where the report lies, and how to make the intervals tighter or see where the time goes.
pub(crate) fn after_train(config: &Config, given: &Invocation<'_>, out: &Path) -> Result<()> {
    report(config, out)?;
    let mut seeds = config.seeds.clone();
    let more = (1..).filter(|seed| !config.seeds.contains(seed)).take(2);
    seeds.extend(more);
    let seeds: Vec<String> = seeds.iter().map(u64::to_string).collect();
    let out = if out == Path::new("runs") { String::new() } else { format!(" --out {}", shell(out)) };
    print::line(format_args!(
        "next: trellis train {given}{out} --seeds {} --resume (two more seeds); trellis profile {given}",
        seeds.join(",")
    ))
}

/// Tells where the page of a sweep is, and how to go on with one that is not finished.
pub(crate) fn after_sweep(page: Option<&Path>, table: &[Row], shard: Shard) -> Result<()> {
    if let Some(page) = page {
        print::line(format_args!("open: {}", shell(page)))?;
    }
    let open = table.iter().filter(|row| matches!(row.state, State::Missing | State::Begun(..))).count();
    if open == 0 {
        return Ok(());
    }
    match shard {
        Shard::WHOLE => {
            print::line(format_args!("next: the same command again, for what is left ({open} of {})", table.len()))
        }
        _ => print::line(format_args!(
            "next: the other shards, for what is left ({open} of {}); then trellis report",
            table.len()
        )),
    }
}

/// The command that this process was given, as a shell takes it.
pub(crate) fn command_line() -> String {
    command_of(std::env::args().skip(1))
}

fn command_of(words: impl Iterator<Item = String>) -> String {
    ["trellis".to_string()].into_iter().chain(words.map(|word| quoted(&word))).collect::<Vec<_>>().join(" ")
}

/// The same without its part of the work, `--shard I/N`: the command that makes all of it.
pub(crate) fn command_of_all() -> String {
    let mut words: Vec<String> = std::env::args().skip(1).collect();
    if let Some(shard) = words.iter().position(|word| word == "--shard" || word.starts_with("--shard=")) {
        let end = if words[shard] == "--shard" { shard + 2 } else { shard + 1 };
        words.drain(shard..end.min(words.len()));
    }
    command_of(words.into_iter())
}

pub(crate) fn after_demo(config: &Config, out: &Path) -> Result<()> {
    report(config, out)?;
    print::line("next: trellis init (a configuration of your own); trellis init --data PATH (for your own data)")
}

fn report(config: &Config, out: &Path) -> Result<()> {
    print::line(format_args!("report: {}", out.join(&config.name).join("report.html").display()))
}

pub(crate) fn after_init(given: &Invocation<'_>) -> Result<()> {
    print::line(format_args!("next: trellis plan {given} (its memory); trellis train {given}"))
}

pub(crate) fn after_plan(given: &Invocation<'_>) -> Result<()> {
    print::line(format_args!("next: trellis train {given}; trellis profile {given} (its time)"))
}

/// Tells how to look for a size that fits; `arm` is the arm, or the guide in training, that takes most.
pub(crate) fn after_plan_that_does_not_fit(config: &Config, arm: &str, given: &Invocation<'_>) -> Result<()> {
    // A guide is trained with the batch of the file.
    let key = if config.arms.iter().any(|own| own == arm) {
        config.training_key(arm, "batch")
    } else {
        "training.batch".into()
    };
    let batch = (config.batch_of(arm) / 2).max(1);
    print::line(format_args!(
        "next: trellis plan {} --set {key}={batch} (or --set training.recompute=1, a smaller network, or a larger \
         TRELLIS_MEMORY_MB)",
        given.without(|set| set == key)
    ))
}

pub(crate) fn after_profile(given: &Invocation<'_>, pages: &[&Path]) -> Result<()> {
    let first = match pages {
        [] => format!("trellis profile {given} --html profile.html (every dispatch, drawn)"),
        pages => {
            let paths: Vec<String> = pages.iter().map(|page| page.display().to_string()).collect();
            print::line(format_args!("open: {}", paths.join(" ")))?;
            format!("trellis train {given}")
        }
    };
    print::line(format_args!("next: {first}; --json > before.json, and --compare before.json after.json later"))
}

/// Tells how to see the table as a picture, and what another measure says.
pub(crate) fn after_similarity(
    runs: [&str; 2],
    place: Option<&Path>,
    picture: Option<&Path>,
    measure: &str,
) -> Result<()> {
    let (a, b) = (shell(runs[0].as_ref()), shell(runs[1].as_ref()));
    let place = data(place);
    let first = match picture {
        Some(file) => {
            print::line(format_args!("open: {}", file.display()))?;
            String::new()
        }
        None => format!("trellis similarity {a} {b}{place} --svg layers.svg (the table as a picture); "),
    };
    print::line(format_args!("next: {first}trellis similarity {a} {b}{place} --measure {measure} (another view)"))
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

    #[test]
    fn keys_that_were_set_are_set_again() {
        let set = ["training.batch=64".to_string(), "arms=[\"alone\"]".to_string()];
        let given = Invocation { file: Path::new("x.toml"), data: Some(Path::new("my data")), set: &set };
        let all = "x.toml --data 'my data' --set training.batch=64 --set 'arms=[\"alone\"]'";
        assert_eq!(given.to_string(), all);
        assert_eq!(given.without(|key| key == "training.batch"), all.replace(" --set training.batch=64", ""));
    }
}
