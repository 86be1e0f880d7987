//! [`Query::of`]: the query of a seed, in SQL that DuckDB understands too.
//!
//! Rows come in no fixed order, so no query depends on an order, unless it sorts by all columns. Numbers are integers or
//! quarters, so that sums are exact in any order.

mod expressions;
mod relations;

use std::fmt::Write;

/// The SQL statements that make the tables; each INSERT writes a file of its own.
pub(super) const TABLES: &[&str] = &[
    // Keys with NULLs; one key has many rows.
    "CREATE TABLE a AS SELECT value AS id, CASE WHEN value % 5 = 0 THEN 3 WHEN value % 11 = 0 THEN NULL ELSE value % 37 END AS k, \
     value % 10 AS n, CASE WHEN value % 13 = 0 THEN NULL ELSE 's' || (value % 7) END AS s, \
     CAST(CAST(19723 + value % 20 AS INT) AS DATE) AS d, CASE WHEN value % 17 = 0 THEN NULL ELSE value % 3 = 0 END AS f, \
     (value % 9) * 0.25 AS v FROM generate_series(1, 70)",
    "INSERT INTO a SELECT id + 70, k + 1, n, s, d, f, v + 1 FROM a WHERE id <= 60",
    "INSERT INTO a SELECT id + 500, NULL AS k, n, NULL AS s, d, NULL AS f, NULL AS v FROM a WHERE id <= 12",
    "CREATE TABLE b AS SELECT value * 3 AS id, CASE WHEN value % 8 = 0 THEN NULL ELSE value % 12 END AS k, value % 6 AS n, \
     CASE WHEN value % 5 = 0 THEN NULL ELSE 's' || (value % 9) END AS s, CAST(CAST(19727 + value % 8 AS INT) AS DATE) AS d, \
     value % 2 = 0 AS f, value * 0.25 AS v FROM generate_series(1, 24)",
    "INSERT INTO b SELECT id + 1, k, n + 1, s, d, f, v FROM b WHERE id < 30",
    // No NULL, so that NOT IN is not always empty.
    "CREATE TABLE c AS SELECT value AS id, value AS k, value % 3 AS n, 's' || value AS s, \
     CAST(CAST(19725 + value AS INT) AS DATE) AS d, value > 3 AS f, value * 0.5 AS v FROM generate_series(1, 6)",
    // Its files have no rows.
    "CREATE TABLE e AS SELECT * FROM b WHERE id < 0",
    "INSERT INTO e SELECT * FROM b WHERE id < 0",
    "TRAIN MODEL m TARGET y OPTIONS (model_type = 'linear_reg', data_split_method = 'none') AS \
     SELECT CAST(value % 7 AS BIGINT) AS k, CAST(value % 10 AS BIGINT) AS n, value % 7 + 2.0 * (value % 10) AS y \
     FROM generate_series(1, 80)",
];

pub(super) const TABLE_NAMES: [&str; 4] = ["a", "b", "c", "e"];

const COLUMNS: [(&str, Type); 7] = [
    ("id", Type::Number),
    ("k", Type::Number),
    ("n", Type::Number),
    ("s", Type::Text),
    ("d", Type::Date),
    ("f", Type::Flag),
    ("v", Type::Quarter),
];

#[derive(Debug, Clone, Copy, PartialEq)]
enum Type {
    Number,
    Quarter,
    Text,
    Date,
    Flag,
}

/// A column or an expression: its SQL and its type.
#[derive(Debug, Clone)]
struct Column {
    sql: String,
    kind: Type,
}

pub(super) struct Query {
    pub(super) sql: String,
    /// Whether DuckDB can run the query; DuckDB has no models.
    pub(super) is_for_duckdb: bool,
    /// Whether the rows are sorted by all columns.
    pub(super) is_ordered: bool,
}

impl Query {
    pub(super) fn of(seed: u64) -> Self {
        // Without this step the next seed would have the random numbers of this seed, except the first.
        let start = Chance(seed).next();
        let mut writer = Writer {
            chance: Chance(start),
            names: 0,
            has_model: false,
        };
        let (sql, columns) = writer.query(2);
        let ordered = writer.ordered(&sql, &columns);
        Self {
            is_ordered: ordered.is_some(),
            sql: ordered.unwrap_or(sql),
            is_for_duckdb: !writer.has_model,
        }
    }
}

/// A random number generator: Sebastiano Vigna's SplitMix64.
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, count: usize) -> usize {
        (self.next() % count as u64) as usize
    }

    fn percent(&mut self, percent: u64) -> bool {
        self.next() % 100 < percent
    }

    fn one<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len())]
    }
}

struct Writer {
    chance: Chance,
    names: usize,
    has_model: bool,
}

/// A FROM clause: its SQL and its columns.
struct From {
    sql: String,
    columns: Vec<Column>,
}

impl Writer {
    fn name(&mut self, prefix: &str) -> String {
        self.names += 1;
        format!("{prefix}{}", self.names)
    }

