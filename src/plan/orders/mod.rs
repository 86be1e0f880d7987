//! Orders of rows that DataFusion tells wrongly, or forgets (decision 0033).
//!
//! * `known_order` what holds of the rows of joins and grouping sets: their order, what is equal, what is constant
//! * `checked_again` a plan that DataFusion's check refuses gets the sorts that it lacks

pub(crate) mod checked_again;
pub(crate) mod known_order;
