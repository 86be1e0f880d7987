//! The documentation of a function.

use datafusion_expr::{DocSection, Documentation};

/// The documentation of a function as users read it.
pub(crate) struct Doc {
    /// The name in SQL.
    pub(crate) name: &'static str,
    /// The syntax of a call.
    pub(crate) syntax: &'static str,
    /// The result, in a sentence without a full stop.
    pub(crate) gives: &'static str,
    /// An example query.
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
