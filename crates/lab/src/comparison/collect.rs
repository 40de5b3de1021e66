//! Run folders, found and put together.

use std::fs;
use std::path::{Path, PathBuf};

use super::{Comparison, Manifest, Member, between, files, keys};
use crate::config::Config;
use crate::record::Experiment;
use crate::record::names::{CONFIG, ERROR, METRICS};
use trellis_guidance::trainer::{EvalRecord, RunRecord};
use trellis_guidance::{Error, Result};

/// Greatest number of differing keys that a label lists.
const LABELED: usize = 3;

impl Comparison {
    /// Compares the run folders `paths`, or those that lie in them, up to two folders deep. Experiments of the same settings whose runs
    /// have other seeds or other data are put together; a run that two folders hold counts once.
    ///
    /// # Errors
    /// [`Error::Data`] if a path cannot be read or holds no run folder. A folder within it that cannot be read is said in
    /// [`missing`](Self::missing).
    pub fn read(paths: &[PathBuf]) -> Result<Self> {
        let mut found = Found::default();
        let mut experiments: Vec<(PathBuf, Experiment)> = Vec::new();
        for path in paths {
            fs::read_dir(path).map_err(|e| Error::io(path, e))?;
            let before = found.folders.len() + found.open.len();
            found.look(path, 2)?;
            if found.folders.len() + found.open.len() == before {
                let problem = format!("holds no run folder, one with {CONFIG} and {METRICS}");
                return Err(Error::data(path, problem, "give a folder that `trellis train` or `trellis sweep` wrote"));
            }
        }
        // A folder that one shard misses may lie in that of another, where they ran apart.
        let elsewhere =
            |name: &str| found.folders.iter().any(|folder| folder.file_name().is_some_and(|own| *own == *name));
        let open = found.open.iter().filter(|(name, _)| !elsewhere(name));
        let mut missing: Vec<String> = open.map(|(name, why)| format!("{name}: {why}")).collect();
        missing.sort();
        missing.dedup();
        let place =
            |folder: &PathBuf| found.order.iter().position(|name| folder.file_name().is_some_and(|own| *own == **name));
        // Folders of other kinds among them stand as they were given.
        if found.folders.iter().all(|folder| place(folder).is_some()) {
            found.folders.sort_by_key(place);
        }
        for folder in found.folders {
            match Experiment::read(&folder) {
                Ok(experiment) => experiments.push((folder, experiment)),
                Err(error) => missing.push(error.to_string()),
            }
        }
        let name = |path: &PathBuf| match fs::canonicalize(path) {
            Ok(path) => path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
            Err(_) => path.display().to_string(),
        };
        let title = paths.iter().map(name).collect::<Vec<_>>().join(" and ");
        let command = (found.commands.len() == 1).then(|| found.commands.remove(0));
        let mut comparison = Self { command, ..Self::of(title, experiments) };
        comparison.missing.splice(0..0, missing);
        Ok(comparison)
    }

    /// Compares experiments, each from a folder, as [`read`](Self::read) does.
    pub fn of(title: String, experiments: Vec<(PathBuf, Experiment)>) -> Self {
        let (mut members, mut missing) = (Vec::<Member>::new(), Vec::new());
        for (folder, experiment) in experiments {
            add(&mut members, &mut missing, folder, experiment);
        }
        let all: Vec<&[(String, String)]> = members.iter().map(|member| member.values.as_slice()).collect();
        let mut keys = keys::differing(&all);
        // Experiments on other splits stay apart, and that is a difference.
        if members.windows(2).any(|two| two[0].data_seeds != two[1].data_seeds) {
            for member in &mut members {
                member.values.push((keys::DATA_SEED.to_string(), member.data_seeds.join(" ")));
            }
            keys.push(keys::DATA_SEED.to_string());
        }
        for member in &mut members {
            member.label = label(member, &keys);
            member.arms = member.experiment.summary();
        }
        let labels: Vec<String> = members.iter().map(|member| member.label.clone()).collect();
        for member in &mut members {
            // Names that are not their own are those of the folder, with its parents.
            if labels.iter().filter(|label| **label == member.label).count() > 1 {
                member.label = member.folders[0].display().to_string();
            }
        }
        let between = between(&members);
        Self { title, members, keys, between, missing, command: None }
    }
}

/// Run folders that were found, and what their sweeps say.
#[derive(Default)]
struct Found {
    folders: Vec<PathBuf>,
    /// Folders that sweeps are to have and have not, and why.
    open: Vec<(String, String)>,
    /// Names of the folders of sweeps, in their order.
    order: Vec<String>,
    /// Commands of the sweeps.
    commands: Vec<String>,
}

impl Found {
    /// Adds the run folders at `path` and `depth` folders below it, those that are no sweep's by their names.
    fn look(&mut self, path: &Path, depth: usize) -> Result<()> {
        if path.join(METRICS).exists() && path.join(CONFIG).exists() {
            self.folders.push(path.to_owned());
            return Ok(());
        }
        if let Some(manifest) = Manifest::read(path)? {
            for name in &manifest.folders {
                let folder = path.join(name);
                if folder.join(METRICS).exists() {
                    self.folders.push(folder);
                } else {
                    let noted = fs::read_to_string(folder.join(ERROR));
                    let why = noted.map_or("not run".to_string(), |text| text.trim().to_string());
                    self.open.push((name.clone(), why));
                }
                if !self.order.contains(name) {
                    self.order.push(name.clone());
                }
            }
            self.commands.push(manifest.command);
            return Ok(());
        }
        if depth == 0 {
            return Ok(());
        }
        let mut below: Vec<PathBuf> = Vec::new();
        for entry in fs::read_dir(path).map_err(|e| Error::io(path, e))? {
            let entry = entry.map_err(|e| Error::io(path, e))?.path();
            if entry.is_dir() {
                below.push(entry);
            }
        }
        below.sort();
        below.iter().try_for_each(|folder| self.look(folder, depth - 1))
    }
}

