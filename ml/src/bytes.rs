//! Encoding of numbers as little-endian bytes, for messages to other ranks and processes.

use vatic_metrics::ExactSum;

use crate::{Error, Result};

/// A growing byte buffer.
#[derive(Debug, Default)]
pub(crate) struct Writer(pub(crate) Vec<u8>);

impl Writer {
    pub(crate) fn count(&mut self, count: u64) {
        self.0.extend(count.to_le_bytes());
    }

    pub(crate) fn number(&mut self, number: f64) {
        self.0.extend(number.to_le_bytes());
    }

    /// The number of bytes, then the bytes.
    pub(crate) fn block(&mut self, bytes: &[u8]) {
        self.count(bytes.len() as u64);
        self.0.extend(bytes);
    }
}

/// The bytes that are not read yet.
#[derive(Debug)]
pub(crate) struct Reader<'a>(pub(crate) &'a [u8]);

impl<'a> Reader<'a> {
    /// The next `bytes` bytes.
    pub(crate) fn bytes(&mut self, bytes: usize) -> Result<&'a [u8]> {
        let (head, tail) = self.0.split_at_checked(bytes).ok_or_else(cut_off)?;
        self.0 = tail;
        Ok(head)
    }

    pub(crate) fn count(&mut self) -> Result<u64> {
        let bytes = self.bytes(8)?.try_into().map_err(|_| cut_off())?;
        Ok(u64::from_le_bytes(bytes))
    }

    pub(crate) fn number(&mut self) -> Result<f64> {
        Ok(f64::from_bits(self.count()?))
    }

    pub(crate) fn block(&mut self) -> Result<&'a [u8]> {
        let bytes = self.count()? as usize;
        self.bytes(bytes)
    }

    /// A block that holds a sum.
    pub(crate) fn sum(&mut self) -> Result<ExactSum> {
        let wrong = || Error::Internal("a sum in a message of a worker cannot be read".into());
        ExactSum::from_bytes(self.block()?).ok_or_else(wrong)
    }
}

fn cut_off() -> Error {
    Error::Internal("a message of a worker is cut off".into())
}
