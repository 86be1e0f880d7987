//! Names of tables, in statements and as directories.

use datafusion::common::TableReference;
use datafusion::sql::sqlparser::ast::{Ident, ObjectName};

/// The name of the only catalog.
pub(crate) const CATALOG: &str = "vatic";

/// The maximum length of a table's name, encoded as a directory name.
pub(crate) const NAME_BYTES_MAX: usize = 200;

/// Parses a name from a statement; `normalize` folds the case of unquoted parts.
pub(crate) fn table_reference(name: &str, normalize: bool) -> TableReference {
    if normalize {
        TableReference::from(name)
    } else {
        TableReference::parse_str_normalized(name, true)
    }
}

/// Encodes a table name as a file name: escapes bytes other than lower-case letters, digits and underscores.
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

/// The name of an object of a statement that is planned or opened without its own name.
pub(crate) const UNUSED: &str = "being opened";

/// A name for the object of a statement that is planned in order to open that object. DataFusion looks the name up, so
/// the object's own name would recurse without end; this name does not exist.
pub(crate) fn unused_name() -> ObjectName {
    ObjectName::from(vec![Ident::with_quote('"', UNUSED)])
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