/// Sentences about the runs of an experiment that diverged, are not finished or have not begun.
fn open_runs(experiment: &Experiment) -> Vec<String> {
    let name = &experiment.name;
    let diverged = |arm: &str, seed: u64| experiment.diverged.iter().any(|run| run.arm == arm && run.seed == seed);
    let mut told: Vec<String> = experiment.diverged.iter().map(|run| format!("{name}: {}", run.error)).collect();
    let of_run = experiment.diverged.iter().any(|run| Some(&run.error) == experiment.failure.as_ref());
    if let Some(failure) = experiment.failure.as_ref().filter(|_| !of_run) {
        told.push(format!("{name}: ended with an error: {failure}"));
    }
    // A file of an older version need not be a configuration of this one.
    let Ok(config) = Config::parse(&experiment.config_toml, Path::new(CONFIG)) else { return told };
    for arm in &config.arms {
        let mut waiting = Vec::new();
        for &seed in &config.seeds {
            match experiment.runs_of(arm).find(|run| run.seed == seed) {
                Some(run) if run.is_finished() || diverged(arm, seed) => {}
                Some(_) => told.push(format!("{name}: {arm}, seed {seed} is not finished")),
                None => waiting.push(seed.to_string()),
            }
        }
        if !waiting.is_empty() {
            told.push(format!("{name}: {arm}, not begun: seed {}", waiting.join(", ")));
        }
    }
    told
}

/// True if two records are of the same run: the evaluations that both have are the same, and all of them where both are finished.
fn is_copy(a: &RunRecord, b: &RunRecord) -> bool {
    let both = a.is_finished() && b.is_finished();
    let same = |eval: &EvalRecord| {
        let mut of_b = b.evals.iter().filter(|other| (other.step, &other.split) == (eval.step, &eval.split));
        of_b.all(|other| other == eval)
    };
    a.evals.iter().all(same) && (!both || a.evals.len() == b.evals.len())
}

/// Adds the runs of another folder. Of a run that both have, the one that is finished stays.
fn put_together(runs: &mut Vec<RunRecord>, others: Vec<RunRecord>) {
    for run in others {
        match runs.iter_mut().find(|own| own.arm == run.arm && own.seed == run.seed) {
            None => runs.push(run),
            Some(own) if run.is_finished() && !own.is_finished() => *own = run,
            Some(_) => {}
        }
    }
}

/// Adds an experiment to the member of the same settings, or as one of its own.
fn add(members: &mut Vec<Member>, missing: &mut Vec<String>, folder: PathBuf, experiment: Experiment) {
    missing.extend(open_runs(&experiment));
    let (mut values, data_seed) = keys::values(&experiment.config_toml);
    files::identify(&mut values, &folder, &experiment);
    let made_by = |e: &Experiment| [e.adapter.clone(), e.version.clone()];
    let same = members.iter_mut().find(|member| {
        let of = &member.experiment;
        let apart = experiment.runs.iter().all(|run| {
            of.runs
                .iter()
                .filter(|other| other.arm == run.arm && other.seed == run.seed)
                .all(|other| is_copy(run, other))
        });
        let known = member.data.iter().any(|(_, data)| *data == experiment.data);
        // Repetitions of one sweep have other splits of the same data.
        let sweep = |folder: &Path| folder.parent().and_then(Path::file_name).map(ToOwned::to_owned);
        let repeats = sweep(&member.folders[0]) == sweep(&folder) && !member.data_seeds.contains(&data_seed);
        member.values == values && made_by(of) == made_by(&experiment) && apart && (known || repeats)
    });
    let mut seeds: Vec<u64> = experiment.runs.iter().map(|run| run.seed).collect();
    seeds.sort_unstable();
    seeds.dedup();
    let data: Vec<(u64, String)> = seeds.into_iter().map(|seed| (seed, experiment.data.clone())).collect();
    let Some(member) = same else {
        let data_seeds = vec![data_seed];
        members.push(Member {
            label: String::new(),
            folders: vec![folder],
            experiment,
            arms: Vec::new(),
            values,
            data,
            data_seeds,
        });
        return;
    };
    member.data.extend(data);
    if !member.data_seeds.contains(&data_seed) {
        member.data_seeds.push(data_seed);
    }
    let all = &mut member.experiment;
    put_together(&mut all.runs, experiment.runs);
    put_together(&mut all.guides, experiment.guides);
    all.seconds += experiment.seconds;
    member.folders.push(folder);
}

/// `sgd, weight_decay 0.1`: the values of the keys that differ, or the name of the folder where they are too many.
fn label(member: &Member, keys: &[String]) -> String {
    let name = member.experiment.name.split("__replicate-").next().unwrap_or_default().to_string();
    let sweep = member.folders[0].parent().and_then(Path::file_name);
    // Repetitions without a combination are called as their sweep.
    let folder = match sweep {
        Some(sweep) if name.starts_with("replicate-") => sweep.to_string_lossy().into_owned(),
        _ => name,
    };
    if keys.is_empty() || keys.len() > LABELED {
        return folder;
    }
    let short = |key: &String| format!("{} {}", key.rsplit('.').next().unwrap_or(key), member.value(key));
    keys.iter().map(short).collect::<Vec<_>>().join(", ")
}
