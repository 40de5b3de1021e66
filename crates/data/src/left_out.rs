//! Examples that a run left out because they could not be read, counted.

use serde::{Deserialize, Serialize};

/// Number of examples of one class that were left out, in each split.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftOut {
    /// Name of the class; `None` where it is not known without reading the example.
    pub class: Option<String>,
    /// Of the training split.
    pub train: usize,
    /// Of the validation split.
    pub validation: usize,
    /// Of the test split.
    pub test: usize,
}

impl LeftOut {
    /// Of all splits.
    pub fn total(&self) -> usize {
        self.train + self.validation + self.test
    }

    /// Number of the split that is called so.
    pub fn of_split(&mut self, name: &str) -> &mut usize {
        match name {
            "validation" => &mut self.validation,
            "test" => &mut self.test,
            _ => &mut self.train,
        }
    }

    /// For each class and split the greater of two counts. A process that goes on with a run reads only some of a streamed set
    /// again.
    pub fn greater(mut ours: Vec<Self>, earlier: &[Self]) -> Vec<Self> {
        for theirs in earlier {
            match ours.iter_mut().find(|row| row.class == theirs.class) {
                Some(row) => {
                    row.train = row.train.max(theirs.train);
                    row.validation = row.validation.max(theirs.validation);
                    row.test = row.test.max(theirs.test);
                }
                None => ours.push(theirs.clone()),
            }
        }
        ours
    }
}
