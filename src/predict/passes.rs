//! [`passes`]: the rows of a gathered batch, divided into calls of the model.
//!
//! Texts are sorted by their tokens, so that a model that fills rows up to one length computes little filling, and cut by a number of
//! tokens. The outputs return to their rows afterwards.

/// The size of a pass.
#[derive(Debug, Clone, Copy)]
pub(super) struct PassSize {
    pub(super) rows_max: usize,
    /// The most tokens, unless one row has more.
    pub(super) tokens_max: usize,
    /// The passes that may be computed at the same time.
    pub(super) places: usize,
}

/// Fewer tokens do not fill a core.
const TOKENS_MIN: usize = 1_024;

/// One call of the model.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Pass {
    /// The rows of the batch.
    pub(super) rows: Vec<u32>,
}

/// The passes of these rows; `tokens` has the number of each row of the batch, if the model counts tokens.
pub(super) fn passes(mut rows: Vec<u32>, tokens: Option<&[usize]>, size: PassSize) -> Vec<Pass> {
    let Some(tokens) = tokens else {
        let chunks = rows.chunks(size.rows_max);
        return chunks
            .map(|rows| Pass {
                rows: rows.to_vec(),
            })
            .collect();
    };
    let of = |row: u32| tokens[row as usize];
    rows.sort_by_key(|row| (of(*row), *row));
    let all: usize = rows.iter().map(|row| of(*row)).sum();
    // Few texts are divided among the cores.
    let share = all.div_ceil(size.places.max(1)).max(TOKENS_MIN);
    let tokens_max = size.tokens_max.min(share);
    let mut passes: Vec<Pass> = Vec::new();
    let mut sum = 0;
    for row in rows {
        match passes.last_mut() {
            Some(pass) if sum + of(row) <= tokens_max && pass.rows.len() < size.rows_max => {
                pass.rows.push(row);
                sum += of(row);
            }
            _ => {
                passes.push(Pass { rows: vec![row] });
                sum = of(row);
            }
        }
    }
    passes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(tokens: Option<&[usize]>, size: PassSize) -> Vec<Vec<u32>> {
        let count = tokens.map_or(5, <[usize]>::len);
        let all = (0..count as u32).collect();
        let passes = passes(all, tokens, size).into_iter();
        passes.map(|pass| pass.rows).collect()
    }

    const SIZE: PassSize = PassSize {
        rows_max: 2,
        tokens_max: 4_000,
        places: 1,
    };

    #[test]
    fn rows_without_tokens_keep_their_order() {
        assert_eq!(rows(None, SIZE), [vec![0, 1], vec![2, 3], vec![4]]);
    }

    #[test]
    fn texts_are_sorted_by_tokens_and_cut_by_them() {
        let tokens = [3_000, 900, 9_000, 900, 1_000, 0];
        assert_eq!(
            rows(Some(&tokens), SIZE),
            [vec![5, 1], vec![3, 4], vec![0], vec![2]]
        );
        let size = PassSize {
            rows_max: 100,
            ..SIZE
        };
        assert_eq!(
            rows(Some(&tokens), size),
            [vec![5, 1, 3, 4], vec![0], vec![2]]
        );
    }

    #[test]
    fn few_texts_are_divided_among_the_cores() {
        let tokens = [1_000; 4];
        let on = |places| {
            let size = PassSize {
                rows_max: 100,
                places,
                ..SIZE
            };
            rows(Some(&tokens), size).len()
        };
        assert_eq!([1, 2, 4, 64].map(on), [1, 2, 4, 4]);
        let short = [10; 50];
        let size = PassSize {
            rows_max: 100,
            places: 8,
            ..SIZE
        };
        assert_eq!(rows(Some(&short), size).len(), 1);
    }
}
