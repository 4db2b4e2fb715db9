//! `stdout`: rows as lines on standard output, for looking on and for piping into other programs.

use crate::text::{FORMATS, TextFormat};
use arrow::datatypes::SchemaRef;
use std::io::Write;
use std::sync::Arc;
use thalweg_schemas::batch::Batch;
use thalweg_schemas::connector::{Changelogs, ConnectorSpec, SinkSpec};
use thalweg_schemas::epoch::{Epoch, WorkerId};
use thalweg_schemas::error::{Error, Result};
use thalweg_schemas::sink::{Sink, SinkRequest, Writer};

/// The connector's description.
pub(crate) const SPEC: ConnectorSpec = ConnectorSpec {
    name: "stdout",
    doc: "Writes rows as lines to standard output; a changelog begins each row with `_diff`.",
    source: None,
    table: None,
    sink: Some(SinkSpec {
        options: &[],
        formats: FORMATS,
        changelogs: Changelogs::WhenAsked,
        history: None,
        check: Some(|request| TextFormat::of(request).map(drop)),
        open,
    }),
};

fn open(request: SinkRequest) -> Result<Arc<dyn Sink>> {
    let format = TextFormat::of(&request)?;
    Ok(Arc::new(Stdout { format, schema: request.schema, changelog: request.changelog }))
}

struct Stdout {
    format: TextFormat,
    schema: SchemaRef,
    changelog: bool,
}

impl Sink for Stdout {
    fn writer(&self, _worker: WorkerId) -> Result<Box<dyn Writer>> {
        let pending = self.format.header(&self.schema, self.changelog)?;
        Ok(Box::new(Terminal { format: self.format, pending, out: std::io::stdout(), closed: false }))
    }

    fn single_writer(&self) -> bool {
        true
    }
}

/// Lines wait here until their epoch is complete, so that readers see whole epochs.
struct Terminal<W> {
    format: TextFormat,
    pending: Vec<u8>,
    out: W,
    /// Nobody reads any more (`| head`): what comes is dropped, as every filter does.
    closed: bool,
}

impl<W: Write + Send> Writer for Terminal<W> {
    fn write(&mut self, _epoch: Epoch, batch: &Batch) -> Result<()> {
        self.format.append(batch, &mut self.pending)
    }

    fn commit(&mut self, _epoch: Epoch) -> Result<()> {
        if self.closed || self.pending.is_empty() {
            self.pending.clear();
            return Ok(());
        }
        let written = self.out.write_all(&self.pending).and_then(|()| self.out.flush());
        self.pending.clear();
        match written {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => {
                tracing::warn!("standard output was closed by its reader; rows for it are dropped from here on");
                self.closed = true;
                Ok(())
            }
            // Part of the lines may be out, so the call cannot be made again.
            Err(error) => Err(Error::outside(format!("standard output: {error}"))),
        }
    }

    fn finish(&mut self) -> Result<()> {
        self.commit(Epoch::default())
    }
}

#[cfg(test)]
mod tests;
