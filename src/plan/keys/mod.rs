//! Corrections of functional dependencies: which columns of a relation determine others. DataFusion keeps them in the schema.
//!
//! DataFusion 55 believes that a key of one side of a join still determines all columns after its rows were multiplied and
//! grouped with others, and that a key stays a key when lists beside it are unnested. DataFusion then removes columns from
//! DISTINCT, GROUP BY and ORDER BY, drops a LEFT JOIN, adds columns to GROUP BY and counts ties one by one. Decision 0031
//! says when this folder can go.
//!
//! * `dependencies` computes the dependencies that hold
//! * `relations` corrects each relation in FROM, while a statement is planned
//! * `rule` corrects a plan, before each rule that reads dependencies
//! * `frames` adds the standard frame to windows without one

mod dependencies;
mod frames;
mod relations;
mod rule;

pub(crate) use frames::with_frames;
pub(crate) use relations::SoundRelations;
pub(crate) use rule::{SoundKeys, optimizer_rules};
