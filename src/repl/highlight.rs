//! Syntax highlighting of typed statements, and the colours of errors.

use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan, Tokenizer, Whitespace};

use crate::sql::script::LineStarts;

const KEYWORD: &str = "\x1b[1;34m";
const STRING: &str = "\x1b[32m";
const NUMBER: &str = "\x1b[36m";
const COMMENT: &str = "\x1b[2m";
const COMMAND: &str = "\x1b[35m";
pub(super) const ERROR: &str = "\x1b[1;31m";
pub(super) const RESET: &str = "\x1b[0m";

/// Keywords of Vatic's own statements that are no keywords elsewhere.
const OWN_KEYWORDS: &[&str] = &["MODEL", "MODELS", "TARGET", "TRAIN", "VERSIONS"];

/// Colours the last line of a statement; `before` holds the lines above it.
pub(super) fn highlight(before: &str, line: &str) -> String {
    let is_command = before.trim().is_empty()
        && (line.trim_start().starts_with('\\') || is_dot_command(line.trim_start()));
    if is_command {
        return format!("{COMMAND}{line}{RESET}");
    }
    let text = format!("{before}{line}");
    let lines = LineStarts::new(&text);
    let mut tokens: Vec<TokenWithSpan> = Vec::new();
    let tokenized = Tokenizer::new(&GenericDialect {}, &text)
        .with_unescape(false)
        .tokenize_with_location_into_buf(&mut tokens);
    let mut coloured = String::with_capacity(line.len() * 2);
    let mut at = before.len();
    for token in &tokens {
        let start = lines.offset_of(token.span.start).max(at);
        let end = lines.offset_of(token.span.end);
        let Some(colour) = colour(&token.token).filter(|_| end > start) else {
            continue;
        };
        coloured.push_str(&text[at..start]);
        coloured.push_str(&format!("{colour}{}{RESET}", &text[start..end]));
        at = end;
    }
    // A tokenizer error mostly means a string that is not closed yet.
    let known = match tokenized {
        Ok(()) => text.len(),
        Err(_) => tokens
            .last()
            .map_or(0, |token| lines.offset_of(token.span.end)),
    };
    let known = known.max(at);
    coloured.push_str(&text[at..known]);
    if known < text.len() {
        coloured.push_str(&format!("{ERROR}{}{RESET}", &text[known..]));
    }
    coloured
}

fn is_dot_command(line: &str) -> bool {
    line.strip_prefix('.')
        .is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_alphabetic()))
}

fn colour(token: &Token) -> Option<&'static str> {
    match token {
        Token::Word(word) if word.quote_style.is_none() => {
            let is_own = OWN_KEYWORDS
                .iter()
                .any(|own| word.value.eq_ignore_ascii_case(own));
            (word.keyword != Keyword::NoKeyword || is_own).then_some(KEYWORD)
        }
        Token::Number(..) => Some(NUMBER),
        Token::SingleQuotedString(_)
        | Token::DollarQuotedString(_)
        | Token::EscapedStringLiteral(_)
        | Token::NationalStringLiteral(_)
        | Token::HexStringLiteral(_) => Some(STRING),
        Token::Whitespace(
            Whitespace::SingleLineComment { .. } | Whitespace::MultiLineComment(_),
        ) => Some(COMMENT),
        Token::Backslash => Some(COMMAND),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(text: &str) -> String {
        let mut plain = String::new();
        let mut rest = text;
        while let Some(at) = rest.find('\x1b') {
            plain.push_str(&rest[..at]);
            rest = rest[at..].split_once('m').map_or("", |(_, rest)| rest);
        }
        plain + rest
    }

    #[test]
    fn colours_change_no_letter() {
        for (before, line) in [
            ("", "SELECT 'a''b', 1.5, \"x\" FROM t -- c"),
            ("SELECT 'one\n", "two' AS é, 3"),
            ("", "SELECT 'open"),
            ("/* a\n", "b */ SELECT 'ü', 日本"),
            ("", "\\d t"),
            ("", "TRAIN MODEL m TARGET y"),
            ("", ""),
        ] {
            assert_eq!(plain(&highlight(before, line)), line);
        }
    }

    #[test]
    fn an_open_string_is_an_error_until_it_is_closed() {
        assert!(highlight("", "SELECT 'a").contains(&format!("{ERROR}'a")));
        assert!(highlight("SELECT 'a\n", "b'").contains(STRING));
        assert!(highlight("", "TRAIN MODEL m").starts_with(&format!("{KEYWORD}TRAIN")));
    }
}
