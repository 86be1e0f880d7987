//! Errors as text, for transports that carry only text.

use super::sql_error::SqlError;

/// Delimiters of an encoded error. The encoding uses only letters and digits, as others quote and wrap the text.
const TEXT_BEGIN: &str = "vatic-error-";
const TEXT_END: &str = "-end";

/// Encodes an error as text, for transports that carry only text.
pub(crate) fn error_to_text(error: &SqlError) -> String {
    let json = serde_json::to_string(error).unwrap_or_default();
    let hex: String = json.bytes().map(|byte| format!("{byte:02x}")).collect();
    format!("{TEXT_BEGIN}{hex}{TEXT_END}")
}

/// Decodes the first encoded error in a text.
pub(crate) fn error_from_text(text: &str) -> Option<SqlError> {
    let (_, text) = text.split_once(TEXT_BEGIN)?;
    let (hex, _) = text.split_once(TEXT_END)?;
    let byte = |at: usize| u8::from_str_radix(hex.get(at..at + 2)?, 16).ok();
    let json: Option<Vec<u8>> = (0..hex.len()).step_by(2).map(byte).collect();
    serde_json::from_slice(&json?).ok()
}

#[cfg(test)]
mod tests {
    use super::super::sql_error::Position;
    use super::super::state::SqlState;
    use super::*;

    #[test]
    fn an_error_survives_being_quoted() {
        let error = SqlError {
            state: SqlState::Null,
            message: "row 3: \"x\" is NULL\nin part-0 — ä".into(),
            position: Some(Position { line: 1, column: 2 }),
        };
        let quoted = format!("{:?}", format!("task failed: {:?}", error_to_text(&error)));
        let found = error_from_text(&quoted).unwrap();
        assert_eq!(found.message, error.message);
        assert_eq!((found.state, found.position), (error.state, error.position));
        assert!(error_from_text("vatic-error-7b-end").is_none());
    }
}
