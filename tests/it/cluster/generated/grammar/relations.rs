//! Relations in FROM: tables, sub-queries, predictions, and joins of them.

use super::{COLUMNS, Column, From, Type, Writer};

impl Writer {
    pub(super) fn from(&mut self, depth: usize) -> From {
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

    pub(super) fn table(&mut self, is_large: bool) -> From {
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

    pub(super) fn relation(&mut self, depth: usize, is_large: bool) -> From {
        match self.chance.below(20) {
            0..=3 if depth > 0 && is_large => {
                let (mut sql, mut kinds) = self.query(depth - 1);
                if self.chance.percent(15) {
                    let (name, at) = (self.name("u"), kinds.len());
                    sql = format!("SELECT *, unnest([3, 1, 2]) AS c{at} FROM ({sql}) AS {name}");
                    kinds.push(Type::Number);
                }
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
            8..=10 => self.in_order(),
            _ => self.table(is_large),
        }
    }

    /// Rows for which a planner knows an order, an equality or a constant, and may rely on it where it no longer holds.
    fn in_order(&mut self) -> From {
        let table = *self.chance.one(&["a", "b", "b", "c", "c", "e"]);
        let nulls = self.nulls();
        // DuckDB loses rows of a FULL JOIN if it knows that one side is empty, so this is a number that all tables have.
        let number = self.chance.below(3);
        let sql = match self.chance.below(8) {
            0 => {
                format!("SELECT k, n, row_number() OVER (ORDER BY n {nulls}, id) AS w FROM {table}")
            }
            1 => format!("SELECT k, n, sum(k) OVER (ORDER BY n {nulls}) AS w FROM {table}"),
            2 => format!(
                "SELECT k, n, sum(n) OVER (PARTITION BY k ORDER BY id {nulls}) AS w FROM {table}"
            ),
            3 => format!("SELECT k, n, {number} AS w FROM {table}"),
            4 => format!("SELECT k, n, id AS w FROM {table} WHERE n = {number}"),
            5 => format!("SELECT k, max(n) AS n, count(*) AS w FROM {table} GROUP BY k"),
            6 => format!("SELECT DISTINCT k, n, k AS w FROM {table}"),
            _ => format!(
                "SELECT i AS k, i % 2 AS n, {number} AS w FROM generate_series(0, 4) AS g(i)"
            ),
        };
        let name = self.name("s");
        let columns = ["k", "n", "w"].map(|column| Column {
            sql: format!("{name}.{column}"),
            kind: Type::Number,
        });
        From {
            columns: columns.to_vec(),
            sql: format!("({sql}) AS {name}"),
        }
    }

    /// The predictions of a model for the rows of a table or of a join.
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
        if self.chance.percent(6) {
            parts.push(
                self.chance
                    .one(&["2 > 3", "(SELECT max(k) FROM c) > 3"])
                    .to_string(),
            );
        }
        match parts.is_empty() {
            true => "true".into(),
            false => parts.join(" AND "),
        }
    }

    /// A column of each side, or a literal for a side without a column of this type; `None` if neither side has one.
    fn pair(&mut self, left: &[Column], right: &[Column], kind: Type) -> Option<(String, String)> {
        let has = |side: &[Column]| side.iter().any(|column| column.kind == kind);
        let any = has(left) || has(right);
        any.then(|| (self.column_of(left, kind), self.column_of(right, kind)))
    }
}
