//! Initial values of parameters: seeded, drawn on the CPU, the same on every machine.

use crate::shape::Shape;
use trellis_rng::Rng;

/// Distribution of a parameter's initial values. Weights are `[out, in]` or `[out, in, kh, kw]`, as in PyTorch: fan-in is the
/// product of all axes but the first, fan-out that of all but the second.
///
/// ```
/// use trellis_rng::Rng;
/// use trellis_tensor::{Init, Shape};
/// let weight = Init::Default.values(&Shape::from([10, 100]), &mut Rng::new(0, 0));
/// assert!(weight.iter().all(|w| w.abs() <= 0.1)); // 1 / √fan-in
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Init {
    /// The same value everywhere.
    Constant(f32),
    /// Uniform in ± the bound.
    Uniform(f32),
    /// Normal with mean 0 and the standard deviation; 1 is PyTorch's default for embeddings.
    Normal(f32),
    /// PyTorch's default for weights of linear and convolution layers: uniform in ± 1/√fan-in. Their biases are
    /// [`Init::Uniform`] with the same bound.
    Default,
    /// Uniform with variance gain² / fan-in; gain √2 for ReLU (He et al. 2015, arXiv:1502.01852).
    KaimingUniform(f32),
    /// Normal with variance gain² / fan-in.
    KaimingNormal(f32),
    /// Uniform with variance gain² / fan-out: keeps the size of gradients rather than of activations.
    KaimingUniformOut(f32),
    /// Normal with variance gain² / fan-out; with gain √2 that of torchvision's ResNets.
    KaimingNormalOut(f32),
    /// Uniform with variance 2 gain² / (fan-in + fan-out) (Glorot and Bengio 2010).
    XavierUniform(f32),
    /// Normal with variance 2 gain² / (fan-in + fan-out).
    XavierNormal(f32),
    /// Rows (or columns, if there are fewer of them) of length gain, at right angles to each other (Saxe et al. 2014,
    /// arXiv:1312.6120). All axes but the first count as one.
    Orthogonal(f32),
    /// Square matrices one above the other, `[blocks · n, n]`, each [`Init::Orthogonal`] by itself: recurrent weights, a matrix
    /// for each gate.
    OrthogonalBlocks(f32),
    /// The identity: 1 where row and column are the same, 0 elsewhere. For recurrent weights (Le et al. 2015, arXiv:1504.00941).
    Identity,
    /// `[…, time, width]`: at position t sine and cosine, in turn, of t / 10000^(2i / width) (Vaswani et al. 2017,
    /// arXiv:1706.03762, section 3.5).
    Sinusoidal,
}

impl Init {
    /// The values of a parameter, row-major.
    ///
    /// ```
    /// use trellis_rng::Rng;
    /// use trellis_tensor::{Init, Shape};
    /// let (weight, bias) = (Shape::from([64, 16, 3, 3]), Shape::from([64]));
    /// let rng = &mut Rng::new(7, 0);
    /// assert_eq!(Init::KaimingNormalOut(2f32.sqrt()).values(&weight, rng).len(), 64 * 16 * 3 * 3);
    /// assert_eq!(Init::Constant(0.0).values(&bias, rng), vec![0.0; 64]);
    /// ```
    pub fn values(self, shape: &Shape, rng: &mut Rng) -> Vec<f32> {
        self.sequence(shape, rng).collect()
    }

    /// The values of a parameter, row-major, one after another: those of a large one need not be in memory at once. Orthogonal
    /// matrices are drawn whole.
    pub(crate) fn sequence<'a>(self, shape: &'a Shape, rng: &'a mut Rng) -> Box<dyn Iterator<Item = f32> + 'a> {
        let n = shape.elements();
        match self.of(shape) {
            Init::Uniform(bound) => Box::new((0..n).map(move |_| rng.range(-bound, bound))),
            Init::Normal(deviation) => Box::new((0..n).map(move |_| deviation * rng.normal())),
            Init::Sinusoidal => Box::new((0..n).map(move |at| sinusoid(at, shape))),
            Init::Orthogonal(gain) => {
                Box::new(orthogonal(shape.first().copied().unwrap_or(1), n, gain, rng).into_iter())
            }
            Init::OrthogonalBlocks(gain) => {
                let side = shape.last_axis().max(1);
                let block = move |_| orthogonal(side, side * side, gain, rng);
                Box::new((0..n.div_ceil(side * side)).flat_map(block).take(n))
            }
            Init::Constant(value) => Box::new(std::iter::repeat_n(value, n)),
            Init::Identity => {
                let columns = shape.last_axis().max(1);
                Box::new((0..n).map(move |at| f32::from(at / columns == at % columns)))
            }
            other => unreachable!("{other:?} is uniform or normal"),
        }
    }

