//! The parser of one statement: which statement its first words begin, GRANT and REVOKE.

use datafusion::sql::parser::{DFParser, DFParserBuilder};
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::parser::ParserError;
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};

use crate::access::grants::{Grant, Object, Privilege};
use crate::error::{Result, SqlState, sql_err};
use crate::sql::script::tokenize;
use crate::sql::statement::{
    GrantStatement, ModelStatement, RELATION_FUNCTIONS, Statement, begins_with_relation,
};
use crate::storage::DEFAULT_SCHEMA;

/// Parses one statement; `None` if the text has only space and comments.
pub(crate) fn parse(text: &str) -> Result<Option<Statement>> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let tokens = tokenize(text).map_err(|error| {
        let found = ParserError::from(error);
        datafusion::common::DataFusionError::SQL(Box::new(found), None)
    })?;
    let tokens = without_table_keyword(tokens);
    if tokens.iter().all(|token| {
        matches!(
            token.token,
            Token::Whitespace(_) | Token::EOF | Token::SemiColon
        )
    }) {
        return Ok(None);
    }
    let dialect = GenericDialect {};
    let inner = DFParserBuilder::new(tokens)
        .with_dialect(&dialect)
        .build()?;
    let mut parser = Parser { inner, text };
    let statement = parser.statement()?;
    parser.end()?;
    Ok(Some(statement))
}

/// Turns `predict(m, TABLE t)` into `predict(m, t)`, because sqlparser has no such argument. Elsewhere TABLE stays.
fn without_table_keyword(mut tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    let significant: Vec<usize> = (0..tokens.len())
        .filter(|&index| !matches!(tokens[index].token, Token::Whitespace(_)))
        .collect();
    let token = |at: usize| significant.get(at).map(|&index| &tokens[index].token);
    let is_marked_table = |at: usize| {
        let is_keyword = matches!(token(at), Some(Token::Word(word))
            if word.quote_style.is_none() && word.keyword == Keyword::TABLE);
        let is_name = matches!(token(at + 1), Some(Token::Word(word))
            if word.quote_style.is_some() || word.keyword != Keyword::TABLE);
        is_keyword && is_name
    };
    // For each open bracket, whether it belongs to a call of a relation function.
    let mut open = Vec::new();
    let mut found = Vec::new();
    for (at, &index) in significant.iter().enumerate() {
        match &tokens[index].token {
            Token::LParen | Token::LBracket | Token::LBrace => {
                let before = at.checked_sub(1).and_then(token);
                let function = before.and_then(relation_function);
                open.push(function.is_some());
                if function.is_some_and(begins_with_relation) && is_marked_table(at + 1) {
                    found.push(significant[at + 1]);
                }
            }
            Token::RParen | Token::RBracket | Token::RBrace => {
                open.pop();
            }
            Token::Comma if open.last() == Some(&true) && is_marked_table(at + 1) => {
                found.push(significant[at + 1]);
            }
            _ => {}
        }
    }
    for index in found.into_iter().rev() {
        tokens.remove(index);
    }
    tokens
}

/// The relation function that a word names.
fn relation_function(token: &Token) -> Option<&'static str> {
    let Token::Word(word) = token else {
        return None;
    };
    let name = word.value.to_lowercase();
    let mut functions = RELATION_FUNCTIONS.iter().copied();
    functions.find(|function| *function == name)
}

pub(super) struct Parser<'a> {
    pub(super) inner: DFParser<'a>,
    pub(super) text: &'a str,
}

