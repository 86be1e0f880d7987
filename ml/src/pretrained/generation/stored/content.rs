//! [`Content`]: the bytes of a file, which several matrices share.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

/// The bytes of a file. Clones are the same bytes.
#[derive(Clone)]
pub(crate) struct Content(Arc<Vec<u8>>);

impl Content {
    pub(crate) fn new(bytes: Vec<u8>) -> Self {
        Self(Arc::new(bytes))
    }

    /// All bytes.
    pub(crate) fn all(&self) -> &[u8] {
        &self.0
    }

    /// The bytes in this range, which is in the file.
    pub(crate) fn bytes(&self, range: Range<usize>) -> &[u8] {
        &self.0[range]
    }
}

impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}
