//! [`Records`]: splits bytes that arrive in pieces into records, each with the number of its first line.

use csv_core::{ReadRecordResult, Reader, ReaderBuilder, Terminator};

use super::options::ReadOptions;

/// A longer record has a quote that is not closed.
pub(super) const RECORD_BYTES_MAX: usize = 256 << 20;

/// Splits bytes into records.
pub(super) struct Records {
    reader: Reader,
    text: Vec<u8>,
    text_len: usize,
    ends: Vec<usize>,
    ends_len: usize,
    /// The last byte read.
    last: u8,
}

/// A record of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Record {
    /// The number of the first line, from 1, as an editor counts.
    pub(super) line: u64,
    pub(super) fields: Vec<Vec<u8>>,
}

impl Record {
    /// The fields as text.
    pub(super) fn texts(&self) -> Vec<String> {
        let fields = self.fields.iter();
        fields
            .map(|field| String::from_utf8_lossy(field).into_owned())
            .collect()
    }
}

impl Records {
    /// A splitter of bytes whose first line has this number.
    pub(super) fn new(options: &ReadOptions, line: u64) -> Self {
        let mut builder = ReaderBuilder::new();
        builder
            .delimiter(options.delimiter)
            .quote(options.quote)
            .escape(options.escape)
            .comment(options.comment);
        if let Some(byte) = options.terminator {
            builder.terminator(Terminator::Any(byte));
        }
        let mut reader = builder.build();
        reader.set_line(line);
        Self {
            reader,
            text: vec![0; 1 << 10],
            text_len: 0,
            ends: vec![0; 64],
            ends_len: 0,
            last: 0,
        }
    }

    /// Reads bytes up to the end of a record, and returns how many; no bytes mean the end of the file.
    pub(super) fn next(&mut self, bytes: &[u8]) -> (usize, Option<Record>) {
        let mut taken = 0;
        if bytes.is_empty() {
            // A line break at the end of the bytes then belongs to a value whose quote is not closed.
            self.last = 0;
        }
        loop {
            let (result, read, written, ended) = self.reader.read_record(
                &bytes[taken..],
                &mut self.text[self.text_len..],
                &mut self.ends[self.ends_len..],
            );
            taken += read;
            self.text_len += written;
            self.ends_len += ended;
            if taken > 0 {
                self.last = bytes[taken - 1];
            }
            match result {
                ReadRecordResult::OutputFull => self.text.resize(self.text.len() * 2, 0),
                ReadRecordResult::OutputEndsFull => self.ends.resize(self.ends.len() * 2, 0),
                ReadRecordResult::InputEmpty | ReadRecordResult::End => return (taken, None),
                ReadRecordResult::Record => return (taken, Some(self.take())),
            }
        }
    }

    /// The number of bytes of the unfinished record.
    pub(super) fn pending(&self) -> usize {
        self.text_len
    }

    fn take(&mut self) -> Record {
        let text = &self.text[..self.text_len];
        let within = text.iter().filter(|byte| **byte == b'\n').count() as u64;
        // The reader counts a line when it reads "\n"; of "\r\n" it has not read the "\n" yet.
        let ended = u64::from(self.last == b'\n');
        let line = self.reader.line().saturating_sub(within + ended).max(1);
        let mut start = 0;
        let fields = self.ends[..self.ends_len].iter().map(|&end| {
            let field = text[start..end].to_vec();
            start = end;
            field
        });
        let fields = fields.collect();
        (self.text_len, self.ends_len) = (0, 0);
        Record { line, fields }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str, piece: usize) -> Vec<(u64, usize)> {
        let options = ReadOptions {
            delimiter: b',',
            quote: b'"',
            ..ReadOptions::default()
        };
        let mut records = Records::new(&options, 1);
        let mut found = Vec::new();
        let mut pieces: Vec<&[u8]> = text.as_bytes().chunks(piece).collect();
        pieces.push(&[]);
        for piece in pieces {
            let mut at = 0;
            loop {
                let (taken, record) = records.next(&piece[at..]);
                at += taken;
                let is_end = record.is_none();
                found.extend(record.map(|record| (record.line, record.fields.len())));
                if is_end || at == piece.len() {
                    break;
                }
            }
        }
        found
    }

    #[test]
    fn a_quote_that_is_not_closed_begins_on_its_line() {
        for piece in [1, 3, 100] {
            assert_eq!(lines("a,b\n1,\"x\n2,y\n", piece), [(1, 2), (2, 2)]);
        }
    }

    #[test]
    fn lines_are_those_of_an_editor() {
        let text = "a,b\n\"1\n2\",x\n3,y\n\n\n4,\"z\n\n\"\n5,w";
        for piece in [1, 2, 3, 7, 100] {
            assert_eq!(
                lines(text, piece),
                [(1, 2), (2, 2), (4, 2), (7, 2), (10, 2)],
                "{piece}"
            );
            let windows = text.replace('\n', "\r\n");
            assert_eq!(
                lines(&windows, piece),
                [(1, 2), (2, 2), (4, 2), (7, 2), (10, 2)],
                "{piece}"
            );
        }
    }
}
