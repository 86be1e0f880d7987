//! The parser of statements about models: TRAIN, CREATE, SHOW, ALTER, DROP, LOAD, UNLOAD and EXPORT MODEL.

use datafusion::sql::sqlparser::ast::{Expr, UnaryOperator, Value};
use datafusion::sql::sqlparser::tokenizer::Token;

use super::statement::{Parser, syntax, unsupported};
use crate::error::{Position, Result, SqlError, SqlState, sql_err};
use crate::model::{ModelName, ModelRef};
use crate::sql::script::LineStarts;
use crate::sql::statement::{
    AlterModel, DropModel, ExportModel, ImportModel, LoadModel, ModelStatement, OptionValue,
    Statement, TrainModel, TrainingQuery,
};
use crate::storage::{EXCLUSIVE_CLAUSES, IfTaken};

/// The beginning of a statement that makes a model.
struct Head {
    name: ModelName,
    if_taken: IfTaken,
}

impl Parser<'_> {
    pub(super) fn explain_train(&mut self) -> Result<Statement> {
        self.words(&["EXPLAIN"])?;
        if self.accept("ANALYZE") {
            return Err(sql_err(
                SqlState::Unsupported,
                "EXPLAIN ANALYZE would have to train; use EXPLAIN TRAIN MODEL for the plan, or run the training",
            ));
        }
        self.accept("VERBOSE");
        let head = self.head()?;
        Ok(Statement::ExplainTrain(Box::new(self.train(head)?)))
    }

    pub(super) fn make_model(&mut self) -> Result<Statement> {
        let is_create = self.word(0) == "CREATE";
        let head = self.head()?;
        match is_create && self.word(0) == "FROM" {
            true => Ok(Statement::Import(Box::new(self.import(head)?))),
            false => Ok(Statement::Train(Box::new(self.train(head)?))),
        }
    }

    /// Parses `TRAIN MODEL name` or `CREATE MODEL name`, with OR REPLACE or IF NOT EXISTS.
    fn head(&mut self) -> Result<Head> {
        self.skip(1);
        let or_replace = self.accept("OR");
        if or_replace {
            self.words(&["REPLACE"])?;
        }
        self.words(&["MODEL"])?;
        let if_not_exists = self.accept("IF");
        if if_not_exists {
            self.words(&["NOT", "EXISTS"])?;
        }
        let if_taken = IfTaken::from_clauses(or_replace, if_not_exists)
            .map_err(|_| self.error_here(EXCLUSIVE_CLAUSES))?;
        Ok(Head {
            name: self.model_name()?,
            if_taken,
        })
    }

    fn train(&mut self, head: Head) -> Result<TrainModel> {
        let (mut targets, mut options, mut comment) = (None, None, None);
        loop {
            match self.word(0).as_str() {
                "TARGET" => self.clause("TARGET", &mut targets, Self::targets)?,
                "OPTIONS" => self.clause("OPTIONS", &mut options, Self::options)?,
                "COMMENT" => self.clause("COMMENT", &mut comment, Self::string)?,
                "TRANSFORM" => return Err(unsupported("TRANSFORM")),
                clause @ ("INPUT" | "OUTPUT") => {
                    return Err(unsupported(&format!("{clause} of an imported model")));
                }
                "AS" => break,
                _ => return Err(self.expected("TARGET, OPTIONS, COMMENT or AS and a query")),
            }
        }
        self.words(&["AS"])?;
        let query = self.query_text()?;
        Ok(TrainModel {
            name: head.name,
            if_taken: head.if_taken,
            targets: targets.unwrap_or_default(),
            options: options.unwrap_or_default(),
            comment,
            query,
        })
    }

    fn import(&mut self, head: Head) -> Result<ImportModel> {
        self.words(&["FROM"])?;
        let source = self.string()?;
        let (mut options, mut comment) = (None, None);
        loop {
            match self.word(0).as_str() {
                "OPTIONS" => self.clause("OPTIONS", &mut options, Self::options)?,
                "COMMENT" => self.clause("COMMENT", &mut comment, Self::string)?,
                _ => break,
            }
        }
        Ok(ImportModel {
            name: head.name,
            if_taken: head.if_taken,
            source,
            options: options.unwrap_or_default(),
            comment,
        })
    }

    fn clause<T>(
        &mut self,
        name: &str,
        value: &mut Option<T>,
        parse: impl FnOnce(&mut Self) -> Result<T>,
    ) -> Result<()> {
        if value.is_some() {
            return Err(self.error_here(&format!("{name} is given twice; keep one of them")));
        }
        self.skip(1);
        *value = Some(parse(self)?);
        Ok(())
    }

    /// Parses the columns of the labels.
    fn targets(&mut self) -> Result<Vec<String>> {
        let mut names = vec![];
        loop {
            names.push(self.identifier("the column of the label")?);
            if !self.inner.parser.consume_token(&Token::Comma) {
                return Ok(names);
            }
        }
    }

    fn options(&mut self) -> Result<Vec<(String, OptionValue)>> {
        self.inner
            .parser
            .expect_token(&Token::LParen)
            .map_err(syntax)?;
        let mut options: Vec<(String, OptionValue)> = Vec::new();
        loop {
            let position = self.position();
            let key = self.identifier("the name of an option")?.to_lowercase();
            if options.iter().any(|(known, _)| *known == key) {
                let message = format!("option \"{key}\" is given twice; keep one of them");
                return Err(SqlError {
                    state: SqlState::InvalidParameter,
                    message,
                    position,
                }
                .into());
            }
            self.inner.parser.expect_token(&Token::Eq).map_err(syntax)?;
            let value = self.inner.parser.parse_expr().map_err(syntax)?;
            let value = option_value(&value).ok_or_else(|| {
                let quotes = match &value {
                    Expr::Identifier(name) if name.quote_style == Some('"') => {
                        "; double quotes are for names, single quotes for text"
                    }
                    _ => "",
                };
                let message = format!(
                    "option \"{key}\" is {value}; a number, string, boolean or list of them is expected{quotes}"
                );
                SqlError { state: SqlState::InvalidParameter, message, position }
            })?;
            options.push((key, value));
            if !self.inner.parser.consume_token(&Token::Comma) {
                break;
            }
        }
        self.inner
            .parser
            .expect_token(&Token::RParen)
            .map_err(syntax)?;
        Ok(options)
    }

    /// Parses a query, and returns its text as written.
    fn query_text(&mut self) -> Result<TrainingQuery> {
        let start = self.inner.parser.peek_token().span.start;
        self.inner.parser.parse_query().map_err(syntax)?;
        let end = self.inner.parser.peek_token();
        let lines = LineStarts::new(self.text);
        let end = match end.token {
            Token::EOF => self.text.len(),
            _ => lines.offset_of(end.span.start),
        };
        let text = self.text[lines.offset_of(start)..end].trim_end().to_owned();
        Ok(TrainingQuery {
            text,
            at: Position {
                line: start.line,
                column: start.column,
            },
        })
    }

    pub(super) fn show_models(&mut self) -> Result<Statement> {
        self.skip(2);
        let like = if self.accept("LIKE") {
            Some(self.string()?)
        } else {
            None
        };
        Ok(Statement::Model(ModelStatement::ShowModels { like }))
    }

    pub(super) fn alter(&mut self) -> Result<Statement> {
        self.skip(2);
        let name = self.model_name()?;
        let change = match self.word(0).as_str() {
            "RENAME" => {
                self.words(&["RENAME", "TO"])?;
                AlterModel::Rename(self.new_name(&name)?)
            }
            "VERSION" => {
                self.skip(1);
                let version = self.number()?;
                self.words(&["SET", "ALIAS"])?;
                self.inner.parser.expect_token(&Token::Eq).map_err(syntax)?;
                AlterModel::Alias {
                    version,
                    alias: self.name_or_string("an alias")?,
                }
            }
            "SET" if self.word(1) == "DEFAULT_VERSION" => {
                self.skip(2);
                self.inner.parser.expect_token(&Token::Eq).map_err(syntax)?;
                AlterModel::DefaultVersion(self.number()?)
            }
            "SET" if self.word(1) == "COMMENT" => {
                self.skip(2);
                self.inner.parser.expect_token(&Token::Eq).map_err(syntax)?;
                AlterModel::Comment(self.string()?)
            }
            _ => {
                return Err(self.expected(
                    "SET DEFAULT_VERSION = n, VERSION n SET ALIAS = a, RENAME TO name or SET COMMENT = 'text'",
                ));
            }
        };
        Ok(Statement::Model(ModelStatement::Alter(name, change)))
    }

    pub(super) fn drop_model(&mut self) -> Result<Statement> {
        self.skip(2);
        let if_exists = self.accept("IF");
        if if_exists {
            self.words(&["EXISTS"])?;
        }
        let name = self.model_name()?;
        let version = if self.accept("VERSION") {
            Some(self.number()?)
        } else {
            None
        };
        Ok(Statement::Model(ModelStatement::Drop(DropModel {
            name,
            if_exists,
            version,
        })))
    }

    pub(super) fn load_model(&mut self) -> Result<Statement> {
        self.skip(2);
        let model = self.model_ref()?;
        let options = match self.accept("OPTIONS") {
            true => self.options()?,
            false if self.is_at_end() => vec![],
            false => return Err(self.expected("OPTIONS or the end of the statement")),
        };
        Ok(Statement::Load(LoadModel { model, options }))
    }

    pub(super) fn unload_model(&mut self) -> Result<Statement> {
        self.skip(2);
        Ok(Statement::Unload(self.model_ref()?))
    }

    pub(super) fn export_model(&mut self) -> Result<Statement> {
        self.skip(1);
        let replaces = self.accept("OR");
        if replaces {
            self.words(&["REPLACE"])?;
        }
        self.words(&["MODEL"])?;
        let model = self.model_ref()?;
        self.words(&["TO"])?;
        let location = self.string()?;
        Ok(Statement::Export(ExportModel {
            model,
            replaces,
            location,
        }))
    }

    pub(super) fn model_name(&mut self) -> Result<ModelName> {
        let position = self.position();
        let text = self.dotted_name("the name of a model")?;
        Ok(ModelName::parse(&text).map_err(|error| at(error, position))?)
    }

    /// Parses the new name of a model; without a schema, the name stays in the schema of the model.
    fn new_name(&mut self, model: &ModelName) -> Result<ModelName> {
        let position = self.position();
        let text = self.dotted_name("the new name of the model")?;
        let text = if text.contains('.') {
            text
        } else {
            format!("{}.{text}", model.schema)
        };
        Ok(ModelName::parse(&text).map_err(|error| at(error, position))?)
    }

    pub(super) fn model_ref(&mut self) -> Result<ModelRef> {
        let position = self.position();
        let text = self.dotted_name("the name of a model")?;
        Ok(ModelRef::parse(&text).map_err(|error| at(error, position))?)
    }
}

