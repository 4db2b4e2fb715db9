//! Rows as lines in one file. Lines wait in memory until their epoch is complete and are then written in one go; what a
//! failed write has left is cut off again, so that the file only ever holds whole lines.
//!
//! How the file begins is decided when the first lines come: a run that goes on from a checkpoint keeps what is there.

use super::committed::{Committed, beside};
use crate::text::TextFormat;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use thalweg_schemas::batch::Batch;
use thalweg_schemas::epoch::{Epoch, WorkerId};
use thalweg_schemas::error::{Error, Result};
use thalweg_schemas::options::{OptionKind, OptionSpec};
use thalweg_schemas::sink::{Sink, SinkRequest, Writer};

/// The options of the sink.
pub(super) const SINK: &[OptionSpec] = &[
    OptionSpec {
        name: "path",
        kind: OptionKind::Text,
        default: None,
        required: true,
        doc: "The file; its folder is made if it is not there. Relative to the current directory.",
    },
    OptionSpec {
        name: "mode",
        kind: OptionKind::OneOf(&["overwrite", "append"]),
        default: Some("overwrite"),
        required: false,
        doc: "Whether a run that begins anew does so with an empty file, or writes behind what is there.",
    },
];

/// Lines that wait for their epoch; with more, they are written before.
const PENDING_BYTES_MAX: usize = 8 << 20;

/// The file that rows go to.
pub(super) fn where_to(request: &SinkRequest) -> Result<PathBuf> {
    TextFormat::of(request)?;
    let path = PathBuf::from(request.options.get("path").unwrap_or_default());
    if path.as_os_str().is_empty() || path.to_string_lossy().contains("://") {
        return Err(Error::user(format!(
            "connector 'file' writes to a file of this machine, not to '{}'",
            path.display()
        ))
        .with_hint("Name a file such as 'out/results.ndjson'."));
    }
    if let Some(suffix @ ("gz" | "zst")) = path.extension().and_then(|e| e.to_str()) {
        return Err(Error::user(format!(
            "connector 'file' does not compress, so that '{}' would be misleading",
            path.display()
        ))
        .with_hint(format!("Leave out '.{suffix}', or use connector 'parquet'.")));
    }
    Ok(path)
}

pub(super) fn open(request: SinkRequest) -> Result<Arc<dyn Sink>> {
    let format = TextFormat::of(&request)?;
    let path = where_to(&request)?;
    let append = request.options.get("mode") == Some("append");
    let failed =
        |error: io::Error| Error::io(format!("file '{}' of sink \"{}\"", path.display(), request.name), &error);
    let (file, len) = prepare(&path).map_err(failed)?;
    let header = format.header(&request.schema, request.changelog)?;
    let name = format!("file '{}' of sink \"{}\"", path.display(), request.name);
    let begin = Some(Begin { append, header });
    let lineage = request.lineage.replace(char::is_control, " ");
    let memory = len.map(|_| Memory { path: beside(&path), lineage, last: None });
    let output: Box<dyn Output> = match len {
        Some(len) => Box::new(Regular { file, len }),
        None => Box::new(Special(file)),
    };
    let writer = LineWriter { name, format, pending: Vec::new(), output, begin, memory, epoch: Epoch::default() };
    Ok(Arc::new(LineFile { writer: Mutex::new(Some(writer)) }))
}

/// Opens the file; its length, if it is one that has a length (a pipe has none).
fn prepare(path: &Path) -> io::Result<(File, Option<u64>)> {
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        std::fs::create_dir_all(folder)?;
    }
    let file = OpenOptions::new().write(true).read(is_regular(path)).create(true).truncate(false).open(path)?;
    let meta = file.metadata()?;
    Ok((file, meta.is_file().then_some(meta.len())))
}

/// Pipes and terminals are opened for writing alone.
fn is_regular(path: &Path) -> bool {
    std::fs::metadata(path).map_or(true, |meta| meta.is_file())
}

struct LineFile {
    /// Taken by the one worker that writes.
    writer: Mutex<Option<LineWriter>>,
}

impl Sink for LineFile {
    fn writer(&self, _worker: WorkerId) -> Result<Box<dyn Writer>> {
        let writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner).take();
        match writer {
            Some(writer) => Ok(Box::new(writer)),
            None => Err(Error::bug("a second worker wants to write a file that takes one writer")),
        }
    }

    fn single_writer(&self) -> bool {
        true
    }
}

/// Where lines go.
pub(super) trait Output: Send {
    /// Adds `bytes` at the end. After an error that may pass, none of them are there.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// Sees to it that they stay.
    fn sync(&mut self) -> io::Result<()>;

    /// How long it is; 0 for what has no length.
    fn len(&self) -> u64;

    /// Cuts off what is behind `len`.
    fn truncate(&mut self, len: u64) -> io::Result<()>;

    /// Whether what comes next begins a line.
    fn ends_a_line(&self) -> io::Result<bool>;
}

struct Regular {
    file: File,
    len: u64,
}

