//! [`Fields`]: the fields of a link or a form.

use url::form_urlencoded;

/// Names and values, in the order in which they were sent.
#[derive(Debug, Default)]
pub(super) struct Fields(Vec<(String, String)>);

impl Fields {
    /// Reads the query of a link or the body of a form.
    pub(super) fn parse(encoded: &[u8]) -> Self {
        Self(form_urlencoded::parse(encoded).into_owned().collect())
    }

    /// The first value of this name; empty if there is none.
    pub(super) fn get(&self, name: &str) -> &str {
        self.all(name).next().unwrap_or_default()
    }

    /// Every value of this name.
    pub(super) fn all<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a str> {
        let named = self.0.iter().filter(move |(known, _)| known == name);
        named.map(|(_, value)| value.as_str())
    }
}

/// A path with fields, as a link; fields without a value are left out.
pub(super) fn link(path: &str, fields: &[(&str, &str)]) -> String {
    let mut query = form_urlencoded::Serializer::new(String::new());
    for (name, value) in fields.iter().filter(|(_, value)| !value.is_empty()) {
        query.append_pair(name, value);
    }
    match query.finish() {
        query if query.is_empty() => path.to_owned(),
        query => format!("{path}?{query}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_holds_any_text() {
        let made = link("/run", &[("find", "a&b=c d'\"<"), ("none", "")]);
        assert_eq!(made, "/run?find=a%26b%3Dc+d%27%22%3C");
        let fields = Fields::parse(made.split_once('?').unwrap().1.as_bytes());
        assert_eq!(fields.get("find"), "a&b=c d'\"<");
        assert_eq!(fields.get("none"), "");
    }

    #[test]
    fn a_name_may_have_several_values() {
        let fields = Fields::parse(b"run=1&x=2&run=3");
        assert_eq!(fields.all("run").collect::<Vec<_>>(), ["1", "3"]);
    }
}
