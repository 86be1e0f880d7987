//! [`StandardTypes`]: names of types of the SQL standard that DataFusion does not know; [`prepare_columns`]: timestamps of declared columns.

use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Field, FieldRef, TimeUnit};
use datafusion::execution::SessionState;
use datafusion::logical_expr::planner::TypePlanner;
use datafusion::sql::parser::Statement as DFStatement;
use datafusion::sql::sqlparser::ast::{
    DataType as SqlType, Statement as SqlStatement, TimezoneInfo,
};

use crate::error::{Result, SqlState, sql_err};

/// The zone of columns WITH TIME ZONE, if the session has none.
const UTC: &str = "+00:00";

/// Gives the timestamps of declared columns a number of digits that DataFusion knows, and a zone to those WITH TIME ZONE, also if the
/// session has none: DataFusion would make them timestamps without a zone.
///
/// # Errors
/// If a column has more digits than nanoseconds.
pub(crate) fn prepare_columns(statement: &mut DFStatement, state: &mut SessionState) -> Result<()> {
    let columns = match statement {
        DFStatement::CreateExternalTable(table) => &mut table.columns,
        DFStatement::Statement(inner) => match inner.as_mut() {
            SqlStatement::CreateTable(table) => &mut table.columns,
            _ => return Ok(()),
        },
        DFStatement::CopyTo(_) | DFStatement::Explain(_) | DFStatement::Reset(_) => return Ok(()),
    };
    let mut has_zones = false;
    for column in columns {
        if let SqlType::Timestamp(digits, zone) = &mut column.data_type {
            has_zones |= has_zone(*zone);
            if let Some(digits) = digits {
                *digits = match unit(*digits, &column.name.value)? {
                    TimeUnit::Second => 0,
                    TimeUnit::Millisecond => 3,
                    TimeUnit::Microsecond => 6,
                    TimeUnit::Nanosecond => 9,
                };
            }
        }
    }
    if has_zones {
        let options = state.config_mut().options_mut();
        options
            .execution
            .time_zone
            .get_or_insert_with(|| UTC.into());
    }
    Ok(())
}

/// The planner of types.
#[derive(Debug)]
pub(crate) struct StandardTypes;

impl TypePlanner for StandardTypes {
    fn plan_type_field(&self, name: &SqlType) -> Result<Option<FieldRef>> {
        let found = data_type(name)?;
        Ok(found.map(|data_type| Arc::new(Field::new("", data_type, true))))
    }
}

fn data_type(name: &SqlType) -> Result<Option<DataType>> {
    Ok(Some(match name {
        SqlType::Time(Some(digits), zone) if !has_zone(*zone) => {
            match unit(*digits, &name.to_string())? {
                unit @ (TimeUnit::Second | TimeUnit::Millisecond) => DataType::Time32(unit),
                unit @ (TimeUnit::Microsecond | TimeUnit::Nanosecond) => DataType::Time64(unit),
            }
        }
        SqlType::Binary(_) | SqlType::Varbinary(_) | SqlType::Blob(_) => DataType::Binary,
        SqlType::Clob(_)
        | SqlType::CharLargeObject(_)
        | SqlType::CharacterLargeObject(_)
        | SqlType::Character(_)
        | SqlType::CharacterVarying(_)
        | SqlType::CharVarying(_)
        | SqlType::Nvarchar(_) => DataType::Utf8View,
        _ => return Ok(None),
    }))
}

fn has_zone(zone: TimezoneInfo) -> bool {
    matches!(zone, TimezoneInfo::Tz | TimezoneInfo::WithTimeZone)
}

/// The coarsest unit that holds fractions of a second with so many digits.
fn unit(digits: u64, of: &str) -> Result<TimeUnit> {
    match digits {
        0 => Ok(TimeUnit::Second),
        1..=3 => Ok(TimeUnit::Millisecond),
        4..=6 => Ok(TimeUnit::Microsecond),
        7..=9 => Ok(TimeUnit::Nanosecond),
        _ => {
            let message = format!("{of} has {digits} digits of a second; up to 9 are supported");
            Err(sql_err(SqlState::Unsupported, message))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_the_unit_that_holds_their_digits() {
        let time = |digits| SqlType::Time(Some(digits), TimezoneInfo::None);
        for (digits, expected) in [
            (0, DataType::Time32(TimeUnit::Second)),
            (3, DataType::Time32(TimeUnit::Millisecond)),
            (4, DataType::Time64(TimeUnit::Microsecond)),
            (9, DataType::Time64(TimeUnit::Nanosecond)),
        ] {
            assert_eq!(data_type(&time(digits)).unwrap(), Some(expected));
        }
        data_type(&time(10)).unwrap_err();
        // DataFusion refuses it.
        let zoned = SqlType::Time(Some(3), TimezoneInfo::Tz);
        assert_eq!(data_type(&zoned).unwrap(), None);
    }
}
