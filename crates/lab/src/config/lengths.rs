//! Lengths in epochs, and what a configuration becomes once its data are known.

use std::path::Path;

use super::splits::default_batch;
use super::{Amount, Config, ConfigError, DataSet, TrainingConfig, refuse};
use trellis_guidance::{Dataset, Error, Result};

impl Config {
    /// This configuration, completed from the data: numbers of examples for shares, the batch, steps for epochs. Values
    /// that it has already stay, so that it may be resolved again. An epoch is as many steps as there are full batches
    /// of training examples. `path` names the file in errors.
    ///
    /// # Errors
    /// [`Error::Config`] where batch, steps or splits do not go together.
    pub fn resolved_for(&self, path: &Path, data: &Dataset) -> Result<Self> {
        let mut config = self.clone();
        let [train, validation, test] = data.asked();
        for (amount, count) in
            [(&mut config.data.train, train), (&mut config.data.validation, validation), (&mut config.data.test, test)]
        {
            if amount.and_then(Amount::count).is_none() {
                *amount = Some(Amount::Count(count));
            }
        }
        // Of what is there: broken examples may have been left out.
        let train = data.train_count();
        let batch = *config.training.batch.get_or_insert(default_batch(train));
        for arm in &config.arms {
            let batch = config.batch_of(arm);
            if batch > data.train().drawable() {
                let problem = format!("{batch} is more than the {train} training examples of {}", data.name());
                let hint = format!("for example batch = {}", default_batch(train));
                return Err(Error::config(path, config.training_key(arm, "batch"), problem, hint));
            }
        }
        let steps = |key: &str, epochs: u32, batch: usize| {
            let steps = u64::from(epochs) * (train / batch.max(1)) as u64;
            u32::try_from(steps).map_err(|_| {
                Error::config(path, key, format!("{epochs} epochs are more steps than are counted"), "give fewer")
            })
        };
        for (name, arm) in &mut config.arm {
            arm.resolve(&config.training, |key, epochs, batch| {
                steps(&format!("arm.{name}.training.{key}"), epochs, batch)
            })?;
        }
        let training = &mut config.training;
        if let Some(epochs) = training.epochs.take() {
            training.steps = steps("training.epochs", epochs, batch)?;
        }
        if let Some(epochs) = training.eval_every_epochs.take() {
            training.eval_every = steps("training.eval_every_epochs", epochs, batch)?;
        }
        for (name, guide) in [("guide".to_string(), &mut config.guide)]
            .into_iter()
            .chain(config.guides.iter_mut().map(|(name, guide)| (format!("guides.{name}"), guide)))
        {
            if let Some(epochs) = guide.keys.epochs.take() {
                guide.keys.steps = steps(&format!("{name}.epochs"), epochs, batch)?;
            }
        }
        config.guidance.first_steps = Some(config.first_steps());
        config.check(path)?;
        Ok(config)
    }

    /// Fills in values that need no data.
    pub(super) fn fill_in(&mut self) {
        let [train, validation, test] = self.data.amounts();
        (self.data.train, self.data.validation, self.data.test) = (train, validation, test);
        if self.data.set.is_drawn() && self.training.batch.is_none() {
            self.training.batch = train.and_then(Amount::count).map(default_batch);
        }
        if self.training.epochs.is_none() {
            self.guidance.first_steps = Some(self.first_steps());
        }
    }

    /// Examples of a batch of an arm: 128 as long as neither file nor data say otherwise.
    pub fn batch_of(&self, arm: &str) -> usize {
        self.training_of(arm).batch.unwrap_or(default_batch(usize::MAX))
    }

    /// Examples of a batch of the guides' own training.
    pub fn batch(&self) -> usize {
        self.training.batch.unwrap_or(default_batch(usize::MAX))
    }

    /// True if a length of the training is given in epochs and the data are not known yet.
    pub(super) fn is_in_epochs(&self) -> bool {
        let in_epochs = |training: &TrainingConfig| of_training(training).iter().any(|(.., epochs)| epochs.is_some());
        in_epochs(&self.training) || self.arms.iter().any(|arm| in_epochs(&self.training_of(arm)))
    }
}

