//! Running an experiment: every arm with every seed, into a run folder.

mod beside;
mod gaps;
pub(crate) mod guides;
mod initial;
mod journal;
mod twins;

use std::io::ErrorKind;
use std::panic::resume_unwind;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Instant;

use crate::checkpoints::{Checkpoints, file_name};
use crate::config::Config;
use crate::memory::Memory;
use crate::record::names::{PREDICT, is_guide};
use crate::record::{Diverged, Existing, Experiment, RunFolder};
use crate::report::{curve_svg, predict_py, write_report};
pub use beside::Beside;
use gaps::{gap_before, gap_warning, gaps};
use guides::{Guides, trained_further, unknown_scale};
use journal::Journal;
use trellis_data::io::write_atomic;
use trellis_data::{LeftOut, Place};
use trellis_guidance::trainer::RunRecord;
use trellis_guidance::weights::WeightsFile;
use trellis_guidance::{Dataset, Error, Event, Result, Trainer};

/// Progress of an experiment, for a display.
#[derive(Clone, Copy, Debug)]
pub enum Progress<'a> {
    /// All steps of the experiment, those of guides included.
    Total(u64),
    /// A run begins: its arm (or `guide`) and seed.
    Run(&'a str, u64),
    /// Steps have been taken, with the last loss, in the run of this arm and seed.
    Steps(&'a str, u64, u64, Option<f32>),
    /// Something a person should know.
    Warning(&'a str),
    /// An older folder of the name was there; it lies here now.
    MovedAside(&'a Path),
    /// A run of an arm, or of a guide by itself, is finished.
    Done(&'a RunRecord),
}

/// Runs `config` on `data` and leaves `<root>/<name>/` with configuration, metrics, checkpoints, summary, `report.html`
/// and its first plot as `top1.svg`. `existing` says what becomes of an older folder of the name.
///
/// # Errors
/// When something cannot be written, does not fit, or diverges; what was measured before stays in the folder. After a run of an arm that
/// diverged the others are trained all the same, and its error is returned at the end.
pub fn run(
    config: &Config,
    data: &Dataset,
    root: &Path,
    existing: Existing,
    progress: &mut (dyn FnMut(Progress<'_>) + Send),
) -> Result<Experiment> {
    run_on(config, std::slice::from_ref(data), root, existing, progress)
}

/// Like [`run`], with a worker for each of `copies`, which are the same data set on devices of their own. The workers share the
/// seeds out among them, and each seed has the same bits as with a single worker. On a software adapter this pays where a step is too
/// small to keep all cores busy.
///
/// # Errors
/// As [`run`]; [`Error::Config`] if there is no copy, or one is of other data.
pub fn run_on(
    config: &Config,
    copies: &[Dataset],
    root: &Path,
    existing: Existing,
    progress: &mut (dyn FnMut(Progress<'_>) + Send),
) -> Result<Experiment> {
    run_beside(config, copies, root, existing, &Beside::default(), progress)
}

/// Like [`run_on`], for one of several experiments on devices of one kind: a run that another one `beside` it has finished is copied
/// from there if it is the same, and the record says so. One that another is at is waited for. The run of an arm that begins with the
/// weights of another is always trained.
///
/// # Errors
/// As [`run_on`].
pub fn run_beside(
    config: &Config,
    copies: &[Dataset],
    root: &Path,
    existing: Existing,
    beside: &Beside,
    progress: &mut (dyn FnMut(Progress<'_>) + Send),
) -> Result<Experiment> {
    let started = Instant::now();
    let described = copies.first().map(Dataset::describe);
    let Some(data) = copies.first().filter(|_| copies.iter().all(|copy| Some(copy.describe()) == described)) else {
        let problem = "workers need at least one copy of the data, and the same data each";
        return Err(Error::config(Place::setting("experiment"), "data", problem, "give each worker a copy"));
    };
    let config = &config.resolved_for(Path::new("configuration"), data)?;
    let guides = config.guides_in_use();
    let scales = guides.iter().map(|guide| unknown_scale(config, guide, data)).collect::<Result<Vec<_>>>()?;
    // Layers that do not fit each other, and experiments that do not fit into memory, are refused before anything is trained.
    let memory = Memory::of_each(config, data)?;
    let copied = copies.len().min(config.seeds.len());
    Memory::largest(&memory).map_or(Ok(()), |most| most.check(data.gpu(), copied))?;
    let unused = check_weights(config, data)?;
    if existing == Existing::Resume {
        guides::check_kept(config, data, &root.join(&config.name))?;
    }
    let mut experiment = Experiment {
        name: config.name.clone(),
        adapter: data.gpu().name().to_string(),
        version: env!("CARGO_PKG_VERSION").to_string(),
        config_toml: config.to_toml(),
        data: [&[data.describe()], data.warnings(), &unused].concat().join("; "),
        class_names: data.class_names().to_vec(),
        memory: memory.into_iter().map(|memory| (memory.arm, memory.peak)).collect(),
        ..Experiment::default()
    };
    let mut folder = RunFolder::create(root, &experiment, existing)?;
    if let Some(moved) = folder.moved() {
        progress(Progress::MovedAside(moved));
    }
    let earlier = Experiment::read(folder.path())?;
    if existing == Existing::Resume && earlier.runs.is_empty() && earlier.guides.is_empty() {
        progress(Progress::Warning("there is no run to go on with: it begins anew"));
    }
    if (&earlier.adapter, &earlier.version) != (&experiment.adapter, &experiment.version) {
        let Experiment { adapter, version, .. } = &earlier;
        progress(Progress::Warning(&format!("it began on {adapter} with version {version}: not the same bits")));
    }
    // Parts of the data that are not used may have changed.
    if !in_present_words(&earlier.data).starts_with(&data.describe()) {
        let problem = format!("it began with other data: {}; now {}", earlier.data, experiment.data);
        return Err(Error::data(folder.path(), problem, "give the same data, or do not resume"));
    }
    let further: Vec<String> = guides.iter().filter_map(|guide| trained_further(config, guide)).collect();
    scales.iter().flatten().chain(&unused).chain(&further).for_each(|warning| progress(Progress::Warning(warning)));
    folder.extend(&experiment)?;
    let earlier = match twins::copy(config, &experiment, &mut folder, &earlier, beside)? {
        0 => earlier,
        _ => Experiment::read(folder.path())?,
    };
    let splits: Vec<&str> = data.splits().map(|(name, _)| name).collect();
    for gap in gaps(config, &earlier, &splits, true) {
        progress(Progress::Warning(&gap_warning(&folder, &gap, "it is finished, and its record tells of the gap")));
    }
    let of_guides = guides.iter().map(|guide| config.guide_steps(guide));
    let of_arms = config.arms.iter().map(|arm| config.training_of(arm).steps);
    let steps: u64 = of_guides.chain(of_arms).map(u64::from).sum();
    progress(Progress::Total(steps * config.seeds.len() as u64));
    let path = folder.path().to_path_buf();
    let journal = Journal {
        path: &path,
        of: &experiment,
        earlier: &earlier,
        beside,
        diverged: Mutex::default(),
        splits,
        folder: Mutex::new(folder),
        progress: Mutex::new(progress),
    };
    let outcome = share_out(config, copies, &journal);
    let Journal { folder, splits, diverged, .. } = journal;
    let mut diverged = diverged.into_inner().unwrap_or_else(PoisonError::into_inner);
    // Workers came to them in any order.
    let place = |arm: &str, seed: u64| {
        (config.seeds.iter().position(|own| *own == seed), config.arms.iter().position(|own| own == arm))
    };
    diverged.sort_by_key(|(arm, seed, _)| place(arm, *seed));
    experiment.diverged = diverged
        .iter()
        .map(|(arm, seed, e)| Diverged { arm: arm.clone(), seed: *seed, error: e.to_string() })
        .collect();
    let outcome = outcome.and(diverged.into_iter().next().map_or(Ok(()), |(.., error)| Err(error)));
    let folder = folder.into_inner().unwrap_or_else(PoisonError::into_inner);
    // As it is logged: with what an earlier process did.
    let Experiment { runs, guides, .. } = Experiment::read(folder.path())?;
    (experiment.runs, experiment.guides) = (runs, guides);
    experiment.left_out = Dataset::left_out_of(copies);
    if data.is_streamed() {
        experiment.left_out = LeftOut::greater(experiment.left_out, &earlier.left_out);
    }
    experiment.missing = gaps(config, &experiment, &splits, false);
    experiment.seconds = earlier.seconds + started.elapsed().as_secs_f64();
    experiment.failure = outcome.as_ref().err().map(Error::to_string);
    // A run that failed leaves what came before it, report included.
    folder.finish(&experiment)?;
    experiment.predict_py = predict_py(folder.path(), &experiment);
    if let Some(program) = &experiment.predict_py {
        write_atomic(&folder.path().join(PREDICT), program.as_bytes())?;
    }
    write_report(&experiment, &folder.path().join("report.html"))?;
    write_atomic(&folder.path().join("top1.svg"), curve_svg(&experiment).as_bytes())?;
    outcome.map(|()| experiment)
}

/// The description of data, where a version before this one wrote it of sequences: `24 tokens out of 11 of 11 classes`.
fn in_present_words(data: &str) -> String {
    match data.split_once(" tokens out of ") {
        Some((before, after)) => format!("{before} tokens from a vocabulary of {}", after.replacen(" of ", ", ", 1)),
        None => data.to_string(),
    }
}

/// Refuses files of weights that are not of the guides or targets that they are to be loaded into. On a GPU that was opened for a dry
/// run they are read, and that is all. Gives a sentence for each file with tensors that its guide has no use for, and for each target
/// that begins with weights for images of another scale.
///
/// # Errors
/// As [`load`](trellis_guidance::weights::load); [`Error::Data`] for a file that is not there.
pub fn check_weights(config: &Config, data: &Dataset) -> Result<Vec<String>> {
    let mut warnings = Vec::new();
    for guide in config.guides_in_use() {
        if let Some(file) = config.guide_activations(&guide)
            && !guides::check_activations(data, file)?
        {
            warnings.push(format!("{}: is of other data than those that are counted here", file.display()));
        }
        let Some(weights) = config.guide_weights(&guide) else { continue };
        let unused = guides::load_given(&config.draw_guide(&guide, data, 0)?, weights)?;
        if !unused.is_empty() {
            warnings.push(format!("{}: not used, as they follow the layers: {}", weights.display(), unused.join(", ")));
        }
    }
    warnings.extend(initial::check(config, data)?);
    Ok(warnings)
}

/// Trains every seed, each worker the next one that none has begun. After an error no seed is begun; the first one is returned, in
/// order of the seeds.
fn share_out(config: &Config, copies: &[Dataset], journal: &Journal<'_>) -> Result<()> {
    let (next, failed) = (AtomicUsize::new(0), AtomicBool::new(false));
    let work = |data: &Dataset| {
        let mut outcomes = Vec::new();
        while !failed.load(Ordering::Relaxed) {
            let number = next.fetch_add(1, Ordering::Relaxed);
            let Some(&seed) = config.seeds.get(number) else { break };
            let outcome = run_seed(config, data, seed, journal);
            failed.fetch_or(outcome.is_err(), Ordering::Relaxed);
            outcomes.push((number, outcome));
        }
        outcomes
    };
    let mut outcomes = match copies {
        [data] => work(data),
        _ => thread::scope(|scope| {
            let workers: Vec<_> = copies.iter().map(|data| scope.spawn(|| work(data))).collect();
            workers.into_iter().flat_map(|worker| worker.join().unwrap_or_else(|panic| resume_unwind(panic))).collect()
        }),
    };
    outcomes.sort_by_key(|(number, _)| *number);
    outcomes.into_iter().try_for_each(|(_, outcome)| outcome)
}

/// Trains the guides and arms of a seed.
fn run_seed(config: &Config, data: &Dataset, seed: u64, journal: &Journal<'_>) -> Result<()> {
    let guides = Guides::make(config, data, seed, &journal.earlier.guides, journal);
    let guides = guides.map_err(|error| error.in_run(format!("guide, seed {seed}")))?;
    for arm in &config.arms {
        journal.tell(Progress::Run(arm, seed));
        let steps = config.training_of(arm).steps;
        if journal.earlier.runs_of(arm).any(|run| run.seed == seed && run.is_finished_after(steps)) {
            if let Err(error) = WeightsFile::read(&journal.path.join(file_name(arm, seed))) {
                let warning = format!("{arm}, seed {seed} is finished, and its weights cannot be read: {error}");
                journal.tell(Progress::Warning(&warning));
            }
            journal.tell(Progress::Steps(arm, seed, u64::from(steps), None));
            continue;
        }
        let train = || run_arm(config, data, &guides, arm, seed, journal);
        let key = twins::key_of_arm(config, arm, seed);
        let trained = journal.train_or_copy(config, (arm, seed), key, train);
        match trained.map_err(|error| error.in_run(format!("arm {arm}, seed {seed}"))) {
            Ok(true) => {}
            Ok(false) => journal.tell(Progress::Steps(arm, seed, u64::from(steps), None)),
            Err(error) if error.is_divergence() => {
                journal.tell(Progress::Warning(&error.to_string()));
                let mut diverged = journal.diverged.lock().unwrap_or_else(PoisonError::into_inner);
                diverged.push((arm.clone(), seed, error));
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn run_arm(
    config: &Config,
    data: &Dataset,
    guides: &Guides,
    arm: &str,
    seed: u64,
    journal: &Journal<'_>,
) -> Result<()> {
    let target = config.draw_target(arm, data, seed)?;
    let trainer = config.trainer(arm, &target, data, |guide| guides.get(guide).cloned(), seed);
    let recipe = initial::recipe_of(config, arm, &target, data, seed);
    // A run that goes on has the weights of its state.
    if !journal.folder().state(arm, seed).exists() {
        initial::load_initial(config, arm, seed, &target, &recipe, journal.path)?;
    }
    let checkpoints = Checkpoints::new(&target, journal.path, recipe).with_best();
    train(trainer, config.training_of(arm).steps, checkpoints, arm, seed, journal)
}

/// Runs `trainer` for `steps` steps, from where it was if an earlier process began, and leaves the `checkpoints` of its network.
fn train(
    trainer: Trainer<'_>,
    steps: u32,
    mut checkpoints: Checkpoints<'_>,
    arm: &str,
    seed: u64,
    journal: &Journal<'_>,
) -> Result<()> {
    let state = journal.folder().state(arm, seed);
    if !state.exists() {
        journal.folder().begin_anew(arm, seed)?;
    }
    journal.folder().start(arm, seed, &trainer.pairs()?)?;
    let trainer = trainer.resumable(&state);
    let mut run = trainer.run_with(&mut |event| {
        report(&event, journal, arm, seed);
        checkpoints.follow(&event)?;
        if let Event::Resumed(step) = event {
            let training = trainer.training();
            journal.folder().go_back(arm, seed, step, training.evaluates_after(step))?;
            let gap = gap_before(step, arm, training, &journal.splits, journal.earlier, &journal.folder());
            if let Some(gap) = gap {
                journal.tell(Progress::Warning(&gap));
            }
        }
        log(&event, &mut journal.folder(), arm, seed)
    })?;
    run.arm = arm.to_string();
    run.best_step = checkpoints.finish(u64::from(steps))?;
    journal.folder().end(&run)?;
    // An arm can go on to more steps from its state. The learning rate of a guide falls to 0 at its end: there is no further.
    if is_guide(arm) {
        match std::fs::remove_file(&state) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(Error::io(&state, error)),
            _ => {}
        }
    }
    journal.tell(Progress::Done(&run));
    Ok(())
}

fn log(event: &Event<'_>, folder: &mut RunFolder, arm: &str, seed: u64) -> Result<()> {
    match event {
        Event::Steps(steps) => folder.steps(arm, seed, steps),
        Event::Eval(eval) => folder.eval(arm, seed, eval),
        Event::Warning(_) | Event::Resumed(_) => Ok(()),
    }
}

fn report(event: &Event<'_>, journal: &Journal<'_>, arm: &str, seed: u64) {
    match event {
        Event::Steps(steps) => {
            journal.tell(Progress::Steps(arm, seed, steps.len() as u64, steps.last().map(|step| step.loss)));
        }
        Event::Warning(text) => journal.tell(Progress::Warning(&format!("{arm}, seed {seed}: {text}"))),
        Event::Resumed(step) => journal.tell(Progress::Steps(arm, seed, u64::from(*step), None)),
        Event::Eval(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptions_of_earlier_versions_are_understood() {
        let now =
            "train 64, test 64, sequences of 24 tokens from a vocabulary of 11, 11 classes, drawn by seed 0 of these";
        let before = now.replace("from a vocabulary of 11, 11", "out of 11 of 11");
        assert_eq!((in_present_words(&before), in_present_words(now)), (now.to_string(), now.to_string()));
        let images = "train 64, test 64, images [1, 16, 16] of 10 classes";
        assert_eq!(in_present_words(images), images);
    }
}
