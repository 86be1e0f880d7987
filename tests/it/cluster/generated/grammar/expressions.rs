//! Conditions, values and aggregates over the columns of a FROM.

use super::{Column, Type, Writer};

impl Writer {
    pub(super) fn filter(&mut self, columns: &[Column], depth: usize) -> String {
        if self.chance.percent(60) {
            return String::new();
        }
        let one = self.predicate(columns, depth);
        let text = match self.chance.below(5) {
            0 => format!("{one} AND {}", self.predicate(columns, depth)),
            1 => format!("({one} OR {})", self.simple(columns)),
            2 if depth > 0 && self.chance.percent(40) => match self.chance.below(4) {
                0 => format!("NOT ({one} AND {})", self.simple(columns)),
                1 => format!("({one}) IS NULL"),
                2 => format!(
                    "CASE WHEN {one} THEN {} ELSE true END",
                    self.simple(columns)
                ),
                _ => format!("({one}) IS NOT DISTINCT FROM ({})", self.simple(columns)),
            },
            _ => one,
        };
        format!(" WHERE {text}")
    }

    pub(super) fn simple(&mut self, columns: &[Column]) -> String {
        let number = self.column_of(columns, Type::Number);
        match self.chance.below(7) {
            0 => format!("{number} > {}", self.chance.below(30)),
            1 => format!("{} IS NULL", self.column(columns).sql),
            2 => format!("{} IS NOT NULL", self.column(columns).sql),
            3 => format!(
                "{} = 's{}'",
                self.column_of(columns, Type::Text),
                self.chance.below(8)
            ),
            4 => format!("{number} IN (1, 3, 5, 7, {})", self.chance.below(60)),
            5 => format!("{number} BETWEEN {} AND 25", self.chance.below(12)),
            _ => format!(
                "{} >= DATE '2024-01-08'",
                self.column_of(columns, Type::Date)
            ),
        }
    }

    fn predicate(&mut self, columns: &[Column], depth: usize) -> String {
        if depth == 0 {
            return self.simple(columns);
        }
        let inner = self.table(true);
        let kind = *self.chance.one(&[Type::Number, Type::Text]);
        let (outer, found) = (
            self.column_of(columns, kind),
            self.column_of(&inner.columns, kind),
        );
        let number = self.column_of(columns, Type::Number);
        let within = self.column_of(&inner.columns, Type::Number);
        let filter = match self.chance.percent(50) {
            true => format!(" AND {}", self.simple(&inner.columns)),
            false => String::new(),
        };
        let more = match self.chance.percent(25) {
            true => format!(" AND {within} < {number}"),
            false => String::new(),
        };
        let from = &inner.sql;
        match self.chance.below(14) {
            0 => format!("{outer} IN (SELECT {found} FROM {from} WHERE true{more}{filter})"),
            1 => format!(
                "{outer} NOT IN (SELECT {found} FROM {from} WHERE {found} IS NOT NULL{more}{filter})"
            ),
            2 => format!("{outer} NOT IN (SELECT {found} FROM {from} WHERE true{more}{filter})"),
            3 => format!("EXISTS (SELECT 1 FROM {from} WHERE {found} = {outer}{more}{filter})"),
            4 => format!("NOT EXISTS (SELECT 1 FROM {from} WHERE {found} = {outer}{more}{filter})"),
            5 => format!("{number} > (SELECT avg({within}) FROM {from} WHERE true{filter})"),
            6 => format!(
                "{number} >= (SELECT max({within}) FROM {from} WHERE {found} = {outer}{filter})"
            ),
            7 => {
                format!("{number} > (SELECT count(*) FROM {from} WHERE {found} = {outer}{filter})")
            }
            8 => {
                format!("{number} IN (SELECT count(*) FROM {from} WHERE {found} = {outer}{filter})")
            }
            9 => format!("{outer} <> ALL (SELECT {found} FROM {from} WHERE true{filter})"),
            10 => format!("{number} >= ANY (SELECT {within} FROM {from} WHERE true{filter})"),
            _ => self.simple(columns),
        }
    }

    pub(super) fn column(&mut self, columns: &[Column]) -> Column {
        self.chance.one(columns).clone()
    }

    /// A column of this type, or a literal.
    pub(super) fn column_of(&mut self, columns: &[Column], kind: Type) -> String {
        let fitting: Vec<&Column> = columns
            .iter()
            .filter(|column| column.kind == kind)
            .collect();
        if fitting.is_empty() {
            return match kind {
                Type::Number => "2",
                Type::Quarter => "CAST(0.25 AS DOUBLE)",
                Type::Text => "'s2'",
                Type::Date => "DATE '2024-01-06'",
                Type::Flag => "true",
            }
            .into();
        }
        self.chance.one(&fitting).sql.clone()
    }

    pub(super) fn expression(&mut self, columns: &[Column]) -> Column {
        let number = self.column_of(columns, Type::Number);
        let text = self.column_of(columns, Type::Text);
        let (sql, kind) = match self.chance.below(13) {
            0 => (format!("{number} * 2 + 1"), Type::Number),
            1 => (
                format!("{number} + {}", self.column_of(columns, Type::Number)),
                Type::Number,
            ),
            2 => (format!("coalesce({number}, -1)"), Type::Number),
            3 => (format!("upper({text})"), Type::Text),
            4 => (format!("coalesce({text}, 'none') || '!'"), Type::Text),
            5 => (
                format!(
                    "CASE WHEN {} THEN {number} ELSE 0 END",
                    self.simple(columns)
                ),
                Type::Number,
            ),
            6 => (format!("{number} > 5"), Type::Flag),
            7 => ("2".to_owned(), Type::Number),
            _ => return self.column(columns),
        };
        Column { sql, kind }
    }

    pub(super) fn aggregate(&mut self, columns: &[Column]) -> Column {
        let number = self.column_of(columns, Type::Number);
        let any = self.column(columns);
        let (sql, kind) = match self.chance.below(12) {
            11 => ("3".to_owned(), Type::Number),
            0 | 1 => ("count(*)".to_owned(), Type::Number),
            2 => (format!("count({})", any.sql), Type::Number),
            3 => (format!("count(DISTINCT {})", any.sql), Type::Number),
            4 => (format!("sum({number})"), Type::Number),
            5 => (format!("sum(DISTINCT {number})"), Type::Number),
            // Rounded, because the value may become a key.
            6 => (
                format!("CAST(floor(avg({number}) * 4) AS BIGINT)"),
                Type::Number,
            ),
            7 => (
                format!("sum({})", self.column_of(columns, Type::Quarter)),
                Type::Quarter,
            ),
            8 => (
                format!("count(*) FILTER (WHERE {})", self.simple(columns)),
                Type::Number,
            ),
            9 => (
                format!("min({})", self.column_of(columns, Type::Text)),
                Type::Text,
            ),
            _ => (
                format!("max({})", self.column_of(columns, Type::Date)),
                Type::Date,
            ),
        };
        Column { sql, kind }
    }
}
