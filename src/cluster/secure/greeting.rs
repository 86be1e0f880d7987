//! The first bytes of a connection between executor and engine: each side tells its build. Their format must never
//! change, so that builds of any two times can refuse each other by name.

use std::io::{Error, ErrorKind};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::failure::{Failure, Mismatch};

const MAGIC: [u8; 8] = *b"vaticgr1";
/// The first byte of an alert and of a handshake of TLS; the second is 3.
const TLS_ALERT: u8 = 0x15;
const TLS_HANDSHAKE: u8 = 0x16;
const TLS_MAJOR: u8 = 3;
const DRAIN_BYTES_MAX: u64 = 64 << 10;

/// Tells the other side this build, and checks that the other side has the same.
pub(super) async fn greet<S>(stream: &mut S, build: &str) -> Result<(), Failure>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let ours = &build.as_bytes()[..build.len().min(usize::from(u8::MAX))];
    let greeting = [&MAGIC[..], &[ours.len() as u8], ours].concat();
    stream.write_all(&greeting).await?;
    stream.flush().await?;
    let mut begin = [0; 2];
    stream.read_exact(&mut begin).await?;
    if begin[1] == TLS_MAJOR && [TLS_ALERT, TLS_HANDSHAKE].contains(&begin[0]) {
        // Closing a connection with unread bytes would reset it, and the other side would not get the greeting.
        let mut rest = stream.take(DRAIN_BYTES_MAX);
        // The reason of the refusal is known already.
        let _ = tokio::io::copy(&mut rest, &mut tokio::io::sink()).await;
        return Err(Failure::Refused(Mismatch::WeLackSecret));
    }
    let mut rest = [0; MAGIC.len() - 2];
    stream.read_exact(&mut rest).await?;
    if [&begin[..], &rest[..]].concat() != MAGIC {
        let message = "the other side is not of vatic";
        return Err(Failure::Io(Error::new(ErrorKind::InvalidData, message)));
    }
    let mut theirs = vec![0; usize::from(stream.read_u8().await?)];
    stream.read_exact(&mut theirs).await?;
    match theirs == ours {
        true => Ok(()),
        false => {
            let theirs = String::from_utf8_lossy(&theirs).into_owned();
            Err(Failure::Refused(Mismatch::OtherBuild(theirs)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn between(one: &str, other: &str) -> [Option<Mismatch>; 2] {
        let (mut here, mut there) = tokio::io::duplex(1024);
        let (here, there) = tokio::join!(greet(&mut here, one), greet(&mut there, other));
        [here, there].map(|greeted| match greeted {
            Ok(()) => None,
            Err(Failure::Refused(why)) => Some(why),
            Err(Failure::Io(error)) => panic!("{error}"),
        })
    }

    #[tokio::test]
    async fn each_side_names_the_build_of_the_other() {
        assert_eq!(between("vatic 1", "vatic 1").await, [None, None]);
        let (one, other) = ("vatic 1".to_owned(), "vatic 2".to_owned());
        let expected = [
            Mismatch::OtherBuild(other.clone()),
            Mismatch::OtherBuild(one.clone()),
        ]
        .map(Some);
        assert_eq!(between(&one, &other).await, expected);
    }

    #[tokio::test]
    async fn bytes_of_strangers_are_no_greeting() {
        let (mut here, mut there) = tokio::io::duplex(1024);
        there.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
        let greeted = greet(&mut here, "vatic 1").await;
        assert!(matches!(greeted, Err(Failure::Io(_))), "{greeted:?}");
    }
}
