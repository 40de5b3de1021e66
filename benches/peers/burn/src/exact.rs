//! The same results on the host in f64, to check that what is timed is what it claims to be.

use burn::tensor::Tensor;

/// Row by row.
#[derive(Clone)]
pub struct Matrix {
    pub rows: usize,
    pub columns: usize,
    pub values: Vec<f64>,
}

impl Matrix {
    pub fn of(tensor: &Tensor<2>) -> Self {
        let [rows, columns] = tensor.dims();
        Self { rows, columns, values: read(tensor) }
    }

    pub fn product(&self, other: &Self) -> Self {
        assert_eq!(self.columns, other.rows, "inner sizes");
        let mut values = vec![0.0; self.rows * other.columns];
        for (row, out) in self.values.chunks(self.columns).zip(values.chunks_mut(other.columns)) {
            for (a, line) in row.iter().zip(other.values.chunks(other.columns)) {
                for (sum, b) in out.iter_mut().zip(line) {
                    *sum += a * b;
                }
            }
        }
        Self { rows: self.rows, columns: other.columns, values }
    }

    pub fn row_sums(&self) -> Self {
        self.product(&Self { rows: self.columns, columns: 1, values: vec![1.0; self.columns] })
    }

    pub fn relu(mut self) -> Self {
        self.values.iter_mut().for_each(|value| *value = value.max(0.0));
        self
    }

    fn transposed(&self) -> Self {
        let (rows, columns) = (self.columns, self.rows);
        let values = (0..rows * columns).map(|i| self.values[i % columns * rows + i / columns]).collect();
        Self { rows, columns, values }
    }

    /// Less the mean of each column.
    fn centered(mut self) -> Self {
        for column in 0..self.columns {
            let mean = self.values.iter().skip(column).step_by(self.columns).sum::<f64>() / self.rows as f64;
            self.values.iter_mut().skip(column).step_by(self.columns).for_each(|value| *value -= mean);
        }
        self
    }

    fn dot(&self, other: &Self) -> f64 {
        self.values.iter().zip(&other.values).map(|(a, b)| a * b).sum()
    }
}

/// A convolution's output: examples, channels, height and width, and its values in this order.
#[derive(Clone)]
pub struct Images {
    pub shape: [usize; 4],
    pub values: Vec<f64>,
}

impl Images {
    pub fn of(tensor: &Tensor<4>) -> Self {
        Self { shape: tensor.dims(), values: read(tensor) }
    }

    /// 3×3, stride 2, a border of one zero, then ReLU.
    pub fn convolve(&self, weight: &Tensor<4>, bias: &Tensor<1>) -> Self {
        let ([batch, channels, height, width], [outputs, ..]) = (self.shape, weight.dims());
        let (weight, bias) = (read(weight), read(bias));
        let (high, wide) = (height.div_ceil(2), width.div_ceil(2));
        let mut values = Vec::with_capacity(batch * outputs * high * wide);
        for index in 0..batch * outputs * high * wide {
            let (x, y) = (index % wide, index / wide % high);
            let (output, example) = (index / (wide * high) % outputs, index / (wide * high * outputs));
            let mut sum = bias[output];
            for tap in 0..channels * 9 {
                let (channel, row, column) = (tap / 9, 2 * y + tap % 9 / 3, 2 * x + tap % 3);
                if (1..=height).contains(&row) && (1..=width).contains(&column) {
                    let pixel = ((example * channels + channel) * height + row - 1) * width + column - 1;
                    sum += weight[output * channels * 9 + tap] * self.values[pixel];
                }
            }
            values.push(sum.max(0.0));
        }
        Self { shape: [batch, outputs, high, wide], values }
    }

    /// An example a row.
    pub fn flattened(&self) -> Matrix {
        let [rows, channels, height, width] = self.shape;
        Matrix { rows, columns: channels * height * width, values: self.values.clone() }
    }

    /// An example a row, the mean over the pixels of each channel.
    pub fn pooled(&self) -> Matrix {
        let [rows, columns, height, width] = self.shape;
        let mean = |channel: &[f64]| channel.iter().sum::<f64>() / channel.len() as f64;
        Matrix { rows, columns, values: self.values.chunks(height * width).map(mean).collect() }
    }
}

/// Biased linear CKA of two layers `[n, p]`, `[n, q]`, and its gradient by the first. With the centered Gram matrices K
/// and L, their norms a and b and the value c, it is 2 (L / (a b) − c K / a²) X. See `docs/alignment.md`.
pub fn cka(x: &Matrix, y: &Matrix) -> (f64, Matrix) {
    let (x, y) = (x.clone().centered(), y.clone().centered());
    let (k, l) = (x.product(&x.transposed()), y.product(&y.transposed()));
    let (a, b) = (k.dot(&k).sqrt(), l.dot(&l).sqrt());
    let value = k.dot(&l) / (a * b);
    let combined = k.values.iter().zip(&l.values).map(|(k, l)| 2.0 * (l / (a * b) - value * k / (a * a)));
    let combined = Matrix { rows: k.rows, columns: k.columns, values: combined.collect() };
    (value, combined.product(&x))
}

/// The mean over the rows of −log softmax at the label: row number modulo the number of classes.
pub fn cross_entropy(logits: &Matrix) -> f64 {
    let loss = |(number, row): (usize, &[f64])| {
        row.iter().map(|logit| logit.exp()).sum::<f64>().ln() - row[number % logits.columns]
    };
    logits.values.chunks(logits.columns).enumerate().map(loss).sum::<f64>() / logits.rows as f64
}

pub fn read<const D: usize>(tensor: &Tensor<D>) -> Vec<f64> {
    tensor.clone().into_data().iter::<f64>().collect()
}

/// Ends the program where Burn's numbers are off by more than `tolerance` of the largest of the exact ones.
pub fn agree(what: &str, measured: &[f64], exact: &[f64], tolerance: f64) {
    assert_eq!(measured.len(), exact.len(), "{what}: as many numbers as expected");
    let largest = exact.iter().fold(0.0, |most: f64, value| most.max(value.abs()));
    // No maximum of the differences: it would lose a NaN.
    for (measured, exact) in measured.iter().zip(exact) {
        let close = (measured - exact).abs() <= tolerance * largest;
        assert!(close, "{what}: Burn computes {measured}, the formula gives {exact}; it does other work than Trellis");
    }
}
