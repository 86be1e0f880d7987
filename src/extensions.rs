//! [`EXTENSIONS`]: all of Vatic's own operators in DataFusion's plans.

use crate::evaluate::Evaluate;
use crate::plan::chance::Fence;
use crate::plan::extension::PlanExtension;
use crate::plan::once::Once;
use crate::plan::orders::known_order::KnownOrder;
use crate::plan::sample::Sample;
use crate::predict::Predict;
use crate::train::Train;

pub(crate) const EXTENSIONS: &[&dyn PlanExtension] = &[
    &Predict,
    &Evaluate,
    &Train,
    &Fence,
    &Once,
    &Sample,
    &KnownOrder,
];
