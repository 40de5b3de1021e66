//! Statistics of the tensors in a safetensors file.

use super::file::{WeightsFile, blocks, sort_key};
use crate::error::{Error, Result};

/// Summary of a tensor in a file: name, type, shape and statistics.
#[derive(Clone, Debug, PartialEq)]
pub struct TensorSummary {
    /// Its name in the file.
    pub name: String,
    /// Its type in the file: `F32`.
    pub dtype: String,
    /// Its shape.
    pub shape: Vec<usize>,
    /// Mean and standard deviation, least and greatest value; of those that are finite. `None` where it holds no floats.
    pub statistics: Option<[f64; 4]>,
    /// Values that are not finite.
    pub not_finite: usize,
}

impl WeightsFile {
    /// Every tensor, in order of the names, numbers in names counted as numbers. The file is read once, in blocks of a few MiB.
    ///
    /// # Errors
    /// [`Error::Data`](crate::Error::Data) if it cannot be read.
    pub fn summaries(&self) -> Result<Vec<TensorSummary>> {
        let mut names = self.names();
        names.sort_by_cached_key(|name| sort_key(name));
        names.into_iter().map(|name| self.summary(name)).collect()
    }

    fn summary(&self, name: String) -> Result<TensorSummary> {
        let info = self.info(&name).expect("its own name");
        let mut moments = Moments::default();
        for block in blocks(info.shape.iter().product()) {
            match self.some_numbers(&name, info, block) {
                Ok(numbers) => moments.add(&numbers),
                Err(Error::Checkpoint { .. }) => {
                    moments = Moments::default();
                    break;
                }
                Err(error) => return Err(error),
            }
        }
        let Moments { count, not_finite, mean, squares, least, greatest } = moments;
        let deviation = (squares / count.max(1) as f64).sqrt();
        Ok(TensorSummary {
            dtype: format!("{:?}", info.dtype),
            shape: info.shape.clone(),
            name,
            statistics: (count > 0).then_some([mean, deviation, least, greatest]),
            not_finite,
        })
    }
}

/// Statistics of numbers that come in blocks.
struct Moments {
    /// Numbers that are finite, and others.
    count: usize,
    not_finite: usize,
    mean: f64,
    /// Sum of the squared distances from the mean.
    squares: f64,
    least: f64,
    greatest: f64,
}

impl Default for Moments {
    fn default() -> Self {
        Self { count: 0, not_finite: 0, mean: 0.0, squares: 0.0, least: f64::MAX, greatest: f64::MIN }
    }
}

impl Moments {
    /// Adds a block: its own mean and squares first, then both as one (Chan, Golub and LeVeque 1983).
    fn add(&mut self, numbers: &[f32]) {
        let finite = || numbers.iter().filter(|value| value.is_finite()).map(|&value| f64::from(value));
        let count = finite().count();
        self.not_finite += numbers.len() - count;
        if count == 0 {
            return;
        }
        let mean = finite().sum::<f64>() / count as f64;
        let squares: f64 = finite().map(|value| (value - mean).powi(2)).sum();
        let (before, all) = (self.count as f64, (self.count + count) as f64);
        let apart = mean - self.mean;
        self.squares += squares + apart * apart * before * (count as f64 / all);
        self.mean += apart * (count as f64 / all);
        self.count += count;
        (self.least, self.greatest) = finite().fold((self.least, self.greatest), |(l, g), v| (l.min(v), g.max(v)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_have_the_statistics_of_the_whole() {
        let numbers: Vec<f32> = (0..1000).map(|at| 1e4 + (at * 37 % 101) as f32).chain([f32::NAN, -3.0]).collect();
        let (mut whole, mut parts) = (Moments::default(), Moments::default());
        whole.add(&numbers);
        [&numbers[..1], &numbers[1..7], &[f32::INFINITY], &numbers[7..]].iter().for_each(|part| parts.add(part));
        assert_eq!((parts.count, parts.not_finite, parts.least, parts.greatest), (1001, 2, -3.0, 10_100.0));
        assert_eq!((whole.count, whole.not_finite), (1001, 1));
        assert!((parts.mean / whole.mean - 1.0).abs() < 1e-12, "{} {}", parts.mean, whole.mean);
        assert!((parts.squares / whole.squares - 1.0).abs() < 1e-10, "{} {}", parts.squares, whole.squares);
    }
}
