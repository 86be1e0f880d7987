//! Bytes that no correct client sends: on the socket, in messages, in rows.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use arrow_flight::encode::FlightDataEncoderBuilder;
use arrow_flight::sql::{CommandStatementIngest, CommandStatementUpdate};
use arrow_flight::{Action, FlightData, FlightDescriptor, Ticket};
use datafusion::arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use futures::TryStreamExt;
use std::sync::Arc;
use tonic::Code;

use super::{Server, any, column, runtime};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Whether the server hangs up on a connection within this time.
fn hangs_up_within(stream: &mut TcpStream, time: Duration) -> bool {
    let until = Instant::now() + time;
    let mut bytes = [0; 4096];
    while Instant::now() < until {
        stream
            .set_read_timeout(Some(Duration::from_millis(100)))
            .unwrap();
        match stream.read(&mut bytes) {
            Ok(0) => return true,
            Ok(_) => {}
            Err(error)
                if [std::io::ErrorKind::WouldBlock, std::io::ErrorKind::TimedOut]
                    .contains(&error.kind()) => {}
            Err(_) => return true,
        }
    }
    false
}

/// Bytes that look random and are the same in every run.
fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut byte = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    (0..length).map(|_| byte()).collect()
}

#[test]
fn what_is_not_http2_is_closed_and_the_server_goes_on() {
    let server = Server::start(&[]);
    for seed in 0..200 {
        let mut stream = TcpStream::connect(server.address()).unwrap();
        let bytes = match seed % 5 {
            0 => noise(seed, 100),
            1 => b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(),
            2 => b"SSH-2.0-OpenSSH_9.0\r\nxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx".to_vec(),
            3 => [
                b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec(),
                noise(seed, 50),
            ]
            .concat(),
            _ => [PREFACE.to_vec(), noise(seed, 200)].concat(),
        };
        // The server may hang up before all bytes are sent.
        let _ = stream.write_all(&bytes);
        if seed < 15 && seed % 5 != 4 {
            assert!(
                hangs_up_within(&mut stream, Duration::from_secs(2)),
                "{seed}"
            );
        }
    }
    runtime().block_on(server.assert_alive());
}

#[test]
fn whoever_does_not_begin_is_closed_in_time() {
    let server = Server::start(&[]);
    let connect = || TcpStream::connect(server.address()).unwrap();
    let (mut silent, mut half, mut dripping) = (connect(), connect(), connect());
    half.write_all(&PREFACE[..10]).unwrap();
    let mut drops = dripping.try_clone().unwrap();
    std::thread::spawn(move || {
        for byte in PREFACE {
            std::thread::sleep(Duration::from_millis(900));
            if drops.write_all(&[*byte]).is_err() {
                break;
            }
        }
    });
    crate::end_turn();
    let began = Instant::now();
    for stream in [&mut silent, &mut half, &mut dripping] {
        assert!(hangs_up_within(stream, Duration::from_secs(13)));
    }
    assert!(
        began.elapsed() > Duration::from_secs(8),
        "not before its time"
    );
    runtime().block_on(server.assert_alive());
}

#[test]
fn too_many_connections_are_refused_and_those_that_are_there_go_on() {
    let server = Server::start(&["--connections", "5"]);
    runtime().block_on(async {
        let first = server.connect().await;
        let mut others: Vec<TcpStream> = (0..4)
            .map(|_| TcpStream::connect(server.address()).unwrap())
            .collect();
        std::thread::sleep(Duration::from_millis(200));
        let mut refused = TcpStream::connect(server.address()).unwrap();
        assert!(hangs_up_within(&mut refused, Duration::from_secs(2)));
        assert_eq!(column(&first, "SELECT 1").await, ["1"]);
        others.clear();
        std::thread::sleep(Duration::from_millis(200));
        server.assert_alive().await;
    });
}