    fn nulls(&mut self) -> &'static str {
        match self.chance.percent(50) {
            true => "NULLS FIRST",
            false => "NULLS LAST",
        }
    }

    /// A query, and the types of its columns `c0`, `c1`, ….
    fn query(&mut self, depth: usize) -> (String, Vec<Type>) {
        match self.chance.below(if depth > 0 { 12 } else { 8 }) {
            0..=2 => self.select(depth),
            3..=4 => self.grouped(depth),
            5 => self.windows(depth),
            6 => self.distinct(depth),
            7 => self.grouping_sets(depth),
            8..=9 => self.set_operation(depth),
            10 => self.twice(depth),
            _ => self.totals(depth),
        }
    }

    fn select(&mut self, depth: usize) -> (String, Vec<Type>) {
        let from = self.from(depth);
        let count = 1 + self.chance.below(4);
        let items: Vec<Column> = (0..count).map(|_| self.expression(&from.columns)).collect();
        let filter = self.filter(&from.columns, depth);
        (
            format!("SELECT {} FROM {}{filter}", listed(&items), from.sql),
            kinds(&items),
        )
    }

    fn distinct(&mut self, depth: usize) -> (String, Vec<Type>) {
        let (sql, kinds) = self.select(depth);
        (sql.replacen("SELECT", "SELECT DISTINCT", 1), kinds)
    }

    fn grouped(&mut self, depth: usize) -> (String, Vec<Type>) {
        let from = self.from(depth);
        let count = 1 + self.chance.below(2);
        let mut items: Vec<Column> = (0..count).map(|_| self.column(&from.columns)).collect();
        let keys: Vec<String> = items.iter().map(|item| item.sql.clone()).collect();
        for _ in 0..=self.chance.below(3) {
            items.push(self.aggregate(&from.columns));
        }
        let filter = self.filter(&from.columns, depth);
        let having = self.having();
        let keys = keys.join(", ");
        let items_sql = listed(&items);
        (
            format!(
                "SELECT {items_sql} FROM {}{filter} GROUP BY {keys}{having}",
                from.sql
            ),
            kinds(&items),
        )
    }

    /// Aggregates of all rows: one row, even if there are no rows.
    fn totals(&mut self, depth: usize) -> (String, Vec<Type>) {
        let from = self.from(depth);
        let count = 1 + self.chance.below(4);
        let items: Vec<Column> = (0..count).map(|_| self.aggregate(&from.columns)).collect();
        let filter = self.filter(&from.columns, depth);
        let having = self.having();
        (
            format!(
                "SELECT {} FROM {}{filter}{having}",
                listed(&items),
                from.sql
            ),
            kinds(&items),
        )
    }

    /// A condition on groups, a condition that uses none of their columns, or no condition.
    fn having(&mut self) -> String {
        let limit = self.chance.below(6);
        match self.chance.below(12) {
            0..=2 => format!(" HAVING count(*) > {limit}"),
            3 => format!(" HAVING (SELECT max(k) FROM c) > {limit} * 2"),
            _ => String::new(),
        }
    }

    fn grouping_sets(&mut self, depth: usize) -> (String, Vec<Type>) {
        let from = self.from(depth);
        let one = self.column(&from.columns);
        let mut other = self.column(&from.columns);
        if other.sql == one.sql {
            other = self.column(&from.columns);
        }
        let aggregate = self.aggregate(&from.columns);
        let (x, y) = (&one.sql, &other.sql);
        let sets = match self.chance.below(4) {
            _ if x == y => x.clone(),
            0 => format!("GROUPING SETS (({x}), ({y}), ())"),
            1 => format!("ROLLUP ({x}, {y})"),
            2 => format!("CUBE ({x}, {y})"),
            _ => format!("GROUPING SETS (({x}, {y}), ({y}))"),
        };
        let filter = self.filter(&from.columns, depth);
        let having = self.having();
        let items = [one, other, aggregate];
        let items_sql = listed(&items);
        (
            format!(
                "SELECT {items_sql} FROM {}{filter} GROUP BY {sets}{having}",
                from.sql
            ),
            kinds(&items),
        )
    }

    fn windows(&mut self, depth: usize) -> (String, Vec<Type>) {
        let from = self.from(depth);
        let mut items: Vec<Column> = (0..1 + self.chance.below(2))
            .map(|_| self.column(&from.columns))
            .collect();
        // Rows that are equal in the sort columns come in any order, so the sort uses all columns.
        let all = sorted_by(&from.columns, self.nulls());
        for _ in 0..=self.chance.below(2) {
            let partition = match self.chance.percent(60) {
                true => format!("PARTITION BY {} ", self.column(&from.columns).sql),
                false => String::new(),
            };
            let some = [self.column(&from.columns)];
            let by = sorted_by(&some, self.nulls());
            let number = self.column_of(&from.columns, Type::Number);
            let (sql, kind) = match self.chance.below(8) {
                0 => (
                    format!("row_number() OVER ({partition}ORDER BY {all})"),
                    Type::Number,
                ),
                1 => (
                    format!("rank() OVER ({partition}ORDER BY {by})"),
                    Type::Number,
                ),
                2 => (
                    format!("dense_rank() OVER ({partition}ORDER BY {by})"),
                    Type::Number,
                ),
                3 => (
                    format!("sum({number}) OVER ({partition}ORDER BY {by})"),
                    Type::Number,
                ),
                4 => (
                    format!(
                        "sum({number}) OVER ({partition}ORDER BY {all} ROWS BETWEEN 2 PRECEDING AND 1 FOLLOWING)"
                    ),
                    Type::Number,
                ),
                5 => (
                    format!("lag({number}) OVER ({partition}ORDER BY {all})"),
                    Type::Number,
                ),
                6 => {
                    let filter = self.simple(&from.columns);
                    let sql =
                        format!("count(*) FILTER (WHERE {filter}) OVER ({partition}ORDER BY {by})");
                    (sql, Type::Number)
                }
                _ => (
                    format!("max({number}) OVER ({})", partition.trim_end()),
                    Type::Number,
                ),
            };
            items.push(Column { sql, kind });
        }
        let filter = self.filter(&from.columns, depth);
        (
            format!("SELECT {} FROM {}{filter}", listed(&items), from.sql),
            kinds(&items),
        )
    }

    fn set_operation(&mut self, depth: usize) -> (String, Vec<Type>) {
        let count = 1 + self.chance.below(3);
        let kinds: Vec<Type> = (0..count)
            .map(|_| {
                *self
                    .chance
                    .one(&[Type::Number, Type::Text, Type::Date, Type::Flag])
            })
            .collect();
        let mut sides: Vec<String> = Vec::new();
        for _ in 0..2 {
            let from = self.from(depth - 1);
            let items: Vec<Column> = kinds
                .iter()
                .map(|kind| Column {
                    sql: self.column_of(&from.columns, *kind),
                    kind: *kind,
                })
                .collect();
            let filter = self.filter(&from.columns, 0);
            sides.push(format!(
                "SELECT {} FROM {}{filter}",
                listed(&items),
                from.sql
            ));
        }
        let operation =
            self.chance
                .one(&["UNION ALL", "UNION ALL", "UNION", "INTERSECT", "EXCEPT"]);
        (sides.join(&format!(" {operation} ")), kinds)
    }

    /// A query that reads another query twice.
    fn twice(&mut self, depth: usize) -> (String, Vec<Type>) {
        let (sql, found) = self.query(depth - 1);
        let name = self.name("w");
        let (left, right) = (self.name("l"), self.name("r"));
        let kind = self.chance.one(&["JOIN", "LEFT JOIN", "FULL JOIN"]);
        let items: Vec<Column> = [(&left, 0), (&right, 0)]
            .into_iter()
            .chain(found.get(1).map(|_| (&right, 1)))
            .map(|(side, at)| Column {
                sql: format!("{side}.c{at}"),
                kind: found[at],
            })
            .collect();
        let text = format!(
            "WITH {name} AS ({sql}) SELECT {} FROM (SELECT DISTINCT * FROM {name}) AS {left} {kind} (SELECT DISTINCT c0{} FROM \
             {name}) AS {right} ON {left}.c0 = {right}.c0",
            listed(&items),
            if found.len() > 1 { ", c1" } else { "" },
        );
        (text, kinds(&items))
    }

    /// Sorts a query by all columns, and may keep only some rows; `None` for no order and all rows.
    fn ordered(&mut self, sql: &str, found: &[Type]) -> Option<String> {
        if self.chance.percent(60) {
            return None;
        }
        let columns = (0..found.len()).map(|at| {
            let direction = if self.chance.percent(30) { " DESC" } else { "" };
            format!("c{at}{direction} {}", self.nulls())
        });
        let columns = columns.collect::<Vec<_>>().join(", ");
        let name = self.name("o");
        let mut text = format!("SELECT * FROM ({sql}) AS {name} ORDER BY {columns}");
        if self.chance.percent(70) {
            let _ = write!(text, " LIMIT {}", 1 + self.chance.below(30));
            if self.chance.percent(40) {
                let _ = write!(text, " OFFSET {}", self.chance.below(10));
            }
        }
        Some(text)
    }
}

fn listed(items: &[Column]) -> String {
    let items = items.iter().enumerate();
    let items: Vec<String> = items
        .map(|(at, item)| format!("{} AS c{at}", item.sql))
        .collect();
    items.join(", ")
}

fn kinds(items: &[Column]) -> Vec<Type> {
    items.iter().map(|item| item.kind).collect()
}

fn sorted_by(columns: &[Column], nulls: &str) -> String {
    let columns = columns
        .iter()
        .map(|column| format!("{} {nulls}", column.sql));
    columns.collect::<Vec<_>>().join(", ")
}
