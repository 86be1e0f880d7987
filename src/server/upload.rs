//! [`Upload`]: a client's upload; each message is checked before it is decoded.

use std::sync::Arc;

use arrow_flight::decode::FlightRecordBatchStream;
use arrow_flight::error::FlightError;
use arrow_flight::{FlightData, FlightDescriptor};
use datafusion::arrow::ipc::{BodyCompressionMethod, root_as_message};
use datafusion::common::DataFusionError;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use futures::{StreamExt, TryStreamExt};
use tonic::{Status, Streaming};

use super::status::{failed, status};
use super::wire::{wire_batch, wire_schema};
use crate::error::{Result, SqlState, sql_err};

/// The maximum size of a decompressed buffer of a message.
const BUFFER_BYTES_MAX: i64 = 1 << 30;

/// An upload whose first message has arrived.
pub(super) struct Upload {
    pub(super) descriptor: FlightDescriptor,
    first: FlightData,
    rest: Streaming<FlightData>,
}

impl Upload {
    /// Waits for the first message, which holds the descriptor.
    pub(super) async fn begin(mut stream: Streaming<FlightData>) -> Result<Self, Status> {
        let first = stream.message().await?;
        // For rows without a batch, ADBC's driver sends no message at all, so not even the table is known.
        let first = first.ok_or_else(|| {
            let message = "the upload has no messages, so it names no table; to send no rows, send a batch \
                           without rows";
            failed(SqlState::InvalidParameter, message)
        })?;
        let descriptor = first.flight_descriptor.clone();
        let descriptor = descriptor.ok_or_else(|| {
            Status::invalid_argument("the first message of the upload has no descriptor")
        })?;
        Ok(Self {
            descriptor,
            first,
            rest: stream,
        })
    }

    /// The batches, in the types of the wire. Some clients send no schema if they have no rows, and some send the
    /// descriptor in a message of its own.
    pub(super) async fn rows(self) -> Result<Option<SendableRecordBatchStream>, Status> {
        let (mut first, mut rest) = (self.first, self.rest);
        while first.data_header.is_empty() {
            match rest.message().await? {
                Some(next) => first = next,
                None => return Ok(None),
            }
        }
        let messages = futures::stream::iter([Ok(first)]).chain(rest);
        let messages = messages.map(|message| {
            let checked = message.and_then(|message| check(&message).map(|()| message));
            checked.map_err(|status| FlightError::Tonic(Box::new(status)))
        });
        let mut batches = FlightRecordBatchStream::new_from_flight_data(messages);
        let first = batches.next().await.transpose();
        let first = first.map_err(|error| match error {
            FlightError::Tonic(refused) => *refused,
            error => status(&from_flight(&error)),
        })?;
        let Some(given) = batches.schema().cloned() else {
            return Err(Status::invalid_argument("the upload has no schema"));
        };
        let schema = wire_schema(&given);
        let wire = Arc::clone(&schema);
        let batches = futures::stream::iter(first.map(Ok))
            .chain(batches)
            .map_err(|error| from_flight(&error))
            .map(move |batch| wire_batch(&batch?, &wire));
        Ok(Some(Box::pin(RecordBatchStreamAdapter::new(
            schema, batches,
        ))))
    }
}

pub(super) fn from_flight(error: &FlightError) -> DataFusionError {
    match error {
        FlightError::Tonic(status) => sql_err(SqlState::Data, status.message()),
        error => sql_err(SqlState::Data, format!("the rows cannot be read: {error}")),
    }
}

/// Refuses a message whose lengths exceed its data or the memory: the decoder trusts the lengths in the message.
fn check(message: &FlightData) -> Result<(), Status> {
    let broken = || Status::invalid_argument("a message of the upload cannot be read");
    if message.data_header.is_empty() {
        return Ok(());
    }
    let header = root_as_message(&message.data_header).map_err(|_| broken())?;
    let batch = header.header_as_record_batch().or_else(|| {
        let dictionary = header.header_as_dictionary_batch();
        dictionary.and_then(|dictionary| dictionary.data())
    });
    let Some(batch) = batch else { return Ok(()) };
    let is_compressed = batch
        .compression()
        .is_some_and(|compression| compression.method() == BodyCompressionMethod::BUFFER);
    for buffer in batch.buffers().into_iter().flatten() {
        let start = usize::try_from(buffer.offset()).map_err(|_| broken())?;
        let length = usize::try_from(buffer.length()).map_err(|_| broken())?;
        let end = start.checked_add(length).ok_or_else(broken)?;
        let bytes = message.data_body.get(start..end).ok_or_else(broken)?;
        let claimed = bytes
            .first_chunk::<8>()
            .map(|bytes| i64::from_le_bytes(*bytes));
        if is_compressed && claimed.is_some_and(|claimed| claimed > BUFFER_BYTES_MAX) {
            return Err(broken());
        }
    }
    let nodes = batch.nodes().into_iter().flatten();
    let mut lengths = nodes.map(|node| node.length()).chain([batch.length()]);
    match lengths.any(|length| !(0..=i64::from(i32::MAX)).contains(&length)) {
        true => Err(broken()),
        false => Ok(()),
    }
}