fn at(error: SqlError, position: Option<Position>) -> SqlError {
    SqlError { position, ..error }
}

fn option_value(expr: &Expr) -> Option<OptionValue> {
    let all = |exprs: &[Expr]| exprs.iter().map(option_value).collect::<Option<Vec<_>>>();
    match expr {
        Expr::Value(value) => match &value.value {
            Value::Boolean(value) => Some(OptionValue::Boolean(*value)),
            Value::Number(text, _) => Some(OptionValue::Number(text.clone())),
            Value::SingleQuotedString(text) => Some(OptionValue::Text(text.clone())),
            _ => None,
        },
        Expr::UnaryOp {
            op: UnaryOperator::Minus,
            expr,
        } => match option_value(expr)? {
            OptionValue::Number(text) => Some(OptionValue::Number(format!("-{text}"))),
            _ => None,
        },
        // A bare word is a string: optimizer = adamw.
        Expr::Identifier(name) if name.quote_style.is_none() => {
            Some(OptionValue::Text(name.value.to_lowercase()))
        }
        Expr::Array(array) => Some(OptionValue::List(all(&array.elem)?)),
        Expr::Tuple(exprs) => Some(OptionValue::Tuple(all(exprs)?)),
        Expr::Nested(inner) => option_value(inner),
        _ => None,
    }
}
