//! [`Secret`]: the secret that all processes of a cluster share, and the keys that are made from it.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use ring::hmac;
use sha2::{Digest, Sha256};

use crate::error::{Result, SqlState, io_err, sql_err};

/// A secret that can be guessed protects nothing.
const BYTES_MIN: usize = 32;
const BYTES_MAX: usize = 64 << 10;
/// The permissions of users who are neither the owner nor in the group of a file.
const OTHERS: u32 = 0o007;

/// The SHA-256 of the content of the secret file.
pub(super) struct Secret([u8; 32]);

impl Secret {
    /// Reads a secret file. White space at the ends does not count, so an editor may end the file with a line break.
    pub(super) fn read(path: &Path) -> Result<Self> {
        let what = || format!("cluster secret file {}", path.display());
        let wrong = |problem: &str| {
            let message = format!("{} {problem}", what());
            sql_err(SqlState::InvalidParameter, message)
        };
        let failed = |error: std::io::Error| io_err(what(), &error);
        let file = File::open(path).map_err(failed)?;
        let mode = file.metadata().map_err(failed)?.permissions().mode();
        if mode & OTHERS != 0 {
            return Err(wrong(
                "is open to all users of this machine; allow only its owner: chmod 600",
            ));
        }
        let mut content = Vec::new();
        let mut file = file.take(BYTES_MAX as u64 + 1);
        file.read_to_end(&mut content).map_err(failed)?;
        let secret = content.trim_ascii();
        if secret.is_empty() {
            return Err(wrong(
                "is empty; fill it: head -c 32 /dev/urandom | base64 > FILE",
            ));
        }
        if secret.len() < BYTES_MIN {
            return Err(wrong(
                "is shorter than 32 bytes; use random bytes: head -c 32 /dev/urandom | base64 > FILE",
            ));
        }
        if content.len() > BYTES_MAX {
            return Err(wrong("is larger than 64 KiB"));
        }
        Ok(Self::new(secret))
    }

    pub(super) fn new(content: &[u8]) -> Self {
        Self(Sha256::digest(content).into())
    }

    /// The key for a purpose: HMAC-SHA-256 of its name.
    pub(super) fn key(&self, purpose: &str) -> [u8; 32] {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &self.0);
        let mut made = [0; 32];
        made.copy_from_slice(hmac::sign(&key, purpose.as_bytes()).as_ref());
        made
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::report;

    fn refused(content: &[u8], mode: u32) -> String {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("secret");
        std::fs::write(&path, content).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        match Secret::read(&path) {
            Ok(_) => String::new(),
            Err(error) => report(&error).message,
        }
    }

    #[test]
    fn a_secret_file_must_be_long_and_private() {
        let long = [b'x'; BYTES_MIN];
        assert_eq!(refused(&long, 0o600), "");
        assert_eq!(refused(&long, 0o640), "");
        assert!(refused(&long, 0o644).contains("chmod 600"));
        assert!(refused(b" \n", 0o600).contains("is empty"));
        assert!(refused(&long[1..], 0o600).contains("shorter than 32 bytes"));
        let padded = [&long[1..], b"\n"].concat();
        assert!(refused(&padded, 0o600).contains("shorter than 32 bytes"));
        assert!(refused(&[b'x'; BYTES_MAX + 1], 0o600).contains("larger than 64 KiB"));
        let missing = Secret::read(Path::new("/nowhere/secret"));
        let message = report(&missing.err().unwrap()).message;
        assert!(message.contains("/nowhere/secret"), "{message}");
    }

    #[test]
    fn keys_differ_by_secret_and_purpose() {
        let (one, other) = (Secret::new(b"one"), Secret::new(b"other"));
        assert_eq!(one.key("tls"), Secret::new(b"one").key("tls"));
        assert_ne!(one.key("tls"), other.key("tls"));
        assert_ne!(one.key("tls"), one.key("task"));
    }

    /// The value is from Python: hmac.new(sha256(b"secret").digest(), b"tls", sha256).
    #[test]
    fn a_key_is_an_hmac() {
        let key = Secret::new(b"secret").key("tls");
        let key: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(
            key,
            "d410a85d12e1ef5e7815b7e2993a2bb45562d0a97269566ee20658f3c629cd2f"
        );
    }
}
