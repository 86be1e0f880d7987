//! [`unused_name`]: the name of a column that a rule adds to a plan.

use datafusion::common::DFSchema;

/// `__kind_number` with the next number that no column of the schema has. A rule keeps the `number`, so that it names no two columns
/// alike; two rules differ in their kinds.
pub(crate) fn unused_name(kind: &str, number: &mut usize, schema: &DFSchema) -> String {
    loop {
        *number += 1;
        let name = format!("__{kind}_{number}");
        if !schema.has_column_with_unqualified_name(&name) {
            return name;
        }
    }
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::datatypes::{DataType, Field, Schema};

    use super::*;

    #[test]
    fn names_of_columns_are_left_out() {
        let fields = ["__key_1", "__key_3", "__in_2"];
        let fields = fields.map(|name| Field::new(name, DataType::Int64, true));
        let schema = DFSchema::try_from(Schema::new(fields.to_vec())).unwrap();
        let mut number = 0;
        let names = [(); 3].map(|()| unused_name("key", &mut number, &schema));
        assert_eq!(names, ["__key_2", "__key_4", "__key_5"]);
    }
}
