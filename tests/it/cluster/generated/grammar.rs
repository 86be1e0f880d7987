//! [`Query::of`]: a query of its seed, in the SQL that DuckDB understands too.
//!
//! Rows come in no order, so nothing in a query depends on one, unless it is sorted by all columns. Numbers are whole, or
//! quarters, so that sums are exact in any order.

use std::fmt::Write;

/// The tables, by the SQL that makes them; each INSERT is a file of its own.
pub(super) const TABLES: &[&str] = &[
    // Keys with NULLs, one of them with many rows.
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

/// A column as an expression sees it.
#[derive(Debug, Clone)]
struct Column {
    sql: String,
    kind: Type,
}

pub(super) struct Query {
    pub(super) sql: String,
    /// Whether DuckDB can be asked as well: it has no models.
    pub(super) is_for_duckdb: bool,
}

impl Query {
    pub(super) fn of(seed: u64) -> Self {
        // The chances of the next seed would be those of this one but the first.
        let start = Chance(seed).next();
        let mut writer = Writer {
            chance: Chance(start),
            names: 0,
            has_model: false,
        };
        let (sql, columns) = writer.query(2);
        let sql = writer.ordered(sql, &columns);
        Self {
            sql,
            is_for_duckdb: !writer.has_model,
        }
    }
}

/// Sebastiano Vigna's SplitMix64.
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

/// What a FROM holds: its text and the columns that it offers.
struct From {
    sql: String,
    columns: Vec<Column>,
}

impl Writer {
    fn name(&mut self, prefix: &str) -> String {
        self.names += 1;
        format!("{prefix}{}", self.names)
    }

    /// A query, and the kinds of its columns `c0`, `c1`, ….
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
        let having = match self.chance.percent(25) {
            true => format!(" HAVING count(*) > {}", self.chance.below(4)),
            false => String::new(),
        };
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

    /// Aggregates of everything: one row, whatever there is.
    fn totals(&mut self, depth: usize) -> (String, Vec<Type>) {
        let from = self.from(depth);
        let count = 1 + self.chance.below(4);
        let items: Vec<Column> = (0..count).map(|_| self.aggregate(&from.columns)).collect();
        let filter = self.filter(&from.columns, depth);
        (
            format!("SELECT {} FROM {}{filter}", listed(&items), from.sql),
            kinds(&items),
        )
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
        let items = [one, other, aggregate];
        let items_sql = listed(&items);
        (
            format!(
                "SELECT {items_sql} FROM {}{filter} GROUP BY {sets}",
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
        // Equal rows may stand in any order, so they must be equal in all that is seen.
        let all = sorted_by(&from.columns);
        for _ in 0..=self.chance.below(2) {
            let partition = match self.chance.percent(60) {
                true => format!("PARTITION BY {} ", self.column(&from.columns).sql),
                false => String::new(),
            };
            let some = [self.column(&from.columns)];
            let by = sorted_by(&some);
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

    /// A query that is read twice.
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

    /// In the order of all columns, and some of the rows; or in none, and all.
    fn ordered(&mut self, sql: String, found: &[Type]) -> String {
        if self.chance.percent(70) {
            return sql;
        }
        let columns: Vec<Column> = found
            .iter()
            .enumerate()
            .map(|(at, kind)| Column {
                sql: format!("c{at}"),
                kind: *kind,
            })
            .collect();
        let name = self.name("o");
        let mut text = format!(
            "SELECT * FROM ({sql}) AS {name} ORDER BY {}",
            sorted_by(&columns)
        );
        if self.chance.percent(70) {
            let _ = write!(text, " LIMIT {}", 1 + self.chance.below(30));
            if self.chance.percent(40) {
                let _ = write!(text, " OFFSET {}", self.chance.below(10));
            }
        }
        text
    }

    fn from(&mut self, depth: usize) -> From {
        let mut from = self.relation(depth, true);
        let joins = match self.chance.below(10) {
            0..=2 => 0,
            3..=7 => 1,
            _ => 2,
        };
        for _ in 0..joins {
            from = self.join(from, depth);
        }
        from
    }

    fn table(&mut self, is_large: bool) -> From {
        let names: &[&str] = match is_large {
            true => &["a", "a", "a", "a", "b", "b", "b", "c", "c", "e"],
            false => &["b", "b", "c", "c", "c", "e"],
        };
        let table = *self.chance.one(names);
        let name = self.name("t");
        let columns = COLUMNS.iter().map(|(column, kind)| Column {
            sql: format!("{name}.{column}"),
            kind: *kind,
        });
        From {
            columns: columns.collect(),
            sql: format!("{table} AS {name}"),
        }
    }

    fn relation(&mut self, depth: usize, is_large: bool) -> From {
        match self.chance.below(20) {
            0..=3 if depth > 0 && is_large => {
                let (sql, kinds) = self.query(depth - 1);
                let name = self.name("q");
                let columns = kinds.iter().enumerate().map(|(at, kind)| Column {
                    sql: format!("{name}.c{at}"),
                    kind: *kind,
                });
                From {
                    columns: columns.collect(),
                    sql: format!("({sql}) AS {name}"),
                }
            }
            4 => {
                let name = self.name("g");
                let to = 1 + self.chance.below(9);
                From {
                    columns: vec![Column {
                        sql: format!("{name}.i"),
                        kind: Type::Number,
                    }],
                    sql: format!("generate_series(1, {to}) AS {name}(i)"),
                }
            }
            5 => {
                let name = self.name("v");
                From {
                    columns: vec![
                        Column {
                            sql: format!("{name}.x"),
                            kind: Type::Number,
                        },
                        Column {
                            sql: format!("{name}.y"),
                            kind: Type::Text,
                        },
                    ],
                    sql: format!(
                        "(VALUES (1, 's1'), (2, 's2'), (NULL, 's3'), (5, NULL)) AS {name}(x, y)"
                    ),
                }
            }
            6..=7 if is_large => self.predicted(depth),
            _ => self.table(is_large),
        }
    }

    /// What a model says of rows: of a table, or of a join.
    fn predicted(&mut self, depth: usize) -> From {
        self.has_model = true;
        let from = match depth > 0 && self.chance.percent(50) {
            true => self.from(depth - 1),
            false => self.table(true),
        };
        let (k, n) = (
            self.column_of(&from.columns, Type::Number),
            self.column_of(&from.columns, Type::Number),
        );
        let text = self.column_of(&from.columns, Type::Text);
        let name = self.name("p");
        let column = |column: &str, kind| Column {
            sql: format!("{name}.{column}"),
            kind,
        };
        From {
            columns: vec![
                column("k", Type::Number),
                column("n", Type::Number),
                column("s", Type::Text),
                Column {
                    sql: format!("CAST(round({name}.predicted_y) AS BIGINT)"),
                    kind: Type::Number,
                },
            ],
            sql: format!(
                "predict('m', (SELECT CAST({k} AS BIGINT) AS k, CAST({n} AS BIGINT) AS n, {text} AS s FROM {})) AS {name}",
                from.sql
            ),
        }
    }

    fn join(&mut self, left: From, depth: usize) -> From {
        let has_keys = self.chance.percent(80);
        let right = self.relation(depth, has_keys);
        if !has_keys && self.chance.percent(30) {
            return From {
                sql: format!("{} CROSS JOIN {}", left.sql, right.sql),
                columns: [left.columns, right.columns].concat(),
            };
        }
        let kind = *self.chance.one(&[
            "JOIN",
            "JOIN",
            "LEFT JOIN",
            "LEFT JOIN",
            "RIGHT JOIN",
            "FULL JOIN",
            "LEFT SEMI JOIN",
            "LEFT ANTI JOIN",
        ]);
        let condition = self.condition(&left.columns, &right.columns, has_keys);
        let is_half = kind.ends_with("SEMI JOIN") || kind.ends_with("ANTI JOIN");
        let sql = format!("{} {kind} {} ON {condition}", left.sql, right.sql);
        let columns = match is_half {
            true => left.columns,
            false => [left.columns, right.columns].concat(),
        };
        From { sql, columns }
    }

    /// Of columns only: DataFusion 55 loses rows of anti joins whose condition is false whatever the rows are.
    fn condition(&mut self, left: &[Column], right: &[Column], has_keys: bool) -> String {
        let mut parts = Vec::new();
        if has_keys {
            for _ in 0..=usize::from(self.chance.percent(25)) {
                let kind = *self.chance.one(&[Type::Number, Type::Number, Type::Text]);
                if let Some((one, other)) = self.pair(left, right, kind) {
                    parts.push(format!("{one} = {other}"));
                }
            }
        }
        let is_plain = has_keys && self.chance.percent(55);
        if let Some((one, other)) = self.pair(left, right, Type::Number).filter(|_| !is_plain) {
            let operator = self.chance.one(&["<", ">", "<=", "<>"]);
            parts.push(match self.chance.below(5) {
                0 => format!("{one} + {other} > {}", self.chance.below(40)),
                1 => format!(
                    "({one} {operator} {other} OR {} IS NULL)",
                    self.column(right).sql
                ),
                2 => format!(
                    "{one} {operator} {other} AND {one} > {}",
                    self.chance.below(8)
                ),
                _ => format!("{one} {operator} {other}"),
            });
        }
        if let Some((one, other)) = self.pair(left, right, Type::Date)
            && self.chance.percent(10)
        {
            parts.push(format!("{one} <= {other}"));
        }
        match parts.is_empty() {
            true => "true".into(),
            false => parts.join(" AND "),
        }
    }

    /// A column of each side, if both have some of this kind.
    fn pair(&mut self, left: &[Column], right: &[Column], kind: Type) -> Option<(String, String)> {
        let has = |side: &[Column]| side.iter().any(|column| column.kind == kind);
        let both = has(left) && has(right);
        both.then(|| (self.column_of(left, kind), self.column_of(right, kind)))
    }

    fn filter(&mut self, columns: &[Column], depth: usize) -> String {
        if self.chance.percent(60) {
            return String::new();
        }
        let one = self.predicate(columns, depth);
        // DataFusion 55 forgets NULLs in a NOT IN that stands beside an OR.
        let has_not_in = one.contains("NOT IN");
        let text = match self.chance.below(5) {
            0 => format!("{one} AND {}", self.predicate(columns, depth)),
            1 if !has_not_in => format!("({one} OR {})", self.simple(columns)),
            _ => one,
        };
        format!(" WHERE {text}")
    }

    fn simple(&mut self, columns: &[Column]) -> String {
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
        // And in one of a value that is no column.
        let is_column = columns.iter().any(|column| column.kind == kind);
        match self.chance.below(11) {
            1 | 2 if !is_column => self.simple(columns),
            0 => format!("{outer} IN (SELECT {found} FROM {from} WHERE true{filter})"),
            1 => format!(
                "{outer} NOT IN (SELECT {found} FROM {from} WHERE {found} IS NOT NULL{filter})"
            ),
            2 => format!("{outer} NOT IN (SELECT {found} FROM {from} WHERE true{filter})"),
            3 => format!("EXISTS (SELECT 1 FROM {from} WHERE {found} = {outer}{more}{filter})"),
            4 => format!("NOT EXISTS (SELECT 1 FROM {from} WHERE {found} = {outer}{more}{filter})"),
            5 => format!("{number} > (SELECT avg({within}) FROM {from} WHERE true{filter})"),
            6 => format!(
                "{number} >= (SELECT max({within}) FROM {from} WHERE {found} = {outer}{filter})"
            ),
            7 => {
                format!("{number} > (SELECT count(*) FROM {from} WHERE {found} = {outer}{filter})")
            }
            _ => self.simple(columns),
        }
    }

    fn column(&mut self, columns: &[Column]) -> Column {
        self.chance.one(columns).clone()
    }

    /// A column of this kind, or a value.
    fn column_of(&mut self, columns: &[Column], kind: Type) -> String {
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

    fn expression(&mut self, columns: &[Column]) -> Column {
        let number = self.column_of(columns, Type::Number);
        let text = self.column_of(columns, Type::Text);
        let (sql, kind) = match self.chance.below(12) {
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
            _ => return self.column(columns),
        };
        Column { sql, kind }
    }

    fn aggregate(&mut self, columns: &[Column]) -> Column {
        let number = self.column_of(columns, Type::Number);
        let any = self.column(columns);
        let (sql, kind) = match self.chance.below(11) {
            0 | 1 => ("count(*)".to_owned(), Type::Number),
            2 => (format!("count({})", any.sql), Type::Number),
            3 => (format!("count(DISTINCT {})", any.sql), Type::Number),
            4 => (format!("sum({number})"), Type::Number),
            5 => (format!("sum(DISTINCT {number})"), Type::Number),
            // Rounded, as it is a key later.
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

fn sorted_by(columns: &[Column]) -> String {
    let columns: Vec<String> = columns
        .iter()
        .map(|column| format!("{} NULLS FIRST", column.sql))
        .collect();
    columns.join(", ")
}
