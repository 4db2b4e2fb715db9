//! A stretch of a file as whole lines: it owns the lines that *start* in it, wherever they end, so that any cutting of a
//! file into stretches hands over each line exactly once.

use super::piece::{Piece, fault, ready};
use memchr::{memchr, memrchr};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use thalweg_schemas::source::{Partition, Polled};

/// A longer line is a fault: it would take the memory of everything else.
pub(super) const LINE_BYTES_MAX: usize = 64 << 20;
/// A chunk is never smaller than this (unless there is no more), whatever the caller's budget.
pub(super) const CHUNK_BYTES_MIN: usize = 64 << 10;
/// A chunk is never larger than this, but for its last line.
pub(super) const CHUNK_BYTES_MAX: usize = 1 << 20;
/// How far behind a chunk the end of its last line is looked for at first.
const SLACK_BYTES: usize = 4 << 10;

/// A file of lines, opened.
pub(super) struct LineFile {
    pub handle: File,
    pub partition: Partition,
    /// Where the lines begin: behind a byte order mark and the header.
    pub first: u64,
    /// Where they ended when the file was opened.
    pub len: u64,
    pub header: Option<Arc<[u8]>>,
    /// Bytes handed over, of all files.
    pub done: Arc<AtomicU64>,
}

impl LineFile {
    /// Takes an opened file; reads its first line if that names the columns.
    pub(super) fn new(
        handle: File,
        partition: Partition,
        has_header: bool,
        done: Arc<AtomicU64>,
    ) -> io::Result<LineFile> {
        let len = handle.metadata()?.len();
        let mut mark = [0; 3];
        let marked = read_full(&handle, &mut mark, 0)? == 3 && mark == BYTE_ORDER_MARK;
        let mut file = LineFile { handle, partition, first: if marked { 3 } else { 0 }, len, header: None, done };
        if has_header && let Lines::Whole(line) = read_lines(&file.handle, file.first, 1, LINE_BYTES_MAX)? {
            file.first += line.len() as u64;
            file.header = Some(trim_line_end(&line).into());
        }
        file.done.fetch_add(file.first, Ordering::Relaxed);
        Ok(file)
    }

    /// Whether a line goes on at `position`.
    pub(super) fn is_within_a_line(&self, position: u64) -> bool {
        let mut before = [0];
        let known = position > self.first && position < self.len;
        known && read_full(&self.handle, &mut before, position - 1).is_ok_and(|read| read == 1 && before != *b"\n")
    }
}

/// What some programs put before UTF-8 text.
pub(super) const BYTE_ORDER_MARK: [u8; 3] = [0xef, 0xbb, 0xbf];

/// A line without its end.
pub(super) fn trim_line_end(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    line.strip_suffix(b"\r").unwrap_or(line)
}

/// The lines of a file that start from `position` to before `end`.
pub(super) struct LineRange {
    file: Arc<LineFile>,
    position: u64,
    end: u64,
    /// Whether `position` is the start of a line.
    aligned: bool,
    line_max: usize,
}

impl LineRange {
    pub(super) fn new(file: Arc<LineFile>, start: u64, end: u64) -> LineRange {
        let aligned = start <= file.first;
        LineRange { file, position: start, end, aligned, line_max: LINE_BYTES_MAX }
    }

    #[cfg(test)]
    pub(super) fn with_line_max(mut self, line_max: usize) -> LineRange {
        self.line_max = line_max;
        self
    }

    fn step(&mut self, budget: usize) -> io::Result<Option<Polled>> {
        if !self.aligned {
            match find_line_end(&self.file.handle, self.position - 1, self.end - 1)? {
                Some(start) => self.position = start,
                None => self.position = self.end,
            }
            self.aligned = true;
        }
        if self.position >= self.end {
            return Ok(None);
        }
        let start = self.position;
        let most = budget.min((self.end - start) as usize);
        match read_lines(&self.file.handle, start, most, self.line_max)? {
            Lines::Whole(bytes) => {
                self.position += bytes.len() as u64;
                Ok(Some(ready(&self.file.partition, start, self.file.header.clone(), bytes)))
            }
            Lines::TooLong(end) => {
                self.position = end;
                let reason = format!("a line of {} bytes is longer than {} bytes", end - start, self.line_max);
                Ok(Some(fault(&self.file.partition, start, reason)))
            }
            Lines::End => {
                self.position = self.end;
                let reason = format!("the file has shrunk from {} bytes while it was read", self.file.len);
                Ok(Some(fault(&self.file.partition, start, reason)))
            }
        }
    }
}

