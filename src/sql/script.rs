//! Cuts a script into statements at semicolons that are tokens, not at those in strings and comments.

use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::tokenizer::{
    Location, Token, TokenWithSpan, Tokenizer, TokenizerError,
};

/// A statement of a script.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Piece<'a> {
    /// The statement without its semicolon.
    pub(crate) text: &'a str,
    /// The line of the script on which the text begins, from 0.
    pub(crate) line: u64,
    /// Whether a semicolon ended it.
    pub(crate) is_complete: bool,
}

/// The tokens of a text with their places.
pub(crate) fn tokenize(text: &str) -> Result<Vec<TokenWithSpan>, TokenizerError> {
    Tokenizer::new(&GenericDialect {}, text).tokenize_with_location()
}

/// The statements of a script, without empty ones. A rest that does not tokenise is one piece: its error shows when it
/// is parsed.
pub(crate) fn split(script: &str) -> Vec<Piece<'_>> {
    let lines = LineStarts::new(script);
    let mut pieces = Vec::new();
    let mut start = 0;
    for end in semicolons(script).into_iter().chain([script.len()]) {
        let text = &script[start..end];
        let is_blank = tokenize(text).is_ok_and(|tokens| {
            tokens
                .iter()
                .all(|token| matches!(token.token, Token::Whitespace(_) | Token::EOF))
        });
        if !is_blank {
            let trimmed = text.trim_start();
            let begin = end - trimmed.len();
            let is_complete = end < script.len();
            pieces.push(Piece {
                text: trimmed.trim_end(),
                line: lines.line_of(begin),
                is_complete,
            });
        }
        start = (end + 1).min(script.len());
    }
    pieces
}

/// Whether a text typed so far ends with a semicolon, or cannot be helped by typing on.
pub(crate) fn is_complete(text: &str) -> bool {
    match tokenize(text) {
        Ok(tokens) => {
            let is_significant =
                |token: &&TokenWithSpan| !matches!(token.token, Token::Whitespace(_) | Token::EOF);
            tokens
                .iter()
                .rev()
                .find(is_significant)
                .is_none_or(|token| token.token == Token::SemiColon)
        }
        // An open string or comment may still be closed.
        Err(error) => {
            !error.message.contains("Unterminated") && !error.message.contains("Unexpected EOF")
        }
    }
}

/// Offsets of the semicolons. Those before an error count, so that what stands before it is still run.
fn semicolons(script: &str) -> Vec<usize> {
    let lines = LineStarts::new(script);
    let mut tokens = Vec::new();
    // On an error the buffer holds what was read before it; the error itself shows when its statement is parsed.
    let _ = Tokenizer::new(&GenericDialect {}, script).tokenize_with_location_into_buf(&mut tokens);
    let semicolons = tokens
        .iter()
        .filter(|token| token.token == Token::SemiColon);
    semicolons
        .map(|token| lines.offset_of(token.span.start))
        .collect()
}

/// Translates (line, column in characters) into byte offsets.
pub(crate) struct LineStarts<'a> {
    text: &'a str,
    starts: Vec<usize>,
}

impl<'a> LineStarts<'a> {
    pub(crate) fn new(text: &'a str) -> Self {
        let starts = std::iter::once(0)
            .chain(text.match_indices('\n').map(|(at, _)| at + 1))
            .collect();
        Self { text, starts }
    }

    pub(crate) fn offset_of(&self, location: Location) -> usize {
        let Some(&start) = self.starts.get((location.line as usize).saturating_sub(1)) else {
            return self.text.len();
        };
        let rest = &self.text[start..];
        let characters = (location.column as usize).saturating_sub(1);
        rest.char_indices()
            .nth(characters)
            .map_or(self.text.len(), |(at, _)| start + at)
    }

    fn line_of(&self, offset: usize) -> u64 {
        (self.starts.partition_point(|start| *start <= offset) - 1) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(script: &str) -> Vec<&str> {
        split(script).into_iter().map(|piece| piece.text).collect()
    }

    #[test]
    fn semicolons_in_strings_and_comments_do_not_split() {
        let script = "SELECT ';'; -- a; b\nSELECT \"a;b\" /* ; */ FROM t;\n;; SELECT $$;$$";
        assert_eq!(
            texts(script),
            [
                "SELECT ';'",
                "-- a; b\nSELECT \"a;b\" /* ; */ FROM t",
                "SELECT $$;$$"
            ]
        );
    }

    #[test]
    fn nothing_is_no_statement() {
        for script in ["", "  \n", ";", " ; ;\n", "-- only a comment", "/* a */;"] {
            assert!(split(script).is_empty(), "{script:?}");
        }
    }

    #[test]
    fn a_statement_knows_its_line() {
        let pieces = split("SELECT 1;\r\n\r\nSELECT 'é' ;SELECT\n3");
        assert_eq!(
            pieces.iter().map(|piece| piece.line).collect::<Vec<_>>(),
            [0, 2, 2]
        );
        assert_eq!(pieces[1].text, "SELECT 'é'");
        assert!(pieces[1].is_complete && !pieces[2].is_complete);
    }

    #[test]
    fn statements_before_an_open_string_are_kept() {
        assert_eq!(
            texts("SELECT 1; SELECT 'abc; SELECT 2;"),
            ["SELECT 1", "SELECT 'abc; SELECT 2;"]
        );
    }

    #[test]
    fn input_is_complete_with_its_semicolon() {
        for (text, expected) in [
            ("SELECT 1", false),
            ("SELECT 1;", true),
            ("SELECT 1; -- done", true),
            ("SELECT ';", false),
            ("SELECT /* ;", false),
            ("", true),
        ] {
            assert_eq!(is_complete(text), expected, "{text:?}");
        }
    }
}
