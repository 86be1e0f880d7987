//! Messages between ranks and coordinator: JSON in length-delimited frames, over one connection per rank.

use std::collections::HashSet;
use std::io;
use std::time::Duration;

use futures::{SinkExt, StreamExt};
use serde::{Deserialize, Serialize};
use tokio_util::bytes::Bytes;
use tokio_util::codec::{Framed, LengthDelimitedCodec};
use vatic_ml::train::control::Progress;

use crate::cluster::pulse::Vitals;
use crate::cluster::secure::SecureStream;
use crate::error::SqlError;
use crate::model::runtime::{CacheOrder, ModelCopy, PinnedVersion};

/// The largest message: a result has a record of each epoch.
const FRAME_BYTES_MAX: usize = 64 << 20;

/// A message from a rank, or from an executor about itself.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) enum FromRank {
    /// The first message of a rank, which begins to read its rows; other ranks reach it at this address.
    Enter {
        run_id: String,
        rank: usize,
        address: String,
    },
    /// The rank has all its rows.
    Join { rows: u64 },
    /// The rank cannot join.
    Refuse { error: SqlError },
    /// The rank is alive.
    Beat(Vitals),
    /// The progress of the training.
    Progress(Progress),
    /// The rank has ended, rank 0 with a result; with `is_consequence`, it ended because others did.
    End {
        result: Option<String>,
        error: Option<SqlError>,
        is_consequence: bool,
    },
    /// What an executor has, sent repeatedly on a separate connection, and its answers to orders.
    Has {
        executor: String,
        report: ExecutorReport,
        answers: Vec<OrderAnswer>,
    },
}

/// What an executor reports of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::cluster) struct ExecutorReport {
    /// The names of the models that it has loaded.
    pub(in crate::cluster) models: Vec<String>,
    /// Those that stay loaded.
    pub(in crate::cluster) pinned: HashSet<PinnedVersion>,
    /// Its GPUs, or `cpu`.
    pub(in crate::cluster) devices: Vec<String>,
}

/// A message to a rank.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) enum ToRank {
    /// All ranks have joined; their addresses, in the order of ranks, and the time that the attempt has taken so far.
    Start { peers: Vec<String>, spent: Duration },
    /// An answer to each beat.
    Beat,
    /// The rank must stop.
    Abort { reason: String },
}

/// The answer to [`FromRank::Has`].
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct ReportReply {
    /// The unique name of this engine.
    pub(super) engine: String,
    /// All orders that the executor has not answered.
    pub(super) orders: Vec<NumberedOrder>,
}

/// An order to an executor about its model cache, with a unique id.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct NumberedOrder {
    pub(super) id: String,
    pub(super) order: CacheOrder,
}

/// The answer of an executor to an order.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct OrderAnswer {
    pub(super) id: String,
    pub(super) outcome: OrderOutcome,
}

/// The copies of models that an executor loaded or dropped.
pub(in crate::cluster) type OrderOutcome = Result<Vec<ModelCopy>, SqlError>;

/// A connection that carries these messages.
pub(super) struct Wire(Framed<SecureStream, LengthDelimitedCodec>);

impl Wire {
    pub(super) fn new(stream: SecureStream) -> Self {
        let mut codec = LengthDelimitedCodec::new();
        codec.set_max_frame_length(FRAME_BYTES_MAX);
        Self(Framed::new(stream, codec))
    }

    pub(super) async fn send(&mut self, message: &impl Serialize) -> io::Result<()> {
        self.0.send(Bytes::from(serde_json::to_vec(message)?)).await
    }

    /// The next message; `None` at the end of the connection.
    pub(super) async fn next<T: for<'a> Deserialize<'a>>(&mut self) -> io::Result<Option<T>> {
        match self.0.next().await {
            Some(frame) => Ok(Some(serde_json::from_slice(&frame?)?)),
            None => Ok(None),
        }
    }
}
