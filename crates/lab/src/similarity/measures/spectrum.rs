//! Eigenvalues and eigenvectors of symmetric matrices, and singular values, in f64.
//!
//! Reflections by Householder make a symmetric matrix tridiagonal. Implicit QR steps with Wilkinson's shift make that diagonal
//! (Golub and Van Loan, "Matrix Computations", 4th edition, section 8.3). A general matrix becomes bidiagonal. Its singular values
//! σ are the eigenvalues ±σ of a tridiagonal matrix without a diagonal, twice as large (section 8.6). Nothing is squared on the way,
//! so small singular values are as exact as large ones: to a few roundings of the largest.
//!
//! Cost in FLOPs: 9 n³ for all eigenvectors, 8/3 n³ for the singular values of a square matrix.

use super::products::{add, dot};

/// Rounds of QR steps for each eigenvalue. Two or three are usual, and Wilkinson's shift always converges: a matrix that holds
/// NaN does not.
const ROUNDS: usize = 60;

/// Eigenvalues of a symmetric matrix, greatest first, and their vectors.
#[derive(Debug)]
pub(super) struct Eigen {
    pub(super) values: Vec<f64>,
    /// Vectors of length 1 as rows, `[n, n]`.
    pub(super) vectors: Vec<f64>,
}

/// A symmetric tridiagonal matrix.
struct Tridiagonal {
    diagonal: Vec<f64>,
    beside: Vec<f64>,
}

/// Makes `x` the unit vector v of the reflection `I − 2 v vᵀ` that takes it to a multiple of the first axis, and gives that
/// multiple; `None` for a vector of zeros.
fn reflection(x: &mut [f64]) -> Option<f64> {
    let length = dot(x, x).sqrt();
    if length == 0.0 {
        return None;
    }
    // The sign without cancellation.
    let multiple = if x[0] > 0.0 { -length } else { length };
    x[0] -= multiple;
    let scale = dot(x, x).sqrt().recip();
    x.iter_mut().for_each(|x| *x *= scale);
    Some(multiple)
}

/// Eigenvalues and eigenvectors of the symmetric matrix `a`, `[n, n]`; `None` if it holds what is not finite.
pub(super) fn symmetric(mut a: Vec<f64>) -> Option<Eigen> {
    let n = a.len().isqrt();
    let mut beside = vec![0.0; n.saturating_sub(1)];
    let mut axes: Vec<Option<Vec<f64>>> = Vec::new();
    for k in 0..n.saturating_sub(2) {
        let mut v = a[k * n + k + 1..(k + 1) * n].to_vec();
        let Some(multiple) = reflection(&mut v) else {
            axes.push(None);
            continue;
        };
        beside[k] = multiple;
        let rest = |row: usize| row * n + k + 1..(row + 1) * n;
        let mut w: Vec<f64> = (k + 1..n).map(|row| 2.0 * dot(&a[rest(row)], &v)).collect();
        let along = dot(&v, &w);
        add(&mut w, -along, &v);
        for row in k + 1..n {
            add(&mut a[rest(row)], -v[row - k - 1], &w);
            add(&mut a[rest(row)], -w[row - k - 1], &v);
        }
        axes.push(Some(v));
    }
    if n >= 2 {
        beside[n - 2] = a[(n - 2) * n + n - 1];
    }
    let diagonal = (0..n).map(|at| a[at * n + at]).collect();
    // The product of all reflections, transposed.
    let mut vectors = vec![0.0; n * n];
    (0..n).for_each(|at| vectors[at * n + at] = 1.0);
    for (k, v) in axes.iter().enumerate().rev().filter_map(|(k, v)| Some((k, v.as_ref()?))) {
        for row in k + 1..n {
            let row = &mut vectors[row * n + k + 1..(row + 1) * n];
            let along = dot(row, v);
            add(row, -2.0 * along, v);
        }
    }
    let values = Tridiagonal { diagonal, beside }.eigenvalues(|k, cosine, sine| {
        let (first, second) = vectors[k * n..(k + 2) * n].split_at_mut(n);
        for (x, y) in first.iter_mut().zip(second) {
            (*x, *y) = (cosine * *x + sine * *y, cosine * *y - sine * *x);
        }
    })?;
    let mut order: Vec<usize> = (0..n).collect();
    order.sort_by(|&i, &j| values[j].total_cmp(&values[i]));
    Some(Eigen {
        values: order.iter().map(|&at| values[at]).collect(),
        vectors: order.iter().flat_map(|&at| &vectors[at * n..(at + 1) * n]).copied().collect(),
    })
}

