//! What ranks and coordinator tell each other: JSON in frames with a length, over one connection a rank.

use std::io;

use futures::{SinkExt, StreamExt};
use serde::{Deserialize, Serialize};
use tokio::net::TcpStream;
use tokio_util::bytes::Bytes;
use tokio_util::codec::{Framed, LengthDelimitedCodec};
use vatic_ml::train::control::Progress;

use crate::error::SqlError;

/// A result has a record of each epoch.
const FRAME_BYTES_MAX: usize = 64 << 20;

/// From a rank, or from an executor about itself.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) enum FromRank {
    /// Its rows are there; others reach it at this address.
    Join {
        run_id: String,
        rank: usize,
        address: String,
    },
    /// It cannot come.
    Refuse { run_id: String, error: SqlError },
    /// It is alive.
    Beat,
    /// Where the training is.
    Progress(Progress),
    /// It has ended, rank 0 with a result; with `is_consequence` because others did.
    End {
        result: Option<String>,
        error: Option<SqlError>,
        is_consequence: bool,
    },
    /// What an executor has loaded, by name; told again and again on a connection of its own.
    Models {
        executor: String,
        models: Vec<String>,
    },
}

/// To a rank.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) enum ToRank {
    /// All are there, at these addresses in the order of ranks.
    Start { peers: Vec<String> },
    /// An answer to each beat.
    Beat,
    /// Stop.
    Abort { reason: String },
}

/// The answer to what an executor says of itself: the name of this engine, which no other has.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Heard {
    pub(super) engine: String,
}

/// A connection that carries these messages.
pub(super) struct Wire(Framed<TcpStream, LengthDelimitedCodec>);

impl Wire {
    pub(super) fn new(stream: TcpStream) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        let mut codec = LengthDelimitedCodec::new();
        codec.set_max_frame_length(FRAME_BYTES_MAX);
        Ok(Self(Framed::new(stream, codec)))
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
