//! The least squares problem of one user or item, in f64.

/// A pivot below this share of its diagonal means a number that the ones before determine; it becomes 0.
const DEPENDENT: f64 = 1e-12;

/// A symmetric positive semi-definite system, of which only the lower triangle counts.
#[derive(Debug, Clone)]
pub(super) struct System {
    width: usize,
    matrix: Vec<f64>,
    right: Vec<f64>,
}

impl System {
    pub(super) fn new(width: usize) -> Self {
        Self {
            width,
            matrix: vec![0.0; width * width],
            right: vec![0.0; width],
        }
    }

    /// Begins anew, from this matrix or from zeros.
    pub(super) fn reset(&mut self, matrix: Option<&[f64]>) {
        self.right.fill(0.0);
        match matrix {
            Some(matrix) => self.matrix.copy_from_slice(matrix),
            None => self.matrix.fill(0.0),
        }
    }

    /// Adds `weight` times the outer product of `x` to the matrix, and `target` times `x` to the right side.
    pub(super) fn add(&mut self, x: &[f64], weight: f64, target: f64) {
        let rows = self.matrix.chunks_exact_mut(self.width);
        for ((row, (at, a)), right) in rows.zip(x.iter().enumerate()).zip(&mut self.right) {
            let a_weighted = a * weight;
            row[..=at]
                .iter_mut()
                .zip(x)
                .for_each(|(sum, b)| *sum += a_weighted * b);
            *right += target * a;
        }
    }

    /// Adds a penalty to the diagonal.
    pub(super) fn penalise(&mut self, penalty: f64) {
        let diagonal = self.matrix.iter_mut().step_by(self.width + 1);
        diagonal.for_each(|entry| *entry += penalty);
    }

    /// Solves the system in place, by the factors of Cholesky.
    pub(super) fn solve(&mut self) -> &[f64] {
        let width = self.width;
        for row in 0..width {
            let (above, below) = self.matrix.split_at_mut(row * width);
            let current = &mut below[..width];
            let diagonal = current[row];
            for column in 0..=row {
                let known: f64 = match column < row {
                    true => dot(&above[column * width..][..column], &current[..column]),
                    false => dot(&current[..column], &current[..column]),
                };
                let rest = current[column] - known;
                current[column] = match column < row {
                    true => divided(rest, above[column * width + column]),
                    false if rest > diagonal * DEPENDENT => rest.sqrt(),
                    false => 0.0,
                };
            }
        }
        for row in 0..width {
            let factors = &self.matrix[row * width..][..=row];
            let rest = self.right[row] - dot(&factors[..row], &self.right[..row]);
            self.right[row] = divided(rest, factors[row]);
        }
        for row in (0..width).rev() {
            let below = row + 1..width;
            let known: f64 = below
                .map(|other| self.matrix[other * width + row] * self.right[other])
                .sum();
            let rest = self.right[row] - known;
            self.right[row] = divided(rest, self.matrix[row * width + row]);
        }
        &self.right
    }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// The quotient; 0 where the pivot is 0.
fn divided(number: f64, pivot: f64) -> f64 {
    match pivot == 0.0 {
        true => 0.0,
        false => number / pivot,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_system_is_solved() {
        let rows = [
            [1.0, 2.0, 0.5],
            [-1.0, 0.3, 2.0],
            [0.7, -1.2, 1.0],
            [2.0, 0.1, -0.4],
        ];
        let expected = [0.5, -1.5, 2.0];
        let mut system = System::new(3);
        for _ in 0..2 {
            system.reset(None);
            for x in &rows {
                system.add(x, 2.0, 2.0 * dot(x, &expected));
            }
            let found = system.solve();
            for (found, expected) in found.iter().zip(expected) {
                assert!((found - expected).abs() < 1e-12, "{found} {expected}");
            }
        }
        // A penalty draws the solution to 0; a matrix to begin with counts.
        system.reset(Some(&[3.0, 0.0, 0.0, 0.0, 3.0, 0.0, 0.0, 0.0, 3.0]));
        system.penalise(1.0);
        system.add(&[0.0, 0.0, 1.0], 0.0, 8.0);
        assert_eq!(system.solve(), [0.0, 0.0, 2.0]);
    }

    #[test]
    fn a_number_that_others_determine_is_0() {
        let mut system = System::new(2);
        system.add(&[1.0, 1.0], 1.0, 3.0);
        assert_eq!(system.solve(), [3.0, 0.0]);
        system.reset(None);
        assert_eq!(system.solve(), [0.0, 0.0]);
    }
}
