//! How operators write themselves into plans.

use std::fmt;

use datafusion::physical_plan::DisplayFormatType;

/// Writes an operator as its name and details. A tree writes the names itself.
pub(crate) fn write_operator(
    f: &mut fmt::Formatter<'_>,
    format: DisplayFormatType,
    name: &str,
    details: fmt::Arguments<'_>,
) -> fmt::Result {
    match format {
        DisplayFormatType::Default | DisplayFormatType::Verbose => write!(f, "{name}: {details}"),
        DisplayFormatType::TreeRender => f.write_fmt(details),
    }
}

/// Writes an operator without details.
pub(crate) fn write_name(
    f: &mut fmt::Formatter<'_>,
    format: DisplayFormatType,
    name: &str,
) -> fmt::Result {
    match format {
        DisplayFormatType::Default | DisplayFormatType::Verbose => f.write_str(name),
        DisplayFormatType::TreeRender => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Operators(DisplayFormatType);

    impl fmt::Display for Operators {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write_operator(f, self.0, "ScanExec", format_args!("rows={}", 3))?;
            write_name(f, self.0, "FenceExec")
        }
    }

    #[test]
    fn a_tree_names_each_operator_itself() {
        let default = Operators(DisplayFormatType::Default).to_string();
        assert_eq!(default, "ScanExec: rows=3FenceExec");
        let tree = Operators(DisplayFormatType::TreeRender).to_string();
        assert_eq!(tree, "rows=3");
    }
}
