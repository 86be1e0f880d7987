//! The messages of an exchange: a header with the round, then bytes.

use std::io::{IoSlice, Read, Write};

use bytemuck::{Pod, Zeroable};
use vatic_ml::{Error, Result};

use crate::cluster::pulse::Pulse;
use crate::cluster::secure::PeerStream;

/// The header of each message.
#[derive(Debug, Clone, Copy, PartialEq, Pod, Zeroable)]
#[repr(C)]
pub(super) struct Header {
    pub(super) round: u64,
    pub(super) length: u64,
}

/// A connection whose bytes are counted in both directions.
#[derive(Clone, Copy)]
pub(super) struct Counted<'a> {
    pub(super) stream: &'a PeerStream,
    pub(super) pulse: &'a Pulse,
}

impl Read for Counted<'_> {
    fn read(&mut self, bytes: &mut [u8]) -> std::io::Result<usize> {
        let count = self.stream.read(bytes)?;
        self.pulse.count(count as u64);
        Ok(count)
    }
}

impl Write for Counted<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let count = self.stream.write(bytes)?;
        self.pulse.count(count as u64);
        Ok(count)
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> std::io::Result<usize> {
        let count = self.stream.write_vectored(slices)?;
        self.pulse.count(count as u64);
        Ok(count)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.stream.flush()
    }
}

/// Sends a message, as a list of slices.
pub(super) fn send(mut peer: Counted<'_>, header: &Header, message: &[&[u8]]) -> Result<()> {
    let header = bytemuck::bytes_of(header);
    let mut slices: Vec<IoSlice<'_>> = std::iter::once(header)
        .chain(message.iter().copied())
        .map(IoSlice::new)
        .collect();
    let mut left = &mut slices[..];
    while !left.is_empty() {
        match peer.write_vectored(left)? {
            0 => return Err(Error::Peer),
            written => IoSlice::advance_slices(&mut left, written),
        }
        // A write of empty slices returns 0, which would look like a closed connection.
        while left.first().is_some_and(|slice| slice.is_empty()) {
            left = &mut left[1..];
        }
    }
    Ok(())
}

/// A message that is being read.
pub(super) struct Incoming<'a> {
    peer: Counted<'a>,
    left: u64,
}

impl<'a> Incoming<'a> {
    /// The next message of a rank, which must be of this round.
    pub(super) fn announced(mut peer: Counted<'a>, round: u64) -> Result<Self> {
        let mut header = Header::zeroed();
        peer.read_exact(bytemuck::bytes_of_mut(&mut header))?;
        if header.round != round {
            return Err(out_of_step());
        }
        let left = header.length;
        Ok(Self { peer, left })
    }

    pub(super) fn read(&mut self, bytes: &mut [u8]) -> Result<()> {
        self.left = self
            .left
            .checked_sub(bytes.len() as u64)
            .ok_or_else(out_of_step)?;
        self.peer.read_exact(bytes)?;
        Ok(())
    }

    pub(super) fn read_all(self) -> Result<Vec<u8>> {
        let mut message = Vec::new();
        // Another process sent the length, so memory grows only with the bytes that arrive.
        let read = self.peer.take(self.left).read_to_end(&mut message)?;
        match read as u64 == self.left {
            true => Ok(message),
            false => Err(Error::Peer),
        }
    }

    /// Checks that the message was read to its end.
    pub(super) fn end(self) -> Result<()> {
        match self.left {
            0 => Ok(()),
            _ => Err(out_of_step()),
        }
    }
}

/// The error of ranks that make different calls.
pub(super) fn out_of_step() -> Error {
    Error::Internal("the workers of a training are out of step".into())
}
