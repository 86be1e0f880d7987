//! Names of tables: as statements have them, and as names of directories.

use datafusion::common::TableReference;
use datafusion::sql::sqlparser::ast::{Ident, ObjectName};

/// The name of the one catalog.
pub(crate) const CATALOG: &str = "vatic";
/// The schema of what is known of trainings.
pub(crate) const ML_SCHEMA: &str = "ml";

/// Of a table's name, written as the name of a directory.
pub(crate) const NAME_BYTES_MAX: usize = 200;

/// A name as it stands in a statement; with `normalize` the case of what is not quoted is folded.
pub(crate) fn table_reference(name: &str, normalize: bool) -> TableReference {
    if normalize {
        TableReference::from(name)
    } else {
        TableReference::parse_str_normalized(name, true)
    }
}

/// Table names are free, file names are not: bytes other than lower-case letters, digits and underscores are escaped.
pub(crate) fn encoded(name: &str) -> String {
    let mut encoded = String::with_capacity(name.len());
    for byte in name.bytes() {
        match byte {
            b'a'..=b'z' | b'0'..=b'9' | b'_' => encoded.push(byte.into()),
            other => encoded.push_str(&format!("%{other:02x}")),
        }
    }
    encoded
}

pub(crate) fn decoded(encoded: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(encoded.len());
    let mut rest = encoded.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let digits = [rest.next()?, rest.next()?];
            bytes.push(u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?);
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok()
}

/// DataFusion looks up the name of what a statement creates. While the object itself is being opened, that would not
/// end; under this name it finds nothing.
pub(crate) fn unused_name() -> ObjectName {
    ObjectName::from(vec![Ident::with_quote('"', "being opened")])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_table_name_becomes_a_file_name_and_back() {
        for name in ["t", "My Table", "../../etc", "a/b", "é%", ".", "%2e"] {
            let encoded = encoded(name);
            assert!(
                encoded
                    .bytes()
                    .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"_%".contains(&b))
            );
            assert_eq!(decoded(&encoded).as_deref(), Some(name));
        }
    }
}