impl Parser<'_> {
    fn statement(&mut self) -> Result<Statement> {
        let words: Vec<String> = (0..7).map(|index| self.word(index)).collect();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        match words.as_slice() {
            words if is_train(words) => self.make_model(),
            ["EXPLAIN", rest @ ..] if is_train(after_explain(rest)) => self.explain_train(),
            ["SHOW", "MODELS", ..] => self.show_models(),
            ["SHOW", "VERSIONS", ..] => {
                self.words(&["SHOW", "VERSIONS", "IN", "MODEL"])?;
                Ok(Statement::Model(ModelStatement::ShowVersions(
                    self.model_name()?,
                )))
            }
            ["SHOW", "CREATE", "MODEL", ..] => {
                self.words(&["SHOW", "CREATE", "MODEL"])?;
                Ok(Statement::Model(ModelStatement::ShowCreate(
                    self.model_ref()?,
                )))
            }
            ["DESCRIBE" | "DESC", "MODEL", ..] => {
                self.skip(2);
                Ok(Statement::Model(ModelStatement::Describe(
                    self.model_ref()?,
                )))
            }
            ["ALTER", "MODEL", ..] => self.alter(),
            ["DROP", "MODEL", ..] => self.drop_model(),
            ["LOAD", "MODEL", ..] => self.load_model(),
            ["UNLOAD", "MODEL", ..] => self.unload_model(),
            words if is_export(words) => self.export_model(),
            ["EXPLAIN", rest @ ..] if has_no_plan(after_explain(rest)) => Err(sql_err(
                SqlState::Unsupported,
                "EXPLAIN shows the plan of a query or of a training; LOAD, UNLOAD and EXPORT MODEL have none",
            )),
            ["SUMMARIZE", ..] => self.summarize(),
            ["COPY", ..] if self.is_copy_from() => self.copy_from(),
            ["GRANT", ..] => Ok(Statement::Grant(GrantStatement::Grant(self.grant("TO")?))),
            ["REVOKE", ..] => Ok(Statement::Grant(GrantStatement::Revoke(
                self.grant("FROM")?,
            ))),
            ["SHOW", "GRANTS", ..] => {
                self.skip(2);
                Ok(Statement::Grant(GrantStatement::Show))
            }
            ["PREPARE", _, "AS", "TRAIN", ..] | ["PREPARE", _, "AS", "CREATE", ..] => Err(sql_err(
                SqlState::Unsupported,
                "PREPARE takes a query; a training cannot be prepared",
            )),
            ["PREPARE", _, "AS", rest @ ..] if has_no_plan(rest) => Err(sql_err(
                SqlState::Unsupported,
                "PREPARE takes a query; LOAD, UNLOAD and EXPORT MODEL cannot be prepared",
            )),
            _ => Ok(Statement::DataFusion(Box::new(
                self.inner.parse_statement()?,
            ))),
        }
    }

    /// `GRANT EXECUTE ON MODEL m TO role`, `GRANT SELECT ON [TABLE] t TO role`
    fn grant(&mut self, before_role: &str) -> Result<Grant> {
        self.skip(1);
        let (privilege, object) = if self.accept("EXECUTE") {
            self.words(&["ON", "MODEL"])?;
            (Privilege::Execute, self.model_name()?.object())
        } else if self.accept("SELECT") {
            self.words(&["ON"])?;
            self.accept("TABLE");
            let name = self.dotted_name("the name of a table")?;
            let (schema, name) = name.rsplit_once('.').unwrap_or((DEFAULT_SCHEMA, &name));
            (Privilege::Select, Object::table(schema, name))
        } else {
            return Err(self.expected("EXECUTE ON MODEL or SELECT ON"));
        };
        self.words(&[before_role])?;
        let to = match self.string() {
            Ok(name) => name,
            Err(_) => self.identifier("the name of a user or role")?,
        };
        Ok(Grant {
            privilege,
            object,
            id: None,
            to,
        })
    }
}

