//! The parts of statements: words, names, strings and numbers, and errors where one of them is missing.

use datafusion::common::DataFusionError;
use datafusion::sql::sqlparser::tokenizer::{Location, Token};

use super::statement::Parser;
use crate::error::{Position, Result, SqlError, SqlState};

impl Parser<'_> {
    /// Parses a name of one or two parts, or a string that holds a name.
    pub(super) fn dotted_name(&mut self, what: &str) -> Result<String> {
        let mut name = self.name_or_string(what)?;
        while self.inner.parser.consume_token(&Token::Period) {
            name = format!("{name}.{}", self.identifier(what)?);
        }
        if self.inner.parser.consume_token(&Token::AtSign) {
            name = format!("{name}@{}", self.inner.parser.next_token());
        }
        Ok(name)
    }

    pub(super) fn name_or_string(&mut self, what: &str) -> Result<String> {
        match self.inner.parser.peek_token().token {
            Token::SingleQuotedString(_) => self.string(),
            _ => self.identifier(what),
        }
    }

    pub(super) fn identifier(&mut self, what: &str) -> Result<String> {
        match self.inner.parser.peek_token().token {
            Token::Word(word) if word.quote_style.is_some() => {
                self.skip(1);
                Ok(word.value)
            }
            Token::Word(word) => {
                self.skip(1);
                Ok(word.value.to_lowercase())
            }
            _ => Err(self.expected(what)),
        }
    }

    pub(super) fn string(&mut self) -> Result<String> {
        match self.inner.parser.peek_token().token {
            Token::SingleQuotedString(text) => {
                self.skip(1);
                Ok(text)
            }
            _ => Err(self.expected("a string")),
        }
    }

    pub(super) fn number(&mut self) -> Result<u64> {
        let number = match self.inner.parser.peek_token().token {
            Token::Number(text, _) => text.parse().ok(),
            _ => None,
        };
        let number = number.ok_or_else(|| self.expected("a version number"))?;
        self.skip(1);
        Ok(number)
    }

    /// The unquoted word at this distance in upper case; empty if there is none.
    pub(super) fn word(&self, index: usize) -> String {
        match self.inner.parser.peek_nth_token(index).token {
            Token::Word(word) if word.quote_style.is_none() => word.value.to_uppercase(),
            _ => String::new(),
        }
    }

    pub(super) fn accept(&mut self, word: &str) -> bool {
        let is_next = self.word(0) == word;
        if is_next {
            self.skip(1);
        }
        is_next
    }

    pub(super) fn words(&mut self, words: &[&str]) -> Result<()> {
        for word in words {
            if !self.accept(word) {
                return Err(self.expected(word));
            }
        }
        Ok(())
    }

    pub(super) fn skip(&mut self, tokens: usize) {
        for _ in 0..tokens {
            self.inner.parser.next_token();
        }
    }

    pub(super) fn is_at_end(&self) -> bool {
        matches!(
            self.inner.parser.peek_token().token,
            Token::EOF | Token::SemiColon
        )
    }

    pub(super) fn end(&mut self) -> Result<()> {
        while self.inner.parser.consume_token(&Token::SemiColon) {}
        match self.inner.parser.peek_token().token {
            Token::EOF => Ok(()),
            _ => Err(self.expected("the end of the statement")),
        }
    }

    pub(super) fn position(&self) -> Option<Position> {
        let Location { line, column } = self.inner.parser.peek_token().span.start;
        (line > 0).then_some(Position { line, column })
    }

    pub(super) fn expected(&self, what: &str) -> DataFusionError {
        let found = self.inner.parser.peek_token();
        let found = match found.token {
            Token::EOF => "the end of the statement".to_owned(),
            token => token.to_string(),
        };
        self.error_here(&format!("expected {what}, found {found}"))
    }

    pub(super) fn error_here(&self, message: &str) -> DataFusionError {
        // The end of the text has no token with a position; something is missing there.
        let end = || {
            let line = self.text.lines().count().max(1) as u64;
            let column = self
                .text
                .lines()
                .last()
                .map_or(0, |line| line.chars().count()) as u64
                + 1;
            Position { line, column }
        };
        let position = Some(self.position().unwrap_or_else(end));
        SqlError {
            state: SqlState::Syntax,
            message: message.into(),
            position,
        }
        .into()
    }
}