impl Output for Regular {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self.file.write_all_at(bytes, self.len) {
            Ok(()) => {
                self.len += bytes.len() as u64;
                Ok(())
            }
            Err(error) => {
                self.file.set_len(self.len)?;
                Err(error)
            }
        }
    }

    fn sync(&mut self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn len(&self) -> u64 {
        self.len
    }

    fn truncate(&mut self, len: u64) -> io::Result<()> {
        self.file.set_len(len)?;
        self.len = len;
        Ok(())
    }

    fn ends_a_line(&self) -> io::Result<bool> {
        let mut last = [b'\n'];
        if self.len > 0 {
            self.file.read_exact_at(&mut last, self.len - 1)?;
        }
        Ok(last == *b"\n")
    }
}

/// A pipe or a terminal: what is written cannot be taken back.
struct Special(File);

impl Output for Special {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        // An error that may pass would have the same lines written again.
        self.0.write_all(bytes).map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))
    }

    fn sync(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn len(&self) -> u64 {
        0
    }

    fn truncate(&mut self, _len: u64) -> io::Result<()> {
        Ok(())
    }

    fn ends_a_line(&self) -> io::Result<bool> {
        Ok(true)
    }
}

/// How a run begins that does not go on from a checkpoint.
pub(super) struct Begin {
    pub append: bool,
    pub header: Vec<u8>,
}

/// Where it is remembered how long the file was.
pub(super) struct Memory {
    path: PathBuf,
    lineage: String,
    last: Option<Committed>,
}

/// The one writer.
pub(super) struct LineWriter {
    pub name: String,
    pub format: TextFormat,
    pub pending: Vec<u8>,
    pub output: Box<dyn Output>,
    /// What is still to be done before the first lines are written.
    pub begin: Option<Begin>,
    pub memory: Option<Memory>,
    /// The last epoch that was handed over.
    pub epoch: Epoch,
}

impl LineWriter {
    fn write_out(&mut self) -> Result<()> {
        self.begin()?;
        if !self.pending.is_empty() {
            self.output.append(&self.pending).map_err(|error| Error::io(&self.name, &error))?;
            self.pending.clear();
        }
        Ok(())
    }

    fn begin(&mut self) -> Result<()> {
        let Some(begin) = &self.begin else { return Ok(()) };
        let failed = |error: io::Error| Error::io(&self.name, &error);
        if let Some(memory) = &self.memory
            && let Err(error) = std::fs::remove_file(&memory.path)
            && error.kind() != io::ErrorKind::NotFound
        {
            return Err(failed(error));
        }
        if !begin.append {
            self.output.truncate(0).map_err(failed)?;
        }
        let before = match self.output.len() {
            0 => begin.header.clone(),
            _ if self.output.ends_a_line().map_err(failed)? => Vec::new(),
            _ => vec![b'\n'],
        };
        self.pending.splice(0..0, before);
        self.begin = None;
        Ok(())
    }

    /// Makes everything stay, and remembers how much that is.
    fn remember(&mut self, epoch: Epoch) -> Result<()> {
        let failed = |error: io::Error| Error::io(&self.name, &error);
        self.output.sync().map_err(failed)?;
        let Some(memory) = &mut self.memory else { return Ok(()) };
        let length = self.output.len();
        if memory.last.as_ref().is_none_or(|last| last.length != length) {
            let committed = Committed { lineage: memory.lineage.clone(), epoch, length };
            committed.write(&memory.path).map_err(failed)?;
            memory.last = Some(committed);
        }
        Ok(())
    }
}

impl Writer for LineWriter {
    fn write(&mut self, epoch: Epoch, batch: &Batch) -> Result<()> {
        // Room first: what fails here has taken nothing of the new rows.
        if self.pending.len() > PENDING_BYTES_MAX {
            self.write_out()?;
        }
        self.epoch = epoch;
        self.format.append(batch, &mut self.pending)
    }

    fn commit(&mut self, _epoch: Epoch) -> Result<()> {
        self.write_out()
    }

    fn flush(&mut self, epoch: Epoch) -> Result<()> {
        self.write_out()?;
        self.remember(epoch)
    }

    fn resume(&mut self, checkpoint: Epoch) -> Result<Epoch> {
        let failed = |error: io::Error| Error::io(&self.name, &error);
        let Some(memory) = &mut self.memory else { return Ok(checkpoint) };
        let read = Committed::read(&memory.path).map_err(failed)?;
        let Some(committed) = read.filter(|committed| committed.lineage == memory.lineage) else {
            return Ok(checkpoint);
        };
        let (length, here) = (committed.length, self.output.len());
        if here < length {
            return Err(Error::outside(format!("{} has {here} bytes, and had {length} at the checkpoint", self.name))
                .with_hint("Put the file back as it was, or begin anew with another --data folder."));
        }
        self.output.truncate(length).map_err(failed)?;
        self.begin = None;
        let visible = committed.epoch.max(checkpoint);
        memory.last = Some(committed);
        Ok(visible)
    }

    fn finish(&mut self) -> Result<()> {
        self.write_out()?;
        match &self.memory {
            // A run that has checkpoints may be gone on from later.
            Some(Memory { last: Some(_), .. }) => self.remember(self.epoch),
            _ => self.output.sync().map_err(|error| Error::io(&self.name, &error)),
        }
    }
}