    /// The same distribution for a parameter of this shape, in numbers that no longer depend on the shape: for a part of its
    /// rows, say.
    ///
    /// ```
    /// use trellis_tensor::{Init, Shape};
    /// assert_eq!(Init::Default.of(&Shape::from([10, 100])), Init::Uniform(0.1));
    /// ```
    pub fn of(self, shape: &Shape) -> Self {
        let fan_in = shape.iter().skip(1).product::<usize>().max(1) as f32;
        let window = shape.iter().skip(2).product::<usize>() as f32;
        let fan_out = shape.first().map_or(1.0, |&out| out as f32 * window).max(1.0);
        match self {
            Init::Default => Init::Uniform(1.0 / fan_in.sqrt()),
            Init::KaimingUniform(gain) => Init::Uniform(gain * (3.0 / fan_in).sqrt()),
            Init::KaimingUniformOut(gain) => Init::Uniform(gain * (3.0 / fan_out).sqrt()),
            Init::XavierUniform(gain) => Init::Uniform(gain * (6.0 / (fan_in + fan_out)).sqrt()),
            Init::KaimingNormal(gain) => Init::Normal(gain / fan_in.sqrt()),
            Init::KaimingNormalOut(gain) => Init::Normal(gain / fan_out.sqrt()),
            Init::XavierNormal(gain) => Init::Normal(gain * (2.0 / (fan_in + fan_out)).sqrt()),
            same => same,
        }
    }
}

/// Element `at` of sinusoidal positions.
fn sinusoid(at: usize, shape: &Shape) -> f32 {
    let width = shape.last_axis();
    let time = shape.len().checked_sub(2).map_or(1, |axis| shape[axis]);
    let (position, column) = (at / width % time, at % width);
    let angle = position as f64 / 10_000f64.powf((column - column % 2) as f64 / width as f64);
    (if column % 2 == 0 { angle.sin() } else { angle.cos() }) as f32
}