/// Keys of `[training]` in epochs, each with the one in steps whose place it takes.
pub(super) const OF_TRAINING: [(&str, &str); 2] = [("epochs", "steps"), ("eval_every_epochs", "eval_every")];
/// Key of a guide in epochs, with the one in steps whose place it takes.
const OF_GUIDE: (&str, &str) = ("epochs", "steps");

/// [`OF_TRAINING`] with the epochs that are given.
pub(super) fn of_training(training: &TrainingConfig) -> [(&'static str, &'static str, Option<u32>); 2] {
    let [(epochs, steps), (eval_epochs, eval_steps)] = OF_TRAINING;
    [(epochs, steps, training.epochs), (eval_epochs, eval_steps, training.eval_every_epochs)]
}

/// Refuses one length given twice; `text` is the file, which has been read.
pub(super) fn given_twice(text: &str, path: &Path) -> Result<()> {
    let Ok(file) = text.parse::<toml::Table>() else { return Ok(()) };
    for (name, table, epochs, steps) in tables(&file) {
        if table.contains_key(epochs) && table.contains_key(steps) {
            let problem = format!("says the same as `{name}.{steps}` in another unit");
            return Err(Error::config(path, format!("{name}.{epochs}"), problem, "remove one of the two"));
        }
    }
    Ok(())
}

/// Removes steps that epochs stand for from a file that is written.
pub(super) fn drop_steps(file: &mut toml::Table) {
    let in_epochs: Vec<(String, &str)> = tables(file)
        .into_iter()
        .filter(|(_, table, epochs, _)| table.contains_key(*epochs))
        .map(|(name, _, _, steps)| (name, steps))
        .collect();
    for (name, steps) in in_epochs {
        let table = name.split('.').try_fold(&mut *file, |table, name| table.get_mut(name)?.as_table_mut());
        table.and_then(|table| table.remove(steps));
    }
}

/// Tables with keys in epochs: name, table, and the two keys.
fn tables(file: &toml::Table) -> Vec<(String, &toml::Table, &'static str, &'static str)> {
    let table = |name: &str| file.get(name).and_then(toml::Value::as_table);
    let training = table("training")
        .into_iter()
        .flat_map(|training| OF_TRAINING.map(|(epochs, steps)| ("training".to_string(), training, epochs, steps)));
    let named = table("guides").into_iter().flatten();
    let named = named.filter_map(|(name, guide)| Some((format!("guides.{name}"), guide.as_table()?)));
    let guides = table("guide").map(|guide| ("guide".to_string(), guide)).into_iter().chain(named);
    training.chain(guides.map(|(name, guide)| (name, guide, OF_GUIDE.0, OF_GUIDE.1))).collect()
}

/// Refuses epochs of none, and of examples that are drawn anew for every batch.
pub(super) fn check(config: &Config) -> Result<(), ConfigError> {
    let drawn = matches!(config.data.set, DataSet::CopyPaste | DataSet::Parity);
    let mut lengths = Vec::new();
    let trainings = config.arms.iter().map(|arm| (Some(arm), config.training_of(arm)));
    for (arm, training) in trainings.chain([(None, config.training.clone())]) {
        for (key, _, epochs) in of_training(&training) {
            lengths.push((arm.map_or(format!("training.{key}"), |arm| config.training_key(arm, key)), epochs, 1));
        }
    }
    for (name, guide) in config.guide_tables() {
        lengths.push((format!("{name}.epochs"), guide.keys.epochs, 0));
    }
    for (key, epochs, least) in lengths {
        match epochs {
            Some(_) if drawn => {
                let problem = "sequences are drawn anew for every batch, so they have no epochs";
                let hint = format!("give `{}`", if key.contains("eval") { "eval_every" } else { "steps" });
                return refuse(key, problem, hint);
            }
            Some(epochs) if epochs < least => return refuse(key, "is 0 or empty", "give a number above 0"),
            _ => {}
        }
    }
    Ok(())
}
