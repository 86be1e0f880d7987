//! How functions are documented.

use datafusion_expr::{DocSection, Documentation};

/// A function as users read of it.
pub(crate) struct Doc {
    /// The name in SQL.
    pub(crate) name: &'static str,
    /// How it is called.
    pub(crate) syntax: &'static str,
    /// What it gives, in a sentence without a full stop.
    pub(crate) gives: &'static str,
    /// A query.
    pub(crate) example: &'static str,
}

impl Doc {
    pub(crate) fn documentation(&self, section: &'static str) -> Documentation {
        let section = DocSection {
            include: true,
            label: section,
            description: None,
        };
        Documentation::builder(section, self.gives, self.syntax)
            .with_sql_example(self.example)
            .build()
    }
}
