//! Orders of rows that DataFusion derives wrongly, or forgets (decision 0033).
//!
//! * `computed_keys` computes compound keys below the operators that sort
//! * `known_order` corrects the known order, equal columns and constant columns of joins and grouping sets
//! * `missing_sorts` adds the missing sorts to a plan that DataFusion's check refuses

pub(crate) mod computed_keys;
pub(crate) mod known_order;
pub(crate) mod missing_sorts;
