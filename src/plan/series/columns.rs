//! [`Columns`]: the columns of the input that a call of `windows` names.

use std::collections::HashSet;

use datafusion::arrow::datatypes::DataType;
use datafusion::common::{Column, DFSchema};
use datafusion::logical_expr::{Expr, cast};
use vatic_ml::data::types::{canonical_type, is_number, type_name};

use super::arguments::Arguments;
use crate::error::{Result, SqlState, sql_err, with_cause};

/// The columns by their roles; no column has two.
pub(super) struct Columns {
    pub(super) order: Column,
    pub(super) by: Vec<Column>,
    /// Columns of numbers, each of which becomes an array.
    pub(super) values: Vec<Values>,
}

/// A column of numbers.
pub(super) struct Values {
    pub(super) column: Column,
    /// The type of the numbers, if the column has them in another encoding, such as a dictionary: an array has none.
    decoded: Option<DataType>,
}

impl Values {
    /// The numbers.
    pub(super) fn expr(&self) -> Expr {
        let column = Expr::Column(self.column.clone());
        match &self.decoded {
            Some(data_type) => cast(column, data_type.clone()),
            None => column,
        }
    }
}

/// Whether a column has numbers, in any encoding.
fn has_numbers(data_type: &DataType) -> bool {
    is_number(&canonical_type(data_type))
}

/// The name of the target of a column.
pub(super) fn target_name(column: &str) -> String {
    format!("{column}_next")
}

impl Columns {
    pub(super) fn try_new(arguments: &Arguments, input: &DFSchema) -> Result<Self> {
        let mut roles = Roles {
            input,
            taken: HashSet::new(),
        };
        let order = roles.take(&arguments.order)?;
        let by = roles.take_all(&arguments.by)?;
        let values = match &arguments.columns {
            Some(names) => roles.take_all(names)?,
            None => roles.numbers_left(),
        };
        let mut fields = values.iter().map(|index| input.field(*index));
        if let Some(field) = fields.find(|field| !has_numbers(field.data_type())) {
            let message = format!(
                "column \"{}\" is {}, windows makes arrays of numbers; leave it out of columns or CAST it",
                field.name(),
                type_name(field.data_type())
            );
            return Err(sql_err(SqlState::TypeMismatch, message));
        }
        if values.is_empty() {
            let message = "windows needs a column of numbers beside order and by";
            return Err(sql_err(SqlState::MissingColumn, message));
        }
        let column = |index: usize| Column::from(input.qualified_field(index));
        let numbers = |index: usize| {
            let data_type = input.field(index).data_type();
            let decoded = canonical_type(data_type);
            Values {
                column: column(index),
                decoded: (decoded != *data_type).then_some(decoded),
            }
        };
        let columns = Self {
            order: column(order),
            by: by.into_iter().map(column).collect(),
            values: values.into_iter().map(numbers).collect(),
        };
        columns.check_names(arguments.horizon)?;
        Ok(columns)
    }

    /// Checks that no two columns of the result have one name.
    fn check_names(&self, horizon: usize) -> Result<()> {
        let values = self.values.iter().map(|values| &values.column);
        let kept = self.by.iter().chain([&self.order]).chain(values.clone());
        let kept = kept.map(|column| column.name.clone());
        let targets = values.filter(|_| horizon > 0);
        let targets = targets.map(|column| target_name(&column.name));
        let mut names = HashSet::new();
        match kept.chain(targets).find(|name| !names.insert(name.clone())) {
            Some(name) => {
                let message = format!(
                    "windows would return two columns \"{name}\"; rename one of them in a query: windows((SELECT …), …)"
                );
                Err(sql_err(SqlState::DuplicateName, message))
            }
            None => Ok(()),
        }
    }
}

/// The columns of the input, and those of them that have a role.
struct Roles<'a> {
    input: &'a DFSchema,
    taken: HashSet<usize>,
}

impl Roles<'_> {
    fn take(&mut self, name: &str) -> Result<usize> {
        let fields = self.input.fields();
        let all = fields.iter().enumerate();
        let found: Vec<usize> = all
            .filter(|(_, field)| field.name() == name)
            .map(|(index, _)| index)
            .collect();
        match found.as_slice() {
            [index] if self.taken.insert(*index) => Ok(*index),
            [_] => {
                let message = format!(
                    "column \"{name}\" is named twice; a column may be in order, in by or in columns, once"
                );
                Err(sql_err(SqlState::DuplicateName, message))
            }
            [] => {
                let names = fields.iter().map(|field| field.name().as_str());
                let what = format!("the input of windows has no column \"{name}\"");
                Err(sql_err(
                    SqlState::MissingColumn,
                    with_cause(what, name, names),
                ))
            }
            _ => {
                let message =
                    format!("the input of windows has two columns \"{name}\"; select one of them");
                Err(sql_err(SqlState::DuplicateName, message))
            }
        }
    }

    fn take_all(&mut self, names: &[String]) -> Result<Vec<usize>> {
        names.iter().map(|name| self.take(name)).collect()
    }

    /// The columns of numbers that have no role.
    fn numbers_left(&self) -> Vec<usize> {
        let fields = self.input.fields().iter().enumerate();
        let left = fields
            .filter(|(index, field)| !self.taken.contains(index) && has_numbers(field.data_type()));
        left.map(|(index, _)| index).collect()
    }
}
