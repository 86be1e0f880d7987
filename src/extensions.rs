//! [`EXTENSIONS`]: all of Vatic's own operators in DataFusion's plans. [`SCANS`]: all of its own sources of file scans.

use crate::evaluate::Evaluate;
use crate::plan::chance::Fence;
use crate::plan::extension::PlanExtension;
use crate::plan::nearest::Nearest;
use crate::plan::nearest::index::Indexes;
use crate::plan::once::Once;
use crate::plan::orders::known_order::KnownOrder;
use crate::plan::sample::Sample;
use crate::plan::scans::WireSource;
use crate::plan::series::ShortBatches;
use crate::plan::{csv, images};
use crate::predict::Predict;
use crate::recommend::Recommend;
use crate::train::Train;

pub(crate) const EXTENSIONS: &[&dyn PlanExtension] = &[
    &Predict,
    &Evaluate,
    &Recommend,
    &Train,
    &Fence,
    &Once,
    &Sample,
    &KnownOrder,
    &ShortBatches,
    &Nearest,
    &Indexes,
];

pub(crate) const SCANS: &[WireSource] = &[csv::codec::SOURCE, images::codec::SOURCE];
