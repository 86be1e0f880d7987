//! [`Sight`]: which keys of a sequence a query sees.

use std::ops::Range;

/// Which keys of a sequence a query sees. They follow each other, and the query's own is one of them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sight {
    /// No key behind the query's own.
    pub(super) causal: bool,
    /// None that is farther away.
    pub(super) window: Option<usize>,
}

impl Sight {
    /// The keys that a query sees, among so many tokens of a sequence.
    pub(super) fn of_query(self, query: usize, tokens: usize) -> Range<usize> {
        let start = self.window.map_or(0, |window| query.saturating_sub(window));
        let end = match (self.causal, self.window) {
            (true, _) => query + 1,
            (false, None) => tokens,
            (false, Some(window)) => query.saturating_add(window).saturating_add(1),
        };
        start..end.min(tokens)
    }

    /// The keys that one of these queries sees. There is a query.
    pub(super) fn of_queries(self, queries: &Range<usize>, tokens: usize) -> Range<usize> {
        let first = self.of_query(queries.start, tokens);
        let last = self.of_query(queries.end - 1, tokens);
        first.start..last.end
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_sees_itself_and_what_is_near() {
        let sight = |causal, window| Sight { causal, window };
        let seen = |sight: Sight| [0, 2, 4].map(|query| sight.of_query(query, 5));
        assert_eq!(seen(sight(false, None)), [0..5, 0..5, 0..5]);
        assert_eq!(seen(sight(true, None)), [0..1, 0..3, 0..5]);
        assert_eq!(seen(sight(false, Some(1))), [0..2, 1..4, 3..5]);
        assert_eq!(seen(sight(true, Some(1))), [0..1, 1..3, 3..5]);
        assert_eq!(seen(sight(false, Some(usize::MAX))), [0..5, 0..5, 0..5]);
        assert_eq!(sight(false, Some(1)).of_queries(&(1..3), 5), 0..4);
        assert_eq!(sight(true, Some(0)).of_queries(&(1..3), 5), 1..3);
    }
}
