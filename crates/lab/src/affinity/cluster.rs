//! Order in which alike rows of a matrix stand beside each other.

/// Order of the rows, by hierarchical clustering: the two clusters of least mean distance are joined, again and again (UPGMA). The
/// distance of two rows is the root of the mean squared difference, over the columns in which both have a finite number. A cluster
/// stands before the other if its first row did.
pub(super) fn order(rows: &[Vec<f64>]) -> Vec<usize> {
    let distance = |a: usize, b: usize| {
        let both = rows[a].iter().zip(&rows[b]).filter(|(x, y)| x.is_finite() && y.is_finite());
        let squares: Vec<f64> = both.map(|(x, y)| (x - y).powi(2)).collect();
        if squares.is_empty() { f64::MAX } else { (squares.iter().sum::<f64>() / squares.len() as f64).sqrt() }
    };
    let mut clusters: Vec<Vec<usize>> = (0..rows.len()).map(|row| vec![row]).collect();
    while clusters.len() > 1 {
        let mut nearest = (f64::INFINITY, 0, 1);
        for a in 0..clusters.len() {
            for b in a + 1..clusters.len() {
                let pairs = clusters[a].iter().flat_map(|&i| clusters[b].iter().map(move |&j| (i, j)));
                let (sum, count) = pairs.fold((0.0, 0), |(sum, count), (i, j)| (sum + distance(i, j), count + 1));
                if sum / f64::from(count) < nearest.0 {
                    nearest = (sum / f64::from(count), a, b);
                }
            }
        }
        let (_, a, b) = nearest;
        let joined = clusters.remove(b);
        clusters[a].extend(joined);
    }
    clusters.into_iter().next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::order;

    #[test]
    fn alike_rows_stand_beside_each_other() {
        let rows = [vec![0.0, 0.0], vec![9.0, 9.0], vec![0.1, 0.0], vec![9.0, 8.0], vec![f64::NAN, 0.2]];
        assert_eq!(order(&rows), [0, 2, 4, 1, 3]);
        assert_eq!(order(&[]), Vec::<usize>::new());
        assert_eq!(order(&[vec![f64::NAN], vec![1.0]]), [0, 1]);
    }
}
