//! [`Change`]: what a statement does with the rows that its query finds.

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Change {
    /// All rows are removed; there is no query.
    Clear,
    Delete,
    /// These columns of the table have new values.
    Update(Vec<usize>),
}
