//! Shards: the cells that one of several processes runs.

use std::fmt;
use std::str::FromStr;

use trellis_data::Place;
use trellis_guidance::{Error, Result};

/// One of several processes that share the cells of a sweep out among them: every `count`-th cell, from `index` on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shard {
    /// Number of the process, from 0.
    pub index: usize,
    /// Number of processes.
    pub count: usize,
}

impl Shard {
    /// A process by itself.
    pub const WHOLE: Self = Self { index: 0, count: 1 };

    /// True if the process runs cell number `cell`.
    pub fn has(self, cell: usize) -> bool {
        cell % self.count == self.index
    }

    /// The shard that a job scheduler names in the environment: a task of a Slurm array (`SLURM_ARRAY_TASK_ID`, `_MIN` and `_COUNT`),
    /// or a pod of an indexed Job of Kubernetes (`JOB_COMPLETION_INDEX`), whose number of pods is `TRELLIS_SHARDS`. `None` without one.
    ///
    /// # Errors
    /// [`Error::Config`] that names a variable which is no number, or missing beside another.
    pub fn from_env(variable: impl Fn(&str) -> Option<String>) -> Result<Option<Self>> {
        let number = |name: &str| -> Result<Option<usize>> {
            let Some(text) = variable(name).filter(|text| !text.is_empty()) else { return Ok(None) };
            text.trim().parse().map(Some).map_err(|_| {
                Error::config(Place::setting("environment"), name, format!("{text:?} is no number"), "use --shard I/N")
            })
        };
        let missing = |name: &str, beside: &str| {
            Error::config(
                Place::setting("environment"),
                name,
                format!("is missing beside {beside}"),
                "set it, or use --shard I/N",
            )
        };
        if let Some(task) = number("SLURM_ARRAY_TASK_ID")? {
            let count = number("SLURM_ARRAY_TASK_COUNT")?
                .ok_or_else(|| missing("SLURM_ARRAY_TASK_COUNT", "SLURM_ARRAY_TASK_ID"))?;
            let first = number("SLURM_ARRAY_TASK_MIN")?.unwrap_or(0);
            let last = number("SLURM_ARRAY_TASK_MAX")?.unwrap_or(first + count.max(1) - 1);
            // Some tasks of an array, or one that is submitted again, are no parts of the whole.
            if last + 1 != first + count || (count == 1 && first > 0) {
                let problem =
                    format!("an array of {count} tasks from {first} to {last} does not tell which part a task has");
                return Err(Error::config(
                    Place::setting("environment"),
                    "SLURM_ARRAY_TASK_COUNT",
                    problem,
                    "give --shard $SLURM_ARRAY_TASK_ID/N, for N tasks from 0 on",
                ));
            }
            return Self::checked(task.wrapping_sub(first), count, "SLURM_ARRAY_TASK_ID").map(Some);
        }
        if let Some(index) = number("JOB_COMPLETION_INDEX")? {
            let count = number("TRELLIS_SHARDS")?.ok_or_else(|| missing("TRELLIS_SHARDS", "JOB_COMPLETION_INDEX"))?;
            return Self::checked(index, count, "JOB_COMPLETION_INDEX").map(Some);
        }
        match number("TRELLIS_SHARDS")? {
            Some(_) => Err(missing("JOB_COMPLETION_INDEX", "TRELLIS_SHARDS")),
            None => Ok(None),
        }
    }

    fn checked(index: usize, count: usize, given: &str) -> Result<Self> {
        if index < count {
            return Ok(Self { index, count });
        }
        let problem = format!("{index} is no shard of {count}; they count from 0");
        Err(Error::config(Place::setting("sweep"), given, problem, "use --shard 0/N to N-1/N, and arrays without gaps"))
    }
}

/// `0/8`
impl FromStr for Shard {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        let parsed = text.split_once('/').and_then(|(index, count)| Some((index.parse().ok()?, count.parse().ok()?)));
        match parsed {
            Some((index, count)) => Self::checked(index, count, "--shard"),
            None => Err(Error::config(
                Place::setting("sweep"),
                "--shard",
                format!("{text:?} is not of the form 0/8"),
                "give the number of this process, from 0, and of all",
            )),
        }
    }
}

impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.index, self.count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_share_all_cells_out() {
        for count in 1..5 {
            let shards: Vec<Shard> =
                (0..count).map(|index| format!("{index}/{count}").parse().expect("a shard")).collect();
            assert!((0..17).all(|cell| shards.iter().filter(|shard| shard.has(cell)).count() == 1));
        }
        for text in ["3/3", "1", "a/2", "-1/2", "0/0"] {
            assert!(text.parse::<Shard>().is_err(), "{text}");
        }
    }

    #[test]
    fn schedulers_name_the_shard() {
        let from = |variables: &[(&str, &str)]| {
            Shard::from_env(|name| variables.iter().find(|(own, _)| *own == name).map(|(_, value)| value.to_string()))
        };
        assert_eq!(from(&[]).expect("none"), None);
        let array = [("SLURM_ARRAY_TASK_ID", "7"), ("SLURM_ARRAY_TASK_COUNT", "8"), ("SLURM_ARRAY_TASK_MIN", "1")];
        assert_eq!(from(&array).expect("a task"), Some(Shard { index: 6, count: 8 }));
        let pod = [("JOB_COMPLETION_INDEX", "2"), ("TRELLIS_SHARDS", "4")];
        assert_eq!(from(&pod).expect("a pod"), Some(Shard { index: 2, count: 4 }));
        for (variables, named) in [
            (&array[..1], "SLURM_ARRAY_TASK_COUNT"),
            (&pod[..1], "TRELLIS_SHARDS"),
            (&pod[1..], "JOB_COMPLETION_INDEX"),
            (
                &[("SLURM_ARRAY_TASK_ID", "2"), ("SLURM_ARRAY_TASK_COUNT", "4"), ("SLURM_ARRAY_TASK_MAX", "6")][..],
                "4 tasks from 0 to 6",
            ),
            (
                &[("SLURM_ARRAY_TASK_ID", "3"), ("SLURM_ARRAY_TASK_COUNT", "1"), ("SLURM_ARRAY_TASK_MIN", "3")][..],
                "1 tasks from 3 to 3",
            ),
            (&[("JOB_COMPLETION_INDEX", "x")][..], "JOB_COMPLETION_INDEX"),
            (&[("JOB_COMPLETION_INDEX", "4"), ("TRELLIS_SHARDS", "4")][..], "4 is no shard of 4"),
        ] {
            let error = from(variables).expect_err(named).to_string();
            assert!(error.contains(named), "{error}");
        }
    }
}
