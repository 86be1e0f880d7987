//! Cuts a script into statements at semicolons, but not at semicolons in strings and comments.

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

/// The tokens of a text with their positions.
pub(crate) fn tokenize(text: &str) -> Result<Vec<TokenWithSpan>, TokenizerError> {
    Tokenizer::new(&GenericDialect {}, text).tokenize_with_location()
}

/// A part of a script.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Item<'a> {
    /// A statement.
    Statement(Piece<'a>),
    /// A command of the shell: a line that begins with a backslash, or with a dot and a letter; or the rest of a line after
    /// a statement, from a backslash on.
    Command {
        /// The command as written, with its backslash or dot.
        text: &'a str,
        /// Its line in the script, from 0.
        line: u64,
    },
}

/// The statements of a script, without empty ones. A rest that cannot be tokenised is one piece; the parser reports its
/// error.
pub(crate) fn split(script: &str) -> Vec<Piece<'_>> {
    let lines = LineStarts::new(script);
    let mut pieces = Vec::new();
    cut(script, 0, script.len(), &lines, &mut pieces);
    pieces
}

/// The statements and commands of a script.
pub(crate) fn items(script: &str) -> Vec<Item<'_>> {
    let lines = LineStarts::new(script);
    let mut items = Vec::new();
    let mut start = 0;
    while start < script.len() {
        let command = first_command(&script[start..]).map(|at| start + at);
        let mut pieces = Vec::new();
        cut(
            script,
            start,
            command.unwrap_or(script.len()),
            &lines,
            &mut pieces,
        );
        items.extend(pieces.into_iter().map(Item::Statement));
        let Some(begin) = command else { break };
        let end = script[begin..]
            .find('\n')
            .map_or(script.len(), |length| begin + length);
        items.push(Item::Command {
            text: script[begin..end].trim_end(),
            line: lines.line_of(begin),
        });
        start = end;
    }
    items
}

/// The offset of the first command. The text of a command may not tokenise, so only the tokens before it are used.
fn first_command(text: &str) -> Option<usize> {
    let lines = LineStarts::new(text);
    let mut tokens = Vec::new();
    let _ = Tokenizer::new(&GenericDialect {}, text).tokenize_with_location_into_buf(&mut tokens);
    let mut is_start = true;
    for token in &tokens {
        match &token.token {
            Token::Backslash => return Some(lines.offset_of(token.span.start)),
            Token::Whitespace(_) => {}
            Token::SemiColon => is_start = true,
            Token::Period if is_start => {
                let at = lines.offset_of(token.span.start);
                let is_word = text[at + 1..].starts_with(|c: char| c.is_ascii_alphabetic());
                if is_word {
                    return Some(at);
                }
                is_start = false;
            }
            _ => is_start = false,
        }
    }
    // An odd quote in a command at the beginning of the text leaves no tokens at all.
    let trimmed = text.trim_start();
    let is_first = trimmed.starts_with('\\') && tokens.is_empty();
    is_first.then(|| text.len() - trimmed.len())
}

/// Cuts `script[start..end]` at its semicolons.
fn cut<'a>(
    script: &'a str,
    start: usize,
    end: usize,
    lines: &LineStarts,
    pieces: &mut Vec<Piece<'a>>,
) {
    let part = &script[start..end];
    let ends = semicolons(part).into_iter().map(|at| (start + at, true));
    let mut begin = start;
    for (end, is_complete) in ends.chain([(end, false)]) {
        let text = &script[begin.min(end)..end];
        let is_blank = tokenize(text).is_ok_and(|tokens| {
            tokens
                .iter()
                .all(|token| matches!(token.token, Token::Whitespace(_) | Token::EOF))
        });
        if !is_blank {
            let trimmed = text.trim_start();
            pieces.push(Piece {
                text: trimmed.trim_end(),
                line: lines.line_of(end - trimmed.len()),
                is_complete,
            });
        }
        begin = end + 1;
    }
}

/// Whether a typed text ends with a semicolon or a command, or has an error that more text cannot correct.
pub(crate) fn is_complete(text: &str) -> bool {
    if matches!(items(text).last(), Some(Item::Command { .. })) {
        return true;
    }
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
        // More text may close an open string or comment.
        Err(error) => {
            !error.message.contains("Unterminated") && !error.message.contains("Unexpected EOF")
        }
    }
}

/// Offsets of the semicolons. Semicolons before an error count, so that the statements before it still run.
fn semicolons(script: &str) -> Vec<usize> {
    let lines = LineStarts::new(script);
    let mut tokens = Vec::new();
    // On an error the buffer holds the tokens before it; the parser reports the error of the statement.
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
    fn commands_stand_on_lines_of_their_own_or_end_a_statement() {
        let script = "\\o it's.csv\nSELECT 1;\n.mode csv\n-- a\n  \\timing on\nSELECT\n 2 \\gx\nSELECT 'a\\b', .5; \\q";
        let found: Vec<String> = items(script)
            .into_iter()
            .map(|item| match item {
                Item::Statement(piece) => {
                    format!("{}: {} {}", piece.line, piece.text, piece.is_complete)
                }
                Item::Command { text, line } => format!("{line}: {text}"),
            })
            .collect();
        assert_eq!(
            found,
            [
                "0: \\o it's.csv",
                "1: SELECT 1 true",
                "2: .mode csv",
                "4: \\timing on",
                "5: SELECT\n 2 false",
                "6: \\gx",
                "7: SELECT 'a\\b', .5 true",
                "7: \\q"
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