/// Gram-Schmidt on normal vectors, which is unique up to rotation; twice, so that rounding does not add up.
fn orthogonal(rows: usize, n: usize, gain: f32, rng: &mut Rng) -> Vec<f32> {
    let columns = n.checked_div(rows).unwrap_or(0);
    let (count, length) = (rows.min(columns), rows.max(columns));
    let mut basis: Vec<Vec<f64>> = Vec::with_capacity(count);
    while basis.len() < count {
        let mut vector: Vec<f64> = (0..length).map(|_| f64::from(rng.normal())).collect();
        for known in basis.iter().chain(&basis) {
            let along: f64 = known.iter().zip(&vector).map(|(a, b)| a * b).sum();
            vector.iter_mut().zip(known).for_each(|(v, k)| *v -= along * k);
        }
        let norm = vector.iter().map(|v| v * v).sum::<f64>().sqrt();
        if norm > 1e-6 {
            basis.push(vector.iter().map(|v| v / norm).collect());
        }
    }
    let at = |i: usize| {
        let (row, column) = (i / columns, i % columns);
        if rows <= columns { basis[row][column] } else { basis[column][row] }
    };
    (0..n).map(|i| gain * at(i) as f32).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn deviation(init: Init, shape: [usize; 4]) -> f64 {
        let values = init.values(&shape.into(), &mut Rng::new(3, 0));
        let mean = values.iter().map(|&v| f64::from(v)).sum::<f64>() / values.len() as f64;
        assert!(mean.abs() < 0.01, "{init:?} has mean {mean}");
        (values.iter().map(|&v| f64::from(v).powi(2)).sum::<f64>() / values.len() as f64).sqrt()
    }

    #[test]
    fn first_values_need_no_others() {
        let shape = Shape::from([1000, 1000]);
        let first: Vec<f32> = Init::Default.sequence(&shape, &mut Rng::new(0, 0)).take(3).collect();
        assert_eq!(first, Init::Default.values(&shape, &mut Rng::new(0, 0))[..3]);
    }

    #[test]
    fn deviations_are_those_of_the_papers() {
        let shape = [64, 32, 3, 3]; // fan-in 288, fan-out 576
        for (init, expected) in [
            (Init::Default, 1.0 / (3.0f64 * 288.0).sqrt()),
            (Init::KaimingUniform(2f32.sqrt()), (2.0f64 / 288.0).sqrt()),
            (Init::KaimingNormal(2f32.sqrt()), (2.0f64 / 288.0).sqrt()),
            (Init::KaimingUniformOut(2f32.sqrt()), (2.0f64 / 576.0).sqrt()),
            (Init::KaimingNormalOut(2f32.sqrt()), (2.0f64 / 576.0).sqrt()),
            (Init::XavierUniform(1.0), (2.0f64 / (288.0 + 576.0)).sqrt()),
            (Init::XavierNormal(1.0), (2.0f64 / (288.0 + 576.0)).sqrt()),
            (Init::Normal(0.02), 0.02),
            (Init::Uniform(0.3), 0.3 / 3f64.sqrt()),
        ] {
            let found = deviation(init, shape);
            assert!((found / expected - 1.0).abs() < 0.02, "{init:?}: {found} for {expected}");
        }
    }

    #[test]
    fn each_block_is_orthogonal_by_itself() {
        let w = Init::OrthogonalBlocks(1.0).values(&[12, 4].into(), &mut Rng::new(1, 0));
        assert_eq!(w.len(), 48);
        for block in w.chunks(16) {
            for (i, j) in (0..4).flat_map(|i| (0..4).map(move |j| (i, j))) {
                let dot: f32 = (0..4).map(|k| block[4 * i + k] * block[4 * j + k]).sum();
                assert!((dot - if i == j { 1.0 } else { 0.0 }).abs() < 1e-5, "{i} {j}: {dot}");
            }
        }
        assert_ne!(w[..16], w[16..32]);
    }

    #[test]
    fn the_identity_leaves_a_vector_as_it_is() {
        let values = Init::Identity.values(&[3, 3].into(), &mut Rng::new(1, 0));
        assert_eq!(values, [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0]);
    }

    #[test]
    fn orthogonal_rows_or_columns_have_the_gain_as_length() {
        for (rows, columns) in [(5, 40), (40, 5), (16, 16), (1, 1)] {
            let w = Init::Orthogonal(2.0).values(&[rows, columns].into(), &mut Rng::new(1, 0));
            let at =
                |i: usize, j: usize| f64::from(if rows <= columns { w[i * columns + j] } else { w[j * columns + i] });
            let (count, length) = (rows.min(columns), rows.max(columns));
            for a in 0..count {
                for b in 0..count {
                    let dot: f64 = (0..length).map(|k| at(a, k) * at(b, k)).sum();
                    assert!((dot - if a == b { 4.0 } else { 0.0 }).abs() < 1e-5, "{rows}x{columns}: {a}, {b}: {dot}");
                }
            }
        }
    }

    #[test]
    fn uniform_values_fill_their_bounds_and_normal_ones_have_normal_tails() {
        let shape = Shape::from([64, 32, 3, 3]); // fan-in 288
        let bound = 1.0 / 288f32.sqrt();
        let values = Init::Default.values(&shape, &mut Rng::new(5, 0));
        let (low, high) = values.iter().fold((0f32, 0f32), |(low, high), &v| (low.min(v), high.max(v)));
        assert!(-bound <= low && low < -0.99 * bound && 0.99 * bound < high && high <= bound, "{low} to {high}");
        // A fourth moment of 3 and one value in 22 past two deviations, within four standard errors.
        let values = Init::Normal(1.0).values(&shape, &mut Rng::new(5, 0));
        let n = values.len() as f64;
        let fourth = values.iter().map(|&v| f64::from(v).powi(4)).sum::<f64>() / n;
        assert!((fourth - 3.0).abs() < 4.0 * (96.0 / n).sqrt(), "{fourth}");
        let far = values.iter().filter(|v| v.abs() > 2.0).count() as f64 / n;
        assert!((far - 0.0455).abs() < 4.0 * (0.0455 * 0.9545 / n).sqrt(), "{far}");
    }

    #[test]
    fn scalars_and_empty_parameters_have_as_many_values_as_elements() {
        let fans = [Init::Default, Init::KaimingNormalOut(1.0), Init::XavierUniform(1.0), Init::Orthogonal(1.0)];
        for init in fans {
            for shape in [Shape::from([]), [3].into(), [0, 4].into(), [4, 0].into(), [2, 3, 0, 3].into()] {
                let values = init.values(&shape, &mut Rng::new(1, 0));
                assert_eq!(values.len(), shape.elements(), "{init:?} {shape}");
                assert!(values.iter().all(|v| v.is_finite()), "{init:?} {shape}: {values:?}");
            }
        }
    }

    #[test]
    fn a_seed_gives_the_same_values_and_another_seed_others() {
        let draw = |seed| Init::KaimingNormal(1.0).values(&[8, 8].into(), &mut Rng::new(seed, 0));
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
    }
}
