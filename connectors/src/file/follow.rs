//! One growing file: hands over lines as they become whole.
//!
//! Its contents are a partition named `path#inode.birth.generation`: the generation counts how often the file was
//! truncated and begun anew, from 1. Generation 0 stands for what was there and was to be left out: no record is in it,
//! and it only says up to where.

use super::lines::{
    BYTE_ORDER_MARK, CHUNK_BYTES_MAX, CHUNK_BYTES_MIN, LINE_BYTES_MAX, Lines, read_full, read_lines, trim_line_end,
};
use super::piece::{fault, ready};
use memchr::{memchr, memrchr};
use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;
use std::time::UNIX_EPOCH;
use thalweg_schemas::source::{Chunk, Partition, Payload, Polled};

/// Which file it is, whatever its path: its inode and when it was born, in microseconds (0 where nobody knows).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Identity {
    pub inode: u64,
    pub birth: u64,
}

impl Identity {
    pub(super) fn of(meta: &Metadata) -> Identity {
        let born = meta.created().ok().and_then(|born| born.duration_since(UNIX_EPOCH).ok());
        Identity { inode: meta.ino(), birth: born.map_or(0, |since| since.as_micros() as u64) }
    }

    /// The name of its contents.
    pub(super) fn name(self, path: &str, generation: u64) -> Arc<str> {
        format!("{path}#{:x}.{:x}.{generation}", self.inode, self.birth).into()
    }

    /// The path, the file and the generation that a partition is named after.
    pub(super) fn parse(name: &str) -> Option<(&str, Identity, u64)> {
        let (path, rest) = name.rsplit_once('#')?;
        let mut parts = rest.split('.');
        let mut number = |radix| u64::from_str_radix(parts.next()?, radix).ok();
        let (inode, birth, generation) = (number(16)?, number(16)?, number(10)?);
        Some((path, Identity { inode, birth }, generation))
    }
}

/// A file being followed.
pub(super) struct Followed {
    handle: File,
    identity: Identity,
    path: Arc<str>,
    generation: u64,
    partition: Partition,
    /// Whether something at the beginning was left out, and has not been told.
    left_out: bool,
    has_header: bool,
    header: Option<Arc<[u8]>>,
    /// Whether the beginning of the file has been looked at.
    begun: bool,
    /// Whether what is there at the beginning is to be left out.
    from_end: bool,
    /// What has been handed over.
    position: u64,
    /// The file's length when there was no whole line behind `position`.
    waited_at: Option<u64>,
    /// Where a line began that is too long, while its end is looked for.
    skipping: Option<u64>,
    /// Dropped with this: whoever lists files sees then that this one is not held open any more.
    _holder: Arc<()>,
}

impl Followed {
    /// Follows what is at a path, which is number `index`.
    pub(super) fn new(
        handle: File,
        path: Arc<str>,
        index: u32,
        has_header: bool,
        from_end: bool,
        holder: Arc<()>,
    ) -> io::Result<Followed> {
        let identity = Identity::of(&handle.metadata()?);
        let mut followed = Followed {
            handle,
            identity,
            partition: Partition { index, name: identity.name(&path, 1) },
            path,
            generation: 1,
            left_out: false,
            has_header,
            header: None,
            begun: false,
            from_end,
            position: 0,
            waited_at: None,
            skipping: None,
            _holder: holder,
        };
        followed.begin()?;
        Ok(followed)
    }

    pub(super) fn partition(&self) -> &Partition {
        &self.partition
    }

    pub(super) fn identity(&self) -> Identity {
        self.identity
    }

    /// Reads what is there at the beginning too.
    pub(super) fn read_from_beginning(&mut self) -> io::Result<()> {
        self.from_end = false;
        self.begin().map(drop)
    }

    /// Goes on where an earlier run stopped that knew the file by `path`, which is number `index`. If it is shorter than
    /// what was read, its contents have begun anew since; true then.
    pub(super) fn go_on(&mut self, path: Arc<str>, index: u32, generation: u64, read: u64) -> io::Result<bool> {
        let anew = self.handle.metadata()?.len() < read;
        (self.path, self.partition.index) = (path, index);
        (self.from_end, self.left_out) = (false, false);
        self.generation = generation.max(1);
        if anew {
            self.generation += 1;
            (self.begun, self.header, self.position) = (false, None, 0);
            self.begin()?;
        } else {
            self.position = read;
        }
        self.partition.name = self.identity.name(&self.path, self.generation);
        Ok(anew)
    }

    /// Whether the file has no name any more, so that nobody will find it and hardly anybody will write to it.
    pub(super) fn deleted(&self) -> bool {
        self.handle.metadata().is_ok_and(|meta| meta.nlink() == 0)
    }

    /// Lines or a fault, if there are any.
    pub(super) fn poll(&mut self, budget: usize) -> Option<Polled> {
        if std::mem::take(&mut self.left_out) {
            let partition = Partition { index: self.partition.index, name: self.identity.name(&self.path, 0) };
            return Some(left_out(partition, self.header.clone(), self.position - 1, self.position));
        }
        self.step(budget.clamp(CHUNK_BYTES_MIN, CHUNK_BYTES_MAX)).unwrap_or_else(|error| {
            let repeated = self.waited_at.replace(u64::MAX) == Some(u64::MAX);
            let reason = format!("reading failed and is tried again: {error}");
            (!repeated).then(|| fault(&self.partition, self.position, reason))
        })
    }