#[test]
fn messages_that_are_none_are_errors() {
    let server = Server::start(&[]);
    runtime().block_on(async {
        let mut client = server.client().await;
        for seed in 0..100 {
            let bytes = noise(seed, (seed as usize * 7) % 300);
            let descriptor = FlightDescriptor::new_cmd(bytes.clone());
            let status = client.get_flight_info(descriptor).await.unwrap_err();
            assert!(
                matches!(status.code(), Code::InvalidArgument | Code::Unimplemented),
                "{status:?}"
            );
            let status = client.do_get(Ticket::new(bytes.clone())).await.unwrap_err();
            assert!(
                matches!(status.code(), Code::InvalidArgument | Code::NotFound),
                "{status:?}"
            );
            for action in [
                "CreatePreparedStatement",
                "CancelQuery",
                "SetSessionOptions",
                "CancelFlightInfo",
            ] {
                if let Err(status) = client.do_action(Action::new(action, bytes.clone())).await {
                    assert_eq!(status.code(), Code::InvalidArgument, "{action}: {status:?}");
                }
            }
        }
        server.assert_alive().await;
    });
}

/// An upload of rows to a table, as messages.
async fn upload() -> Vec<FlightData> {
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("a", Arc::new(Int64Array::from_iter_values(0..1_000))),
        (
            "b",
            Arc::new(StringArray::from_iter_values(
                (0..1_000).map(|at| at.to_string()),
            )),
        ),
    ];
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let command = CommandStatementIngest {
        table: "t".into(),
        ..CommandStatementIngest::default()
    };
    FlightDataEncoderBuilder::new()
        .with_flight_descriptor(Some(FlightDescriptor::new_cmd(any(&command))))
        .build(futures::stream::iter([Ok(batch)]))
        .try_collect()
        .await
        .unwrap()
}

#[test]
fn rows_that_are_damaged_are_errors_and_nothing_is_written() {
    let server = Server::start(&[]);
    runtime().block_on(async {
        let good = upload().await;
        let mut client = server.client().await;
        let (mut errors, mut kept) = (0, 0);
        for seed in 0..300u64 {
            let mut messages = good.clone();
            let at = noise(seed, 8);
            let place = u32::from_le_bytes(at[..4].try_into().unwrap()) as usize;
            let message = &mut messages[1 + seed as usize % (good.len() - 1)];
            // Each byte of the header matters; in the body some bits do not.
            let mut head = message.data_header.to_vec();
            match seed % 4 {
                0 => head.truncate(place % head.len()),
                1 => message.data_body = message.data_body.slice(..place % message.data_body.len()),
                _ => {
                    let index = place % head.len();
                    head[index] ^= at[5] | 1;
                }
            }
            message.data_header = head.into();
            let sent = client.do_put(futures::stream::iter(messages)).await;
            match sent {
                Err(status) => {
                    assert_ne!(status.code(), Code::Unavailable, "{seed}: {status:?}");
                    errors += 1;
                }
                Ok(response) => match response.into_inner().message().await {
                    Err(_) => errors += 1,
                    Ok(_) => {
                        kept += 1;
                        let remote = server.connect().await;
                        column(&remote, "DROP TABLE IF EXISTS t").await;
                    }
                },
            }
        }
        assert!(errors > 150, "{errors} errors, {kept} that did no harm");
        let remote = server.connect().await;
        let tables = "SELECT count(*) FROM information_schema.tables WHERE table_name = 't'";
        assert_eq!(column(&remote, tables).await, ["0"]);
        // The undamaged upload arrives.
        client.do_put(futures::stream::iter(good)).await.unwrap();
        assert_eq!(
            column(&remote, "SELECT count(*), max(a) FROM t").await,
            ["1000,999"]
        );
    });
}

#[test]
fn uploads_that_are_none_are_errors() {
    let server = Server::start(&[]);
    runtime().block_on(async {
        let mut client = server.client().await;
        let update = CommandStatementUpdate {
            query: "SELECT 1".into(),
            transaction_id: None,
        };
        let with = |command: Vec<u8>| {
            FlightData::new().with_descriptor(FlightDescriptor::new_cmd(command))
        };
        let ingest = CommandStatementIngest {
            table: "t".into(),
            ..CommandStatementIngest::default()
        };
        for messages in [
            vec![],
            vec![FlightData::new()],
            vec![with(vec![])],
            vec![with(noise(1, 40))],
            vec![with(any(&ingest))],
            vec![upload().await.remove(1)],
        ] {
            let status = client
                .do_put(futures::stream::iter(messages))
                .await
                .unwrap_err();
            assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
        }
        client
            .do_put(futures::stream::iter([with(any(&update))]))
            .await
            .unwrap();
        server.assert_alive().await;
    });
}
