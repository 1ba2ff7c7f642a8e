//! Solving for a symmetric positive definite matrix: all that Newton's method needs.

/// A square matrix, row after row; of a symmetric one the lower half.
#[derive(Debug, Clone)]
pub(super) struct Square {
    pub(super) values: Vec<f64>,
    pub(super) size: usize,
}

impl Square {
    pub(super) fn zero(size: usize) -> Self {
        Square { values: vec![0.0; size * size], size }
    }

    /// Adds `weight` times the outer product of a row with itself.
    pub(super) fn add_outer(&mut self, row: &[f64], weight: f64) {
        for (i, &a) in row.iter().enumerate() {
            let scaled = weight * a;
            for (value, &b) in self.values[i * self.size..][..=i].iter_mut().zip(row) {
                *value += scaled * b;
            }
        }
    }

    pub(super) fn add_diagonal(&mut self, at: usize, value: f64) {
        self.values[at * self.size + at] += value;
    }

    /// x of A x = b by Cholesky's decomposition; none where the matrix is not positive definite.
    pub(super) fn solve(mut self, b: &[f64]) -> Option<Vec<f64>> {
        let n = self.size;
        for j in 0..n {
            for i in j..n {
                let dot: f64 = (0..j).map(|k| self.values[i * n + k] * self.values[j * n + k]).sum();
                let left = self.values[i * n + j] - dot;
                if i == j {
                    if left.is_nan() || left <= 0.0 {
                        return None;
                    }
                    self.values[j * n + j] = left.sqrt();
                } else {
                    self.values[i * n + j] = left / self.values[j * n + j];
                }
            }
        }
        let mut x = b.to_vec();
        for i in 0..n {
            let dot: f64 = (0..i).map(|k| self.values[i * n + k] * x[k]).sum();
            x[i] = (x[i] - dot) / self.values[i * n + i];
        }
        for i in (0..n).rev() {
            let dot: f64 = (i + 1..n).map(|k| self.values[k * n + i] * x[k]).sum();
            x[i] = (x[i] - dot) / self.values[i * n + i];
        }
        Some(x)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_solved_solves(rows in prop::collection::vec(prop::collection::vec(-5.0..5.0f64, 4), 6..20), b in prop::collection::vec(-5.0..5.0f64, 4)) {
            let mut square = Square::zero(4);
            for row in &rows {
                square.add_outer(row, 1.5);
            }
            (0..4).for_each(|at| square.add_diagonal(at, 1.0));
            let full = |i: usize, j: usize| square.values[i.max(j) * 4 + i.min(j)];
            let x = square.clone().solve(&b).unwrap();
            for (i, b) in b.iter().enumerate() {
                let product: f64 = (0..4).map(|j| full(i, j) * x[j]).sum();
                prop_assert!((product - b).abs() < 1e-8, "{} is not {}", product, b);
            }
        }
    }

    #[test]
    fn what_has_no_solution_has_none() {
        assert_eq!(Square::zero(2).solve(&[1.0, 1.0]), None);
    }
}
