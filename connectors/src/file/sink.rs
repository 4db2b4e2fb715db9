//! Rows as lines in one file. Lines wait in memory until their epoch is complete and are then written in one go; what a
//! failed write has left is cut off again, so that the file only ever holds whole lines.

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
        doc: "Whether a run begins with an empty file, or writes behind what is there.",
    },
];

/// Lines that wait for their epoch; with more, they are written before.
const PENDING_BYTES_MAX: usize = 8 << 20;

pub(super) fn open(request: SinkRequest) -> Result<Arc<dyn Sink>> {
    let format = TextFormat::from_name(request.options.get("format"))?;
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
    let append = request.options.get("mode") == Some("append");
    let failed =
        |error: io::Error| Error::io(format!("file '{}' of sink \"{}\"", path.display(), request.name), &error);
    let (file, len) = prepare(&path, append).map_err(failed)?;
    let mut pending = Vec::new();
    if len == Some(0) || len.is_none() {
        pending = format.header(&request.schema, request.changelog)?;
    } else if !ends_a_line(&file, len).map_err(failed)? {
        pending.push(b'\n');
    }
    let name = format!("file '{}' of sink \"{}\"", path.display(), request.name);
    let output: Box<dyn Output> = match len {
        Some(len) => Box::new(Regular { file, len }),
        None => Box::new(Special(file)),
    };
    let writer = LineWriter { name, format, pending, output };
    Ok(Arc::new(LineFile { writer: Mutex::new(Some(writer)) }))
}

/// Opens the file; its length, if it is one that has a length (a pipe has none).
fn prepare(path: &Path, append: bool) -> io::Result<(File, Option<u64>)> {
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        std::fs::create_dir_all(folder)?;
    }
    let file = OpenOptions::new().write(true).read(is_regular(path)).create(true).truncate(!append).open(path)?;
    let meta = file.metadata()?;
    Ok((file, meta.is_file().then_some(meta.len())))
}

/// Pipes and terminals are opened for writing alone.
fn is_regular(path: &Path) -> bool {
    std::fs::metadata(path).map_or(true, |meta| meta.is_file())
}

fn ends_a_line(file: &File, len: Option<u64>) -> io::Result<bool> {
    let mut last = [0];
    file.read_exact_at(&mut last, len.unwrap_or(1) - 1)?;
    Ok(last == *b"\n")
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
}

/// The one writer.
pub(super) struct LineWriter {
    pub name: String,
    pub format: TextFormat,
    pub pending: Vec<u8>,
    pub output: Box<dyn Output>,
}

impl LineWriter {
    fn flush(&mut self) -> Result<()> {
        if !self.pending.is_empty() {
            self.output.append(&self.pending).map_err(|error| Error::io(&self.name, &error))?;
            self.pending.clear();
        }
        Ok(())
    }
}

impl Writer for LineWriter {
    fn write(&mut self, _epoch: Epoch, batch: &Batch) -> Result<()> {
        // Room first: what fails here has taken nothing of the new rows.
        if self.pending.len() > PENDING_BYTES_MAX {
            self.flush()?;
        }
        self.format.append(batch, &mut self.pending)
    }

    fn commit(&mut self, _epoch: Epoch) -> Result<()> {
        self.flush()
    }

    fn finish(&mut self) -> Result<()> {
        self.flush()?;
        self.output.sync().map_err(|error| Error::io(&self.name, &error))
    }
}
