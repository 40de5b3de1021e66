//! The state of a run in a file, from which a run that was killed goes on: the same bits as if it had not been.

use std::path::Path;
use std::time::{Duration, Instant};

use trellis_tensor::Tensor;

use super::guides::phase::WORDS;
use super::session::Session;
use crate::error::{Error, Result};
use crate::weights::{Entry, Format, WeightsFile, write_entries};

/// Time that a run has taken so far: in all, and for its steps.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Elapsed {
    pub(super) total: Duration,
    pub(super) training: Duration,
}

/// Checkpointer: keeps the state of a run in a file, if it has one, now and then.
pub(super) struct Checkpointer<'a> {
    path: Option<&'a Path>,
    last: Instant,
    /// Time that the last save took.
    cost: Duration,
}

impl<'a> Checkpointer<'a> {
    pub(super) fn new(path: Option<&'a Path>) -> Self {
        Self { path, last: Instant::now(), cost: Duration::ZERO }
    }

    /// Goes on from the file, if it is there.
    pub(super) fn resume(&self, session: &mut Session<'_>) -> Result<Elapsed> {
        self.path.filter(|path| path.exists()).map_or(Ok(Elapsed::default()), |path| session.resume(path))
    }

    /// Saves the state after the steps that were submitted, unless there is none yet or the last save is too recent.
    /// Saving takes at most a twentieth of the time.
    pub(super) fn keep(&mut self, session: &Session<'_>, spent: Elapsed) -> Result<()> {
        let now = Instant::now();
        let Some(path) = self.path.filter(|_| session.step() > 0 && now - self.last >= 20 * self.cost) else {
            return Ok(());
        };
        session.save(path, spent)?;
        (self.cost, self.last) = (now.elapsed(), Instant::now());
        Ok(())
    }

    /// Keeps the state at the end of the run, from which a longer one can go on.
    pub(super) fn finish(&self, session: &Session<'_>, spent: Elapsed) -> Result<()> {
        self.path.map_or(Ok(()), |path| session.save(path, spent))
    }

    /// Time for which steps may be taken until the state is saved again, if no evaluation comes before.
    pub(super) fn save_interval(&self) -> Duration {
        if self.path.is_some() { Duration::from_secs(60).max(20 * self.cost) } else { Duration::MAX }
    }
}

impl Session<'_> {
    /// Tensors that change from step to step, by name: parameters, running statistics, regressors of hints, moments.
    fn tensors(&self) -> impl Iterator<Item = (String, &Tensor)> {
        let network = self.target.tensors().map(|tensor| (format!("network.{}", tensor.name()), tensor));
        let moments = self.optimizer.state().map(|tensor| (format!("optimizer.{}", tensor.name()), tensor));
        let hints = self.hints.iter().flat_map(|hints| hints.params().tensors());
        network.chain(hints.map(|tensor| (tensor.name().to_string(), tensor))).chain(moments)
    }

    /// Writes the state after the steps that were submitted, whole or not at all; waits for them.
    fn save(&self, path: &Path, spent: Elapsed) -> Result<()> {
        let tensors: Vec<(String, &Tensor)> = self.tensors().collect();
        // Halves of words are numbers that f32 has.
        let step_state = self.step_state.tensor().read_u32()?;
        let halves = |words: &[u32]| -> Vec<f32> {
            words.iter().flat_map(|word| [word & 0xffff, word >> 16]).map(|half| half as f32).collect()
        };
        let words: Vec<u32> = self.guides.iter().flat_map(|guided| guided.phase.words()).collect();
        let (step_state, phase) = (halves(&step_state), halves(&words));
        let seconds = [spent.total.as_secs_f32(), spent.training.as_secs_f32()];
        let mut entries: Vec<Entry<'_>> = tensors.iter().map(|(name, tensor)| Entry::on_gpu(name, tensor)).collect();
        entries.push(Entry::given("clock", vec![step_state.len()], &step_state));
        if self.guides.depend_on_progress() {
            entries.push(Entry::given("phase", vec![phase.len()], &phase));
        }
        entries.push(Entry::given("seconds", vec![2], &seconds));
        write_entries(path, entries, Format::F32, format!("a run at step {}", self.step).into())
    }

    /// Goes on from the state in a file; the session has taken no step yet.
    fn resume(&mut self, path: &Path) -> Result<Elapsed> {
        let hint = "remove the file: the run then begins anew";
        let bad = |problem: String| Error::checkpoint(path, problem, hint);
        let file = WeightsFile::read(path).map_err(|error| bad(format!("is no state of a run ({error})")))?;
        let values = |name: &str, shape: &[usize]| match file.tensor(name)? {
            Some((found, values)) if found == shape => Ok(values),
            Some((found, _)) => Err(bad(format!("`{name}` is {found:?}, not {shape:?}"))),
            None => Err(bad(format!("lacks `{name}`"))),
        };
        let word = |halves: &[f32]| halves.iter().rev().fold(0, |word, &half| word << 16 | half as u32);
        let step_state: Vec<u32> =
            values("clock", &[2 * self.step_state.tensor().ty().elements()])?.chunks(2).map(word).collect();
        let [total, training] = values("seconds", &[2])?[..] else { return Err(bad("lacks its time".to_string())) };
        let duration =
            |seconds: f32| Duration::try_from_secs_f32(seconds).map_err(|_| bad(format!("took {seconds} s")));
        let spent = Elapsed { total: duration(total)?, training: duration(training)? };
        let mut guides = self.guides.clone();
        if guides.depend_on_progress() {
            let words = values("phase", &[2 * WORDS * guides.iter().len()])?;
            let words: Vec<u32> = words.chunks(2).map(word).collect();
            for (phase, words) in guides.phases().zip(words.chunks(WORDS)) {
                phase.restore(words.try_into().map_err(|_| bad("lacks its phase".to_string()))?);
            }
        }
        let step = step_state[0];
        if step > self.training.steps {
            return Err(bad(format!("is at step {step} of {}", self.training.steps)));
        }
        // All that can be wrong is known before anything changes.
        self.tensors().try_for_each(|(name, tensor)| values(&name, tensor.shape()).map(drop))?;
        for (name, tensor) in self.tensors() {
            tensor.write_f32(&values(&name, tensor.shape())?)?;
            tensor.gpu().flush()?;
        }
        self.step_state.tensor().write_u32(&step_state)?;
        (self.step, self.guides) = (step, guides);
        Ok(spent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_is_kept_every_minute_unless_that_takes_long() {
        assert_eq!(Checkpointer::new(None).save_interval(), Duration::MAX);
        let mut keeper = Checkpointer::new(Some(Path::new("x")));
        assert_eq!(keeper.save_interval(), Duration::from_secs(60));
        keeper.cost = Duration::from_secs(5);
        assert_eq!(keeper.save_interval(), Duration::from_secs(100));
    }
}
