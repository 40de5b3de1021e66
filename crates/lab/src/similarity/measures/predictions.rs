//! Predictions of two networks on the same examples.

use trellis_data::Place;

use trellis_guidance::{Error, Result};

/// Predictions of a network for examples that have a label, one for each label.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Predictions {
    /// The labels.
    pub labels: Vec<u32>,
    /// The most likely classes.
    pub classes: Vec<u32>,
}

/// Agreement of two networks: in their predictions, and in being right.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Agreement {
    /// Number of labels.
    pub labels: usize,
    /// Share of labels that either predicts.
    pub top1: [f64; 2],
    /// Share of labels for which both predict the same class, right or wrong.
    pub agreement: f64,
    /// Error consistency (Geirhos et al. 2020, arXiv:2006.16736): Cohen's κ of being right. 1 if both are right on the same examples, 0 if
    /// as often as independent networks of their accuracies, below 0 if less often. `None` if both are
    /// always right, or both always wrong: chance gives the same.
    pub kappa: Option<f64>,
}

impl Predictions {
    /// Compares the predictions of two networks on the same examples.
    ///
    /// # Errors
    /// [`Error::Config`] if their labels differ, or there are none.
    pub fn compare(&self, other: &Self) -> Result<Agreement> {
        let count = self.labels.len();
        let whole = [&self.classes, &other.classes].iter().all(|classes| classes.len() == count);
        if count == 0 || self.labels != other.labels || !whole {
            let problem = if count == 0 { "no example has a label" } else { "they are of different examples" };
            let hint = "run both networks on the same examples, some with labels";
            return Err(Error::config(Place::setting("similarity"), "predictions", problem, hint));
        }
        let share = |count: usize| count as f64 / self.labels.len() as f64;
        let right = |side: &Self| side.labels.iter().zip(&side.classes).map(|(a, b)| a == b).collect::<Vec<_>>();
        let (a, b) = (right(self), right(other));
        let top1 = [&a, &b].map(|right| share(right.iter().filter(|right| **right).count()));
        let same = share(a.iter().zip(&b).filter(|(a, b)| a == b).count());
        let by_chance = top1[0] * top1[1] + (1.0 - top1[0]) * (1.0 - top1[1]);
        let agreement = share(self.classes.iter().zip(&other.classes).filter(|(a, b)| a == b).count());
        let kappa = (by_chance < 1.0).then(|| (same - by_chance) / (1.0 - by_chance));
        Ok(Agreement { labels: count, top1, agreement, kappa })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn predictions(labels: &[u32], classes: &[u32]) -> Predictions {
        Predictions { labels: labels.to_vec(), classes: classes.to_vec() }
    }

    #[test]
    fn kappa_is_the_share_beyond_chance() {
        let labels = [0, 1, 2, 3];
        let all = predictions(&labels, &labels);
        let half = predictions(&labels, &[0, 1, 0, 0]);
        // The wrong half agrees in one prediction; both are right on the same examples.
        let other = predictions(&labels, &[0, 1, 0, 1]);
        let both = half.compare(&other).unwrap();
        assert_eq!((both.labels, both.top1, both.agreement, both.kappa), (4, [0.5, 0.5], 0.75, Some(1.0)));
        let opposite = predictions(&labels, &[1, 0, 2, 3]);
        assert_eq!(half.compare(&opposite).unwrap().kappa, Some(-1.0));
        // One that is always right is consistent with chance; two of them tell nothing.
        assert_eq!(all.compare(&half).unwrap().kappa, Some(0.0));
        assert_eq!(all.compare(&all).unwrap().kappa, None);
        assert!(all.compare(&predictions(&[0, 1, 2, 2], &labels)).is_err());
        assert!(predictions(&[], &[]).compare(&predictions(&[], &[])).is_err());
    }
}
