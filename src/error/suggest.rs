//! The nearest name, for an error about a name.

/// Adds the nearest name of `known` to an error message about a name.
pub(crate) fn with_cause<'a>(
    what: String,
    name: &str,
    known: impl IntoIterator<Item = &'a str>,
) -> String {
    match nearest(name, known) {
        Some(nearest) => format!("{what}; the nearest name is \"{nearest}\""),
        None => what,
    }
}

/// The name of `known` that is nearest to `name`, if at most a third of the letters differ: others are no typos.
pub fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let lower = name.to_lowercase();
    let far_from = |candidate: &str| {
        let candidate = candidate.to_lowercase();
        let letters = candidate.chars().count().max(lower.chars().count());
        let distance = strsim::damerau_levenshtein(&lower, &candidate);
        (3 * distance <= letters).then_some(distance)
    };
    let near = known
        .into_iter()
        .filter_map(|candidate| far_from(candidate).map(|distance| (distance, candidate)));
    let (_, nearest) = near.min_by_key(|(distance, _)| *distance)?;
    Some(nearest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_of_which_over_a_third_differs_is_not_suggested() {
        for (name, known, expected) in [
            ("TRIAN", "train", Some("train")),
            ("servee", "serve", Some("serve")),
            ("dya", "day", Some("day")),
            ("imputer", "rmse", None),
            ("imputer", "upper", None),
            ("prob", "pow", None),
            ("yy", "y", None),
            ("v", "w", None),
        ] {
            assert_eq!(nearest(name, [known]), expected, "{name}");
        }
        assert_eq!(nearest("lagg", ["flag", "lag"]), Some("lag"));
    }
}