/// Singular values of `matrix`, `[rows, columns]`, greatest first; `None` if it holds what is not finite.
pub(super) fn singular_values(matrix: Vec<f64>, rows: usize, columns: usize) -> Option<Vec<f64>> {
    let (mut m, rows, columns) = match rows >= columns {
        true => (matrix, rows, columns),
        false => {
            let transposed = (0..rows * columns).map(|at| matrix[at % rows * columns + at / rows]).collect();
            (transposed, columns, rows)
        }
    };
    // Diagonal and superdiagonal of the bidiagonal matrix, alternating.
    let mut beside = vec![0.0; (2 * columns).saturating_sub(1)];
    for k in 0..columns {
        let rest = |row: usize| row * columns + k + 1..(row + 1) * columns;
        let mut v: Vec<f64> = (k..rows).map(|row| m[row * columns + k]).collect();
        if let Some(multiple) = reflection(&mut v) {
            beside[2 * k] = multiple;
            let mut w = vec![0.0; columns - k - 1];
            (k..rows).for_each(|row| add(&mut w, 2.0 * v[row - k], &m[rest(row)]));
            (k..rows).for_each(|row| add(&mut m[rest(row)], -v[row - k], &w));
        }
        let mut u = m[rest(k)].to_vec();
        if u.len() > 1 {
            if let Some(multiple) = reflection(&mut u) {
                beside[2 * k + 1] = multiple;
                for row in k + 1..rows {
                    let along = dot(&m[rest(row)], &u);
                    add(&mut m[rest(row)], -2.0 * along, &u);
                }
            }
        } else if let [last] = u[..] {
            beside[2 * k + 1] = last;
        }
    }
    let mut values = Tridiagonal { diagonal: vec![0.0; 2 * columns], beside }.eigenvalues(|_, _, _| {})?;
    values.sort_by(|a, b| b.total_cmp(a));
    values.truncate(columns);
    values.iter_mut().for_each(|value| *value = value.max(0.0));
    Some(values)
}

impl Tridiagonal {
    /// Its eigenvalues, in no order; `None` if it holds what is not finite. `rotate` is told of each rotation, `(k, cosine, sine)`:
    /// the new eigenvectors k and k + 1 are `cosine · v[k] + sine · v[k + 1]` and `cosine · v[k + 1] − sine · v[k]`.
    fn eigenvalues(mut self, mut rotate: impl FnMut(usize, f64, f64)) -> Option<Vec<f64>> {
        let (mut high, mut rounds) = (self.diagonal.len().saturating_sub(1), 0);
        let largest = self.diagonal.iter().chain(&self.beside).fold(0.0_f64, |most, value| most.max(value.abs()));
        let negligible = f64::EPSILON * largest;
        if !self.diagonal.iter().chain(&self.beside).all(|value| value.is_finite()) {
            return None;
        }
        while high > 0 {
            if self.beside[high - 1].abs() <= negligible {
                high -= 1;
                continue;
            }
            let low = (0..high).rev().find(|&at| at == 0 || self.beside[at - 1].abs() <= negligible).unwrap_or(0);
            self.step(low, high, &mut rotate);
            rounds += 1;
            if rounds > ROUNDS * self.diagonal.len() {
                return None;
            }
        }
        Some(self.diagonal)
    }

