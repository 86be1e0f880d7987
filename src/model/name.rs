//! Names of models in statements.

use std::fmt;

use crate::access::grants::{Kind, Object};
use crate::error::SqlError;
use crate::storage::{DEFAULT_SCHEMA, check_identifier};

/// `schema.name`
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct ModelName {
    pub(crate) schema: String,
    pub(crate) name: String,
}

/// A model and a selector of its version.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct ModelRef {
    pub(crate) name: ModelName,
    pub(crate) selector: Selector,
}

/// The selector of a model's version.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Selector {
    /// `m`
    Default,
    /// `m@3`
    Version(u64),
    /// `m@champion`
    Alias(String),
}

impl ModelName {
    /// The object of privileges on the model.
    pub(crate) fn object(&self) -> Object {
        Object {
            kind: Kind::Model,
            schema: self.schema.clone(),
            name: self.name.clone(),
        }
    }

    /// Parses `name` or `schema.name`.
    pub(crate) fn parse(text: &str) -> Result<Self, SqlError> {
        let (schema, name) = text.split_once('.').unwrap_or((DEFAULT_SCHEMA, text));
        check_identifier("schema", schema)?;
        check_identifier("model", name)?;
        Ok(Self {
            schema: schema.to_lowercase(),
            name: name.to_lowercase(),
        })
    }
}

impl ModelRef {
    /// Parses `name`, `name@version` or `name@alias`, each with or without a schema.
    pub(crate) fn parse(text: &str) -> Result<Self, SqlError> {
        let (name, selector) = match text.split_once('@') {
            None => (text, Selector::Default),
            Some((name, version)) => match version.parse() {
                Ok(number) => (name, Selector::Version(number)),
                Err(_) => {
                    check_identifier("alias", version)?;
                    (name, Selector::Alias(version.to_lowercase()))
                }
            },
        };
        Ok(Self {
            name: ModelName::parse(name)?,
            selector,
        })
    }
}

impl fmt::Display for ModelName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.schema, self.name)
    }
}

impl ModelName {
    /// The displayed name, which omits the default schema.
    pub(crate) fn short(&self) -> String {
        if self.schema == DEFAULT_SCHEMA {
            self.name.clone()
        } else {
            self.to_string()
        }
    }
}

impl fmt::Display for ModelRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.selector {
            Selector::Default => write!(f, "{}", self.name),
            Selector::Version(version) => write!(f, "{}@{version}", self.name),
            Selector::Alias(alias) => write!(f, "{}@{alias}", self.name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_could_leave_the_directory_are_refused() {
        let long = "a".repeat(300);
        for name in [
            "../../etc/passwd",
            "a/b",
            "C:\\x",
            "a#1",
            "%2e%2e",
            &long,
            "",
            "LATEST",
            "a b",
            "\u{430}bc",
            "a\0",
            "con",
            "1st",
            "a.b.c",
            "a..b",
            ".",
            "..",
            "@3",
            "m@",
            "m@1@2",
        ] {
            assert!(ModelRef::parse(name).is_err(), "{name:?}");
        }
    }

    #[test]
    fn case_does_not_tell_names_apart() {
        assert_eq!(
            ModelRef::parse("S.M@Best").unwrap(),
            ModelRef::parse("s.m@best").unwrap()
        );
    }
}