impl Piece for LineRange {
    fn next(&mut self, budget: usize) -> Option<Polled> {
        let before = self.position;
        let polled = self.step(budget.clamp(CHUNK_BYTES_MIN, CHUNK_BYTES_MAX)).unwrap_or_else(|error| {
            let at = self.position;
            self.position = self.end;
            Some(fault(&self.file.partition, at, format!("reading stopped here: {error}")))
        });
        self.file.done.fetch_add(self.position.saturating_sub(before), Ordering::Relaxed);
        polled
    }
}

/// What [`read_lines`] found.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Lines {
    /// Whole lines; the last of the file may lack its end.
    Whole(Vec<u8>),
    /// One line that is too long, and where it ends.
    TooLong(u64),
    /// Nothing: the file ends before.
    End,
}

/// Reads the lines that start in the `most` bytes from `start`, where a line starts.
pub(super) fn read_lines(file: &File, start: u64, most: usize, line_max: usize) -> io::Result<Lines> {
    let mut bytes = vec![0; most + SLACK_BYTES];
    let mut filled = read_full(file, &mut bytes, start)?;
    let mut searched = most - 1;
    loop {
        let at_end = filled < bytes.len();
        bytes.truncate(filled);
        if filled == 0 {
            return Ok(Lines::End);
        }
        // The last line that starts within `most` bytes is the one that holds the last of them.
        if let Some(found) = bytes.get(searched..).and_then(|rest| memchr(b'\n', rest)) {
            bytes.truncate(searched + found + 1);
            return Ok(Lines::Whole(bytes));
        }
        if at_end {
            return Ok(Lines::Whole(bytes));
        }
        let last_line = memrchr(b'\n', &bytes[..most]).map_or(0, |end| end + 1);
        if filled - last_line > line_max {
            if last_line > 0 {
                bytes.truncate(last_line);
                return Ok(Lines::Whole(bytes));
            }
            let end = find_line_end(file, start + filled as u64, u64::MAX)?;
            return match end {
                Some(end) => Ok(Lines::TooLong(end)),
                None => Ok(Lines::TooLong(file.metadata()?.len())),
            };
        }
        searched = filled;
        bytes.resize((filled * 2).min(last_line + line_max + SLACK_BYTES).max(filled + SLACK_BYTES), 0);
        filled += read_full(file, &mut bytes[searched..], start + searched as u64)?;
    }
}

/// The position behind the first line end from `from` to before `until`.
fn find_line_end(file: &File, from: u64, until: u64) -> io::Result<Option<u64>> {
    let mut bytes = vec![0; SLACK_BYTES];
    let mut position = from;
    while position < until {
        let most = (until - position).min(bytes.len() as u64) as usize;
        let filled = read_full(file, &mut bytes[..most], position)?;
        if let Some(found) = memchr(b'\n', &bytes[..filled]) {
            return Ok(Some(position + found as u64 + 1));
        }
        if filled < most {
            return Ok(None);
        }
        position += filled as u64;
        // Lines are short, as a rule; where they are not, larger steps are quicker.
        if bytes.len() < CHUNK_BYTES_MAX {
            bytes.resize(bytes.len() * 4, 0);
        }
    }
    Ok(None)
}

/// Fills `bytes` from `position` as far as the file goes.
pub(super) fn read_full(file: &File, bytes: &mut [u8], position: u64) -> io::Result<usize> {
    let mut filled = 0;
    while filled < bytes.len() {
        match file.read_at(&mut bytes[filled..], position + filled as u64) {
            Ok(0) => break,
            Ok(more) => filled += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}
