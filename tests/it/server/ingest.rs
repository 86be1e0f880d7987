//! Rows that clients upload: column names that occur twice, and uploads without rows.

use std::sync::Arc;

use arrow_flight::encode::FlightDataEncoderBuilder;
use arrow_flight::sql::{
    CommandStatementIngest, DoPutUpdateResult, TableDefinitionOptions, TableExistsOption,
    TableNotExistOption,
};
use arrow_flight::{FlightData, FlightDescriptor};
use datafusion::arrow::array::{ArrayRef, Int64Array, RecordBatch};
use datafusion::arrow::datatypes::{DataType, Field, Schema};
use futures::TryStreamExt;
use prost::Message;
use tonic::{Code, Status};

use super::{Server, any, column, error, runtime};

fn batch(names: &[&str], rows: i64) -> RecordBatch {
    let fields = names
        .iter()
        .map(|name| Field::new(*name, DataType::Int64, true));
    let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
    let column: ArrayRef = Arc::new(Int64Array::from_iter_values(0..rows));
    RecordBatch::try_new(schema, vec![column; names.len()]).unwrap()
}

fn descriptor(exists: TableExistsOption) -> FlightDescriptor {
    let options = TableDefinitionOptions {
        if_not_exist: TableNotExistOption::Create.into(),
        if_exists: exists.into(),
    };
    FlightDescriptor::new_cmd(any(&CommandStatementIngest {
        table: "t".into(),
        table_definition_options: Some(options),
        ..CommandStatementIngest::default()
    }))
}

/// The messages of an upload: the schema, and the batches with rows.
async fn messages(batch: RecordBatch, exists: TableExistsOption) -> Vec<FlightData> {
    let batches = Some(batch.clone()).filter(|batch| batch.num_rows() > 0);
    FlightDataEncoderBuilder::new()
        .with_schema(batch.schema())
        .with_flight_descriptor(Some(descriptor(exists)))
        .build(futures::stream::iter(batches.map(Ok)))
        .try_collect()
        .await
        .unwrap()
}

async fn send(server: &Server, messages: Vec<FlightData>) -> Result<i64, Status> {
    let mut client = server.client().await;
    let answers = client.do_put(futures::stream::iter(messages)).await?;
    let answer = answers.into_inner().message().await?.unwrap();
    let result = DoPutUpdateResult::decode(answer.app_metadata).unwrap();
    Ok(result.record_count)
}

#[test]
fn columns_of_one_name_are_refused_and_leave_nothing() {
    let server = Server::start(&[]);
    runtime().block_on(async {
        let remote = server.connect().await;
        let twice = || messages(batch(&["a", "a"], 3), TableExistsOption::Append);
        let status = send(&server, twice().await).await.unwrap_err();
        assert!(status.message().contains("42701"), "{status:?}");
        assert!(error(&remote, "SELECT * FROM t").await.starts_with("42P01"));
        // An existing table with one column of this name refuses the rows too.
        column(&remote, "CREATE TABLE t (a BIGINT)").await;
        let status = send(&server, twice().await).await.unwrap_err();
        assert!(status.message().contains("42701"), "{status:?}");
        assert_eq!(column(&remote, "SELECT count(*) FROM t").await, ["0"]);
    });
}

#[test]
fn a_schema_without_rows_makes_a_table_and_adds_nothing() {
    let server = Server::start(&[]);
    runtime().block_on(async {
        let remote = server.connect().await;
        let none = async |exists| messages(batch(&["a", "b"], 0), exists).await;
        let created = send(&server, none(TableExistsOption::Fail).await).await;
        assert_eq!(created.unwrap(), 0);
        assert_eq!(
            column(&remote, "SELECT count(*), count(b) FROM t").await,
            ["0,0"]
        );
        let status = send(&server, none(TableExistsOption::Fail).await)
            .await
            .unwrap_err();
        assert_eq!(status.code(), Code::AlreadyExists);
        column(&remote, "INSERT INTO t VALUES (1, 2)").await;
        let appended = send(&server, none(TableExistsOption::Append).await).await;
        assert_eq!(appended.unwrap(), 0);
        assert_eq!(column(&remote, "SELECT * FROM t").await, ["1,2"]);
        // The descriptor comes in a message of its own, before the schema.
        let mut apart = none(TableExistsOption::Replace).await;
        let first = FlightData::new().with_descriptor(descriptor(TableExistsOption::Replace));
        apart[0].flight_descriptor = None;
        apart.insert(0, first);
        assert_eq!(send(&server, apart).await.unwrap(), 0);
        assert_eq!(column(&remote, "SELECT count(*) FROM t").await, ["0"]);
        // ADBC's driver sends no message for rows without a batch.
        let status = send(&server, vec![]).await.unwrap_err();
        assert!(
            status.message().contains("send a batch without rows"),
            "{status:?}"
        );
    });
}