    /// What is left of a file that nobody writes to any more: its last line, whole or not. `None` when that is done.
    pub(super) fn finish(&mut self) -> Option<Polled> {
        if let Some(from) = self.skipping.take() {
            return Some(self.too_long(from));
        }
        let start = self.position;
        match read_lines(&self.handle, start, CHUNK_BYTES_MAX, LINE_BYTES_MAX) {
            Ok(Lines::Whole(bytes)) if self.begun => {
                self.position += bytes.len() as u64;
                Some(ready(&self.partition, start, self.header.clone(), bytes))
            }
            Ok(Lines::TooLong(end)) => {
                self.position = end;
                Some(self.too_long(start))
            }
            Ok(_) => None,
            Err(error) => {
                self.position = u64::MAX;
                (start < u64::MAX).then(|| fault(&self.partition, start, format!("its end cannot be read: {error}")))
            }
        }
    }

    fn step(&mut self, budget: usize) -> io::Result<Option<Polled>> {
        let len = self.handle.metadata()?.len();
        if len < self.position {
            let reason = format!(
                "the file was truncated from at least {} to {len} bytes; reading it from its beginning",
                self.position
            );
            let polled = fault(&self.partition, self.position, reason);
            (self.begun, self.from_end, self.position) = (false, false, 0);
            (self.header, self.waited_at, self.skipping) = (None, None, None);
            self.generation += 1;
            self.partition.name = self.identity.name(&self.path, self.generation);
            return Ok(Some(polled));
        }
        if len == self.position || self.waited_at == Some(len) || (!self.begun && !self.begin()?) {
            return Ok(None);
        }
        let mut bytes = vec![0; budget];
        loop {
            let filled = read_full(&self.handle, &mut bytes, self.position)?;
            let at_end = filled < bytes.len();
            bytes.truncate(filled);
            if let Some(from) = self.skipping {
                let end = memchr(b'\n', &bytes);
                self.position += end.map_or(filled, |end| end + 1) as u64;
                if end.is_some() {
                    self.skipping = None;
                    return Ok(Some(self.too_long(from)));
                }
                if at_end {
                    return Ok(None);
                }
                continue;
            }
            if let Some(end) = memrchr(b'\n', &bytes) {
                bytes.truncate(end + 1);
                let start = self.position;
                self.position += bytes.len() as u64;
                self.waited_at = None;
                return Ok(Some(ready(&self.partition, start, self.header.clone(), bytes)));
            }
            if at_end {
                self.waited_at = Some(self.position + filled as u64);
                return Ok(None);
            }
            if filled >= LINE_BYTES_MAX {
                self.skipping = Some(self.position);
                self.position += filled as u64;
                continue;
            }
            bytes = vec![0; filled * 2];
        }
    }

    /// Looks at the beginning of the file: a byte order mark, a header. False if it is not whole yet.
    fn begin(&mut self) -> io::Result<bool> {
        let mut mark = [0; BYTE_ORDER_MARK.len()];
        let filled = read_full(&self.handle, &mut mark, 0)?;
        let mut first = if mark == BYTE_ORDER_MARK { filled as u64 } else { 0 };
        if self.has_header {
            match read_lines(&self.handle, first, 1, LINE_BYTES_MAX)? {
                Lines::Whole(line) if line.ends_with(b"\n") => {
                    first += line.len() as u64;
                    self.header = Some(trim_line_end(&line).into());
                }
                _ => return Ok(false),
            }
        }
        self.position = if self.from_end { last_line_start(&self.handle, first)? } else { first };
        self.left_out = self.position > first;
        self.begun = true;
        Ok(true)
    }

    fn too_long(&self, from: u64) -> Polled {
        let reason = format!("a line of {} bytes is longer than {LINE_BYTES_MAX} bytes", self.position - from);
        fault(&self.partition, from, reason)
    }
}

/// No records: what says how far the file was left out.
pub(super) fn left_out(partition: Partition, header: Option<Arc<[u8]>>, start: u64, end: u64) -> Polled {
    Polled::Ready(Chunk { partition, start, end, header, payload: Payload::Bytes(Vec::new()) })
}

/// Where the last line begins that may not be whole yet; at least `first`.
fn last_line_start(file: &File, first: u64) -> io::Result<u64> {
    let mut end = file.metadata()?.len();
    let mut bytes = vec![0; CHUNK_BYTES_MIN];
    while end > first {
        let start = end.saturating_sub(bytes.len() as u64).max(first);
        let filled = read_full(file, &mut bytes[..(end - start) as usize], start)?;
        if let Some(found) = memrchr(b'\n', &bytes[..filled]) {
            return Ok(start + found as u64 + 1);
        }
        end = start;
    }
    Ok(first)
}
