//! A compressed file as whole lines: it can only be read from its beginning, so it is one piece.

use super::lines::{BYTE_ORDER_MARK, CHUNK_BYTES_MAX, CHUNK_BYTES_MIN, LINE_BYTES_MAX, trim_line_end};
use super::piece::{Piece, fault, ready};
use flate2::read::MultiGzDecoder;
use memchr::{memchr, memrchr};
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use thalweg_schemas::source::{Partition, Polled};

/// Room for compressed bytes.
const COMPRESSED_BYTES: usize = 128 << 10;

/// How a file is compressed, by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Compression {
    None,
    Gzip,
    Zstd,
}

impl Compression {
    pub(super) fn of(path: &Path) -> Compression {
        match path.extension().and_then(|e| e.to_str()) {
            Some("gz") => Compression::Gzip,
            Some("zst") => Compression::Zstd,
            _ => Compression::None,
        }
    }

    /// The file's contents; what has been read of the file itself is added to `done`.
    pub(super) fn decompress(self, file: File, done: Arc<AtomicU64>) -> io::Result<Box<dyn Read + Send>> {
        let counted = BufReader::with_capacity(COMPRESSED_BYTES, Counted { file, done });
        Ok(match self {
            Compression::None => Box::new(counted),
            Compression::Gzip => Box::new(MultiGzDecoder::new(counted)),
            Compression::Zstd => Box::new(zstd::stream::read::Decoder::with_buffer(counted)?),
        })
    }
}

struct Counted {
    file: File,
    done: Arc<AtomicU64>,
}

impl Read for Counted {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read(bytes)?;
        self.done.fetch_add(read as u64, Ordering::Relaxed);
        Ok(read)
    }
}

/// The lines of a stream of bytes.
pub(super) struct LineStream {
    text: Box<dyn Read + Send>,
    partition: Partition,
    state: State,
    header: Option<Arc<[u8]>>,
    /// The beginning of a line whose end has not been read yet.
    rest: Vec<u8>,
    /// Offset of `rest` in the uncompressed text.
    position: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Nothing has been read.
    Fresh {
        has_header: bool,
    },
    Reading,
    /// Within a line that is too long; where it began.
    Skipping {
        from: u64,
    },
    /// The end was reached, or reading failed.
    Over,
}

impl LineStream {
    pub(super) fn new(text: Box<dyn Read + Send>, partition: Partition, has_header: bool) -> LineStream {
        LineStream { text, partition, state: State::Fresh { has_header }, header: None, rest: Vec::new(), position: 0 }
    }

    fn ready(&mut self, bytes: Vec<u8>) -> Polled {
        let start = self.position;
        self.position += bytes.len() as u64;
        ready(&self.partition, start, self.header.clone(), bytes)
    }

    /// Takes the byte order mark and the header off the first bytes. False if there must be more of them first.
    fn begin(&mut self, has_header: bool, at_end: bool) -> bool {
        if self.rest.starts_with(&BYTE_ORDER_MARK) {
            self.skip(BYTE_ORDER_MARK.len());
        }
        if has_header {
            let end = match memchr(b'\n', &self.rest) {
                Some(end) => end + 1,
                None if at_end => self.rest.len(),
                None => return false,
            };
            self.header = Some(trim_line_end(&self.rest[..end]).into());
            self.skip(end);
        }
        self.state = State::Reading;
        true
    }

    fn skip(&mut self, bytes: usize) {
        self.rest.drain(..bytes);
        self.position += bytes as u64;
    }

    /// Reads about `budget` bytes more; true at the end of the text.
    fn fill(&mut self, budget: usize) -> io::Result<bool> {
        // A long line is read in steps that double, so that its end is looked for in few steps.
        let most = budget.saturating_sub(self.rest.len()).max(CHUNK_BYTES_MIN).max(self.rest.len());
        let read = (&mut self.text).take(most as u64).read_to_end(&mut self.rest)?;
        Ok(read < most)
    }

    fn over(&mut self) -> Option<Polled> {
        self.state = State::Over;
        let rest = std::mem::take(&mut self.rest);
        if rest.is_empty() { None } else { Some(self.ready(rest)) }
    }

    /// Reading failed: the lines that came whole are handed over, then the fault.
    fn failed(&mut self, error: &io::Error) -> Polled {
        if let State::Fresh { has_header } = self.state {
            self.begin(has_header, false);
        }
        let whole =
            if matches!(self.state, State::Reading) { memrchr(b'\n', &self.rest).map_or(0, |e| e + 1) } else { 0 };
        if whole > 0 {
            // What failed once fails again, and then there is no whole line left.
            let tail = self.rest.split_off(whole);
            let lines = std::mem::replace(&mut self.rest, tail);
            self.text = Box::new(Failed(error.kind(), error.to_string()));
            return self.ready(lines);
        }
        self.state = State::Over;
        let lost = match self.rest.len() {
            0 => String::new(),
            bytes => format!("; the {bytes} bytes before it are not a whole line"),
        };
        fault(&self.partition, self.position, format!("decompression stopped here: {error}{lost}"))
    }
}

impl Piece for LineStream {
    fn next(&mut self, budget: usize) -> Option<Polled> {
        let budget = budget.clamp(CHUNK_BYTES_MIN, CHUNK_BYTES_MAX);
        loop {
            if self.state == State::Over {
                return None;
            }
            let at_end = match self.fill(budget) {
                Ok(at_end) => at_end,
                Err(error) => return Some(self.failed(&error)),
            };
            if let State::Fresh { has_header } = self.state
                && !self.begin(has_header, at_end)
                && self.rest.len() <= LINE_BYTES_MAX
            {
                continue;
            }
            if let State::Skipping { from } = self.state {
                match memchr(b'\n', &self.rest) {
                    Some(end) => {
                        self.skip(end + 1);
                        self.state = State::Reading;
                    }
                    None => {
                        self.skip(self.rest.len());
                        if !at_end {
                            continue;
                        }
                        self.state = State::Over;
                    }
                }
                let length = self.position - from;
                let reason = format!("a line of {length} bytes is longer than {LINE_BYTES_MAX} bytes");
                return Some(fault(&self.partition, from, reason));
            }
            if at_end {
                return self.over();
            }
            match memrchr(b'\n', &self.rest) {
                Some(end) => {
                    let tail = self.rest.split_off(end + 1);
                    let lines = std::mem::replace(&mut self.rest, tail);
                    return Some(self.ready(lines));
                }
                None if self.rest.len() > LINE_BYTES_MAX => {
                    self.state = State::Skipping { from: self.position };
                    self.skip(self.rest.len());
                }
                None => {}
            }
        }
    }
}

/// A text that failed and goes on failing.
struct Failed(io::ErrorKind, String);

impl Read for Failed {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        Err(io::Error::new(self.0, self.1.clone()))
    }
}
