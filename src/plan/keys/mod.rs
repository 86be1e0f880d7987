//! What determines what in a relation: the functional dependencies that DataFusion keeps beside a schema, made sound.
//!
//! DataFusion 55 believes that a key of one side of a join still determines all columns once its rows were multiplied and
//! grouped with others, and that a key stays one when lists beside it are unnested. From that it takes columns out of DISTINCT,
//! GROUP BY and ORDER BY, drops a LEFT JOIN, adds columns to GROUP BY and counts ties one by one. Decision 0031 says when
//! this can go.
//!
//! * `dependencies` which dependencies hold
//! * `relations` those of each relation in FROM, while a statement is planned
//! * `rule` those of a plan, before each rule that reads them
//! * `frames` the frame of a window that names none

mod dependencies;
mod frames;
mod relations;
mod rule;

pub(crate) use frames::with_frames;
pub(crate) use relations::SoundRelations;
pub(crate) use rule::{SoundKeys, optimizer_rules};
