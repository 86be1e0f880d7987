//! [`InputShape`]: the widths of the tensors of a model, and the place of each column in them.

use std::ops::Range;

use crate::data::columns::{Column, FeatureKind};
use crate::data::encode::column::ColumnEncoder;
use crate::data::image::ImageEncoder;

/// The widths of the tensors.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct InputShape {
    /// Numbers per row.
    pub numbers: usize,
    /// Categories per row.
    pub categories: usize,
    /// The number of ids of all vocabularies, including the ids of unseen values.
    pub category_ids: usize,
    /// The ids that stand for unseen values.
    pub unseen_ids: Vec<usize>,
    /// The place of each array among the numbers.
    pub arrays: Vec<Range<usize>>,
    /// The image, if a column holds images. A model has one such column at most.
    pub image: Option<ImageEncoder>,
    /// The place of each column in a row.
    pub columns: Vec<ColumnShape>,
}

impl InputShape {
    /// Adds the place of a column.
    pub(super) fn add(&mut self, column: &ColumnEncoder) {
        let Column { name, data_type } = &column.column;
        let categories = column.vocabularies.len() + usize::from(column.keys.is_some());
        let place = ColumnShape {
            name: name.clone(),
            numbers: self.numbers..self.numbers + column.numbers.len(),
            categories: self.categories..self.categories + categories,
        };
        if FeatureKind::of(name, data_type).is_ok_and(|kind| kind == FeatureKind::Array) {
            self.arrays.push(place.numbers.clone());
        }
        self.numbers = place.numbers.end;
        self.categories = place.categories.end;
        self.image = self.image.take().or_else(|| column.image.clone());
        self.columns.push(place);
    }
}

/// The place of a column among the numbers and the categories of a row.
#[derive(Debug, Clone, PartialEq)]
pub struct ColumnShape {
    /// The name of the column.
    pub name: String,
    /// Its numbers.
    pub numbers: Range<usize>,
    /// Its categories.
    pub categories: Range<usize>,
}
