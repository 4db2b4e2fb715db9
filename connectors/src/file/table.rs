//! Files as a table: those that the path stands for, all of them, read from the beginning each time.

use super::bounded::Bounded;
use super::options::{FileOptions, SOURCE};
use crate::snapshots::{self, CACHE, Fetch, REFRESH, SIZE_MAX, Take};
use std::sync::Arc;
use thalweg_schemas::epoch::WorkerId;
use thalweg_schemas::error::{Error, Result};
use thalweg_schemas::options::OptionSpec;
use thalweg_schemas::source::{Polled, Source, SourceRequest};

/// The options of the table.
pub(crate) const OPTIONS: &[OptionSpec] = &[SOURCE[0], CACHE, REFRESH, SIZE_MAX];

/// Opens it; that there are no files yet is no mistake.
pub(crate) fn open(request: SourceRequest) -> Result<Arc<dyn Source>> {
    let options = FileOptions::read(&request)?;
    snapshots::open(&request, request.format.as_deref(), Files(options))
}

struct Files(FileOptions);

/// About so many bytes of a file are decoded together.
const PIECE_BYTES: usize = 1 << 20;

impl Fetch for Files {
    fn place(&self) -> String {
        self.0.paths.join(", ")
    }

    fn fetch(&self, take: Take<'_>) -> Result<()> {
        let mut reader = Bounded::open(self.0.clone())?.reader(WorkerId { index: 0, peers: 1 })?;
        loop {
            match reader.poll(PIECE_BYTES)? {
                Polled::Ready(chunk) => take(chunk.header.as_deref(), chunk.payload)?,
                // A file is on its way from an object store.
                Polled::Pending => std::thread::park_timeout(std::time::Duration::from_millis(5)),
                Polled::Fault(fault) => return Err(Error::outside(format!("{}: {}", fault.partition, fault.reason))),
                Polled::Ended => return Ok(()),
            }
        }
    }
}