/// The words of the explained statement.
fn after_explain<'a>(words: &'a [&'a str]) -> &'a [&'a str] {
    let mut rest = words;
    while let ["ANALYZE" | "VERBOSE", after @ ..] = rest {
        rest = after;
    }
    rest
}

fn is_train(words: &[&str]) -> bool {
    matches!(
        words,
        ["TRAIN", ..] | ["CREATE", "MODEL", ..] | ["CREATE", "OR", "REPLACE", "MODEL", ..]
    )
}

fn is_export(words: &[&str]) -> bool {
    matches!(
        words,
        ["EXPORT", "MODEL", ..] | ["EXPORT", "OR", "REPLACE", "MODEL", ..]
    )
}

fn has_no_plan(words: &[&str]) -> bool {
    matches!(words, ["LOAD" | "UNLOAD", "MODEL", ..]) || is_export(words)
}

pub(super) fn syntax(error: ParserError) -> datafusion::common::DataFusionError {
    datafusion::common::DataFusionError::SQL(Box::new(error), None)
}

pub(super) fn unsupported(what: &str) -> datafusion::common::DataFusionError {
    sql_err(
        SqlState::Unsupported,
        format!("{what} is not supported yet"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::report;
    use crate::model::ModelRef;
    use crate::sql::statement::{OptionValue, TrainModel};

    fn train(text: &str) -> TrainModel {
        match parse(text).unwrap().unwrap() {
            Statement::Train(train) => *train,
            other => panic!("{other:?}"),
        }
    }

    fn error(text: &str) -> String {
        let found = report(&parse(text).unwrap_err());
        let position = found
            .position
            .map_or(String::new(), |at| format!(" at {}:{}", at.line, at.column));
        format!("{} {}{position}", found.state.code(), found.message)
    }

    #[test]
    fn a_training_prints_as_it_parses() {
        let text = "train or replace model S.Churn comment 'it''s' target \"Left\" \
                    options (model_type='dnn_classifier', hidden_units=[8, 4], learn_rate=-1e-3, early_stop=false, \
                    class_weights=[('yes', 2.5)], activation=relu) as select * from t where a > ';' ;";
        let parsed = train(text);
        assert_eq!(parsed.query.text, "select * from t where a > ';'");
        assert_eq!(parsed.targets, ["Left"]);
        assert_eq!(train(&parsed.to_string()), parsed);
        let parsed = train("TRAIN MODEL m TARGET a, \"B c\",d OPTIONS (x = 1) AS SELECT 1");
        assert_eq!(parsed.targets, ["a", "B c", "d"]);
        assert_eq!(train(&parsed.to_string()), parsed);
        assert!(train("TRAIN MODEL m AS SELECT 1").targets.is_empty());
    }

    #[test]
    fn table_is_a_word_of_its_own_in_our_calls_only() {
        let parsed = |text: &str| match parse(text).unwrap().unwrap() {
            Statement::DataFusion(statement) => statement.to_string(),
            other => panic!("{other:?}"),
        };
        for text in [
            "SELECT a, table b FROM t",
            "SELECT f(a, b) FROM predict(m, (SELECT a, table b FROM t))",
        ] {
            assert!(parsed(text).contains("a, table"), "{text}");
        }
        let text = "SELECT a, table FROM predict(m, TABLE t) JOIN Evaluate (m, table s.t) ON true";
        let expected = "SELECT a, table FROM predict(m, t) JOIN Evaluate(m, s.t) ON true";
        assert_eq!(parsed(text), expected);
        let text = "SELECT a, table FROM windows(TABLE t, order => a, lags => 2)";
        let expected = "SELECT a, table FROM windows(t, order => a, lags => 2)";
        assert_eq!(parsed(text), expected);
    }

    #[test]
    fn an_import_parses_back_to_itself() {
        let import = |text: &str| match parse(text).unwrap().unwrap() {
            Statement::Import(import) => *import,
            other => panic!("{other:?}"),
        };
        let parsed = import(
            "create or replace model S.m from '/it''s' COMMENT 'x' OPTIONS (format = 'a', licence = 'MIT')",
        );
        assert_eq!(parsed.source, "/it's");
        assert_eq!(import(&parsed.to_string()), parsed);
        let error = parse("TRAIN MODEL m FROM '/models'")
            .unwrap_err()
            .to_string();
        assert!(error.contains("expected TARGET"), "{error}");
    }

    #[test]
    fn create_model_is_a_synonym() {
        assert_eq!(
            train("CREATE MODEL m AS SELECT 1"),
            train("TRAIN MODEL m AS SELECT 1")
        );
        assert!(matches!(
            parse("EXPLAIN CREATE MODEL m AS SELECT 1").unwrap(),
            Some(Statement::ExplainTrain(_))
        ));
        assert!(matches!(
            parse("EXPLAIN SELECT 1").unwrap(),
            Some(Statement::DataFusion(_))
        ));
    }

    #[test]
    fn syntax_errors_say_where() {
        for (text, expected) in [
            (
                "TRAIN MODEL",
                "42601 expected the name of a model, found the end of the statement at 1:12",
            ),
            (
                "TRAIN MODEL m",
                "42601 expected TARGET, OPTIONS, COMMENT or AS and a query, found the end",
            ),
            ("TRAIN MODEL m\n  TARGT y AS SELECT 1", "found TARGT at 2:3"),
            (
                "TRAIN OR REPLACE MODEL IF NOT EXISTS m AS SELECT 1",
                "42601 OR REPLACE and IF NOT EXISTS exclude",
            ),
            (
                "TRAIN MODEL m TARGET a TARGET b AS SELECT 1",
                "42601 TARGET is given twice",
            ),
            (
                "TRAIN MODEL m TARGET a, AS SELECT 1",
                "42601 expected TARGET, OPTIONS, COMMENT or AS and a query, found SELECT",
            ),
            (
                "TRAIN MODEL m OPTIONS (a = 1, A = 2) AS SELECT 1",
                "22023 option \"a\" is given twice",
            ),
            (
                "TRAIN MODEL m OPTIONS (a = b + 1) AS SELECT 1",
                "22023 option \"a\" is b + 1",
            ),
            ("TRAIN MODEL m AS", "42601"),
            ("TRAIN MODEL m AS SELECT 1 SELECT 2", "found SELECT"),
            ("TRAIN MODEL \"a/b\" AS SELECT 1", "42602"),
            (
                "ALTER MODEL m SET x = 1",
                "42601 expected SET DEFAULT_VERSION",
            ),
            (
                "DROP MODEL m VERSION x",
                "42601 expected a version number, found x at 1:22",
            ),
            ("EXPLAIN ANALYZE TRAIN MODEL m AS SELECT 1", "0A000"),
            (
                "LOAD MODEL m DEVICE 'cpu'",
                "42601 expected OPTIONS or the end of the statement, found DEVICE at 1:14",
            ),
            (
                "UNLOAD MODEL",
                "42601 expected the name of a model, found the end of the statement",
            ),
            ("EXPLAIN VERBOSE LOAD MODEL m", "0A000"),
            ("PREPARE p AS UNLOAD MODEL m", "0A000"),
            ("EXPLAIN EXPORT MODEL m TO 'm.onnx'", "0A000"),
            ("PREPARE p AS EXPORT OR REPLACE MODEL m TO 'm/'", "0A000"),
            (
                "EXPORT MODEL m",
                "42601 expected TO, found the end of the statement at 1:15",
            ),
            (
                "EXPORT MODEL m TO m.onnx",
                "42601 expected a string, found m at 1:19",
            ),
            (
                "EXPORT MODEL m TO 'm.onnx' OPTIONS (opset = 17)",
                "42601 expected the end of the statement, found OPTIONS at 1:28",
            ),
            ("SELECT 'abc", "42601 unterminated string literal at 1:8"),
            ("SELEC 1", "42601"),
        ] {
            let found = error(text);
            assert!(found.contains(expected), "{text:?}: {found}");
        }
    }

    #[test]
    fn model_references_take_versions_and_aliases() {
        for text in [
            "DESCRIBE MODEL m@3",
            "DESCRIBE MODEL 'm@3'",
            "DESC MODEL public.m@3",
        ] {
            let Some(Statement::Model(ModelStatement::Describe(found))) = parse(text).unwrap()
            else {
                panic!("{text}")
            };
            assert_eq!(found, ModelRef::parse("m@3").unwrap(), "{text}");
        }
    }

    #[test]
    fn a_model_is_loaded_with_options_and_unloaded_without() {
        let load = |text: &str| match parse(text).unwrap().unwrap() {
            Statement::Load(load) => load,
            other => panic!("{other:?}"),
        };
        let found = load("load model S.m@champion options (device = cuda);");
        assert_eq!(found.model, ModelRef::parse("s.m@champion").unwrap());
        let device = ("device".to_owned(), OptionValue::Text("cuda".into()));
        assert_eq!(found.options, [device]);
        assert!(load("LOAD MODEL 'm' ;").options.is_empty());
        let Some(Statement::Unload(found)) = parse("UNLOAD MODEL m@2").unwrap() else {
            panic!("another statement")
        };
        assert_eq!(found, ModelRef::parse("m@2").unwrap());
    }

    #[test]
    fn an_export_parses_back_to_itself() {
        let export = |text: &str| match parse(text).unwrap().unwrap() {
            Statement::Export(export) => export,
            other => panic!("{other:?}"),
        };
        let found = export("export or replace model S.m@3 to 'it''s/m.onnx' ;");
        assert_eq!(found.model, ModelRef::parse("s.m@3").unwrap());
        assert_eq!((found.replaces, &*found.location), (true, "it's/m.onnx"));
        assert_eq!(export(&found.to_string()), found);
        let found = export("EXPORT MODEL 'm@champion' TO 'models/m/'");
        assert!(!found.replaces);
        assert_eq!(export(&found.to_string()), found);
    }

    #[test]
    fn odd_characters_are_parsed_or_refused_with_a_place() {
        assert!(parse("\u{feff}SELECT 1\r\n").unwrap().is_some());
        assert!(parse("SELECT 1 AS \"😀\"").unwrap().is_some());
        assert!(parse(" -- nothing \n /* here */ ; ").unwrap().is_none());
        assert!(
            error("SELECT \u{0} 1").contains("at 1:"),
            "{}",
            error("SELECT \u{0} 1")
        );
    }
}