    /// One implicit QR step of rows `low` to `high`.
    fn step(&mut self, low: usize, high: usize, rotate: &mut impl FnMut(usize, f64, f64)) {
        let Self { diagonal: d, beside: e } = self;
        // The eigenvalue of the last 2 × 2 matrix that is nearer to its last number.
        let half = (d[high - 1] - d[high]) / 2.0;
        let last = e[high - 1];
        let root = half.hypot(last);
        let shift = d[high] - last * (last / (half + if half < 0.0 { -root } else { root }));
        let (mut x, mut z) = (d[low] - shift, e[low]);
        for k in low..high {
            let length = (x * x + z * z).sqrt();
            let (cosine, sine) = if length > 0.0 { (x / length, z / length) } else { (1.0, 0.0) };
            if k > low {
                e[k - 1] = length;
            }
            let (a, b, f) = (d[k], d[k + 1], e[k]);
            let cross = 2.0 * cosine * sine * f;
            d[k] = cosine * cosine * a + cross + sine * sine * b;
            d[k + 1] = sine * sine * a - cross + cosine * cosine * b;
            e[k] = cosine * sine * (b - a) + (cosine * cosine - sine * sine) * f;
            if k + 1 < high {
                (x, z) = (e[k], sine * e[k + 1]);
                e[k + 1] *= cosine;
            }
            rotate(k, cosine, sine);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::f64::consts::PI;

    use trellis_rng::Rng;

    use super::*;

    fn near(got: &[f64], wanted: &[f64], tolerance: f64) {
        assert_eq!(got.len(), wanted.len());
        for (a, b) in got.iter().zip(wanted) {
            assert!((a - b).abs() < tolerance, "{got:?} for {wanted:?}");
        }
    }

    fn drawn(count: usize, stream: u64) -> Vec<f64> {
        let mut rng = Rng::new(3, stream);
        (0..count).map(|_| f64::from(rng.normal())).collect()
    }

    /// `a bᵀ` of `[n, k]` and `[m, k]`.
    fn product(a: &[f64], b: &[f64], k: usize) -> Vec<f64> {
        a.chunks(k).flat_map(|a| b.chunks(k).map(move |b| dot(a, b))).collect()
    }

    #[test]
    fn eigenvalues_of_matrices_that_are_known() {
        // Second differences: 2 − 2 cos(π k / (n + 1)).
        for n in [1, 2, 3, 10, 60] {
            let at = |i: usize, j: usize| [2.0, -1.0, 0.0][i.abs_diff(j).min(2)];
            let matrix = (0..n * n).map(|k| at(k / n, k % n)).collect();
            let wanted: Vec<f64> = (1..=n).rev().map(|k| 2.0 - 2.0 * (PI * k as f64 / (n + 1) as f64).cos()).collect();
            near(&symmetric(matrix).unwrap().values, &wanted, 1e-14);
        }
        near(&symmetric(vec![2.0, 1.0, 1.0, 2.0]).unwrap().values, &[3.0, 1.0], 1e-14);
        // One row of ones: a single eigenvalue that is not 0.
        let ones = symmetric(vec![1.0; 25]).unwrap();
        near(&ones.values, &[5.0, 0.0, 0.0, 0.0, 0.0], 1e-14);
        let third = ones.vectors[0];
        assert!(ones.vectors[..5].iter().all(|x| (x - third).abs() < 1e-14));
        near(&symmetric(vec![0.0; 9]).unwrap().values, &[0.0; 3], 1e-300);
        assert!(symmetric(Vec::new()).unwrap().values.is_empty());
        assert!(symmetric(vec![f64::NAN; 9]).is_none() && symmetric(vec![f64::INFINITY; 4]).is_none());
    }

    #[test]
    fn eigenvectors_give_the_matrix_back() {
        for (n, rank) in [(1, 1), (7, 7), (40, 12), (64, 64)] {
            let x = drawn(n * rank, n as u64);
            let gram = product(&x, &x, rank);
            let Eigen { values, vectors } = symmetric(gram.clone()).unwrap();
            let size = values[0];
            assert!(values.windows(2).all(|pair| pair[0] >= pair[1]));
            assert!(values[rank..].iter().all(|value| value.abs() < 1e-13 * size), "{values:?}");
            let identity: Vec<f64> = (0..n * n).map(|at| if at / n == at % n { 1.0 } else { 0.0 }).collect();
            near(&product(&vectors, &vectors, n), &identity, 1e-13);
            let mut back = vec![0.0; n * n];
            for (value, v) in values.iter().zip(vectors.chunks(n)) {
                back.chunks_mut(n).zip(v).for_each(|(row, x)| add(row, value * x, v));
            }
            near(&back, &gram, 1e-13 * size);
        }
    }

    #[test]
    fn singular_values_are_roots_of_eigenvalues() {
        for (rows, columns) in [(1, 1), (9, 4), (4, 9), (30, 30), (2, 50), (5, 1)] {
            let x = drawn(rows * columns, 90 + rows as u64);
            let got = singular_values(x.clone(), rows, columns).unwrap();
            let mut wanted: Vec<f64> =
                symmetric(product(&x, &x, columns)).unwrap().values.iter().map(|value| value.max(0.0).sqrt()).collect();
            wanted.truncate(rows.min(columns));
            near(&got, &wanted, 1e-7);
            let squares: f64 = got.iter().map(|value| value * value).sum();
            assert!((squares - dot(&x, &x)).abs() < 1e-12 * squares);
        }
        near(&singular_values(vec![3.0, 0.0, 0.0, 0.0, -4.0, 0.0], 2, 3).unwrap(), &[4.0, 3.0], 1e-14);
        near(&singular_values(vec![1.0; 12], 3, 4).unwrap(), &[12.0_f64.sqrt(), 0.0, 0.0], 1e-14);
        // Small ones are not lost in the squares of large ones.
        near(
            &singular_values(vec![1.0, 1.0, 0.0, 1e-12], 2, 2).unwrap(),
            &[2.0_f64.sqrt(), 0.5_f64.sqrt() * 1e-12],
            1e-14,
        );
        assert!(singular_values(vec![f64::NAN; 6], 2, 3).is_none());
    }
}
