//! [`Sorted`]: a list whose reader chooses the column that it is sorted by.

use super::html::{Column, anchor};
use super::visit::Visit;

/// The columns of a list and its first order.
pub(super) struct Sorted {
    /// Name, class, and the columns of the query that it is sorted by.
    pub(super) columns: &'static [(&'static str, &'static str, &'static str)],
    /// The column that a list is sorted by at first, and whether its largest value comes first.
    pub(super) first: (&'static str, bool),
}

impl Sorted {
    /// The name of the column that the reader sorts by, and whether the largest value comes first.
    fn chosen<'a>(&self, visit: &'a Visit) -> (&'a str, bool) {
        match visit.fields.get("sort") {
            "" => self.first,
            sort => (sort, visit.fields.get("down") == "1"),
        }
    }

    /// What stands after ORDER BY.
    pub(super) fn order(&self, visit: &Visit) -> String {
        let (sort, is_down) = self.chosen(visit);
        let named = |wanted: &str| self.columns.iter().find(|(name, ..)| *name == wanted);
        let by = named(sort).or_else(|| named(self.first.0));
        let by = by.map_or("1", |(.., by)| *by);
        let direction = if is_down { "DESC" } else { "ASC" };
        let by = by
            .split(", ")
            .map(|column| format!("{column} {direction} NULLS LAST"));
        by.collect::<Vec<_>>().join(", ")
    }

    /// The heads of the list: a link each, which keeps the fields that filter.
    pub(super) fn heads(&self, visit: &Visit) -> Vec<Column> {
        let (sort, is_down) = self.chosen(visit);
        let heads = self.columns.iter().map(|&(name, class, _)| {
            let is_sorted = name == sort;
            let down = if is_sorted && !is_down { "1" } else { "" };
            let mut fields = vec![("sort", name), ("down", down)];
            fields.extend(["find", "status", "all"].map(|kept| (kept, visit.fields.get(kept))));
            let arrow = match (is_sorted, is_down) {
                (true, true) => " ↓",
                (true, false) => " ↑",
                (false, _) => "",
            };
            Column {
                head: anchor(&visit.path, &fields, &format!("{name}{arrow}")),
                class,
            }
        });
        heads.collect()
    }
}
