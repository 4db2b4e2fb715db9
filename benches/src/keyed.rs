//! State of a chosen size: a view with a row for each key, fed by a file that grows.

use crate::serving::{Outcome, Serving};
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::time::Duration;
use tempfile::TempDir;
use tokio_postgres::Client;

const PIPELINE: &str = "
CREATE SOURCE readings (k BIGINT NOT NULL, v DOUBLE)
WITH (connector = 'file', path = 'readings.ndjson', format = 'json', mode = 'tail');
CREATE MATERIALIZED VIEW by_key AS
SELECT k, count(*) AS n, sum(v) AS total, max(v) AS highest FROM readings GROUP BY k;
CREATE MATERIALIZED VIEW whole AS SELECT sum(n) AS n FROM by_key;
";

/// Between two looks at a running engine.
const PAUSE: Duration = Duration::from_millis(2);
/// The key of the rows that are told apart: it has one row, and those that [`Keyed::mark`] adds.
pub const MARKED: u64 = 0;

/// The file, and where the engine that reads it keeps its state.
pub struct Keyed {
    folder: TempDir,
    file: BufWriter<File>,
    keys: u64,
    rows: u64,
    marks: u64,
}

/// What one checkpoint wrote, or several.
#[derive(Clone, Copy, Debug, Default)]
pub struct Written {
    /// How many there were.
    pub checkpoints: u64,
    /// What they wrote, in bytes.
    pub bytes: u64,
    /// The size of the state that the last one names, in bytes.
    pub state_bytes: u64,
}

impl Keyed {
    /// A file with one row for each of `keys` keys.
    pub fn new(keys: u64) -> Outcome<Keyed> {
        let folder = tempfile::tempdir()?;
        let file = BufWriter::new(File::create(folder.path().join("readings.ndjson"))?);
        let mut keyed = Keyed { folder, file, keys, rows: 0, marks: 1 };
        keyed.append(0..keys)?;
        Ok(keyed)
    }

    fn append(&mut self, keys: impl Iterator<Item = u64>) -> Outcome {
        for key in keys {
            writeln!(self.file, "{{\"k\":{key},\"v\":{}}}", self.rows % 1_000)?;
            self.rows += 1;
        }
        Ok(self.file.flush()?)
    }

    /// Adds a row to each of `count` keys that lie scattered over all, but for the marked one.
    pub fn change(&mut self, count: u64) -> Outcome {
        let others = self.keys - 1;
        // Coprime to every number of keys that is not a multiple of it: each key comes once before any comes again.
        let stride = if others.is_multiple_of(7_919) { 1 } else { 7_919 };
        self.append((0..count).map(|n| 1 + (n * stride) % others))
    }

    /// Adds a row to the marked key: how many it has then.
    pub fn mark(&mut self) -> Outcome<u64> {
        self.append(std::iter::once(MARKED))?;
        self.marks += 1;
        Ok(self.marks)
    }

    /// Starts an engine that goes on from the state in the folder.
    pub fn start(&self, binary: &Path, workers: usize, options: &[&str]) -> Outcome<Serving> {
        Serving::start_with(binary, self.folder.path(), PIPELINE, workers, options)
    }

    /// Waits until the view shows all rows.
    pub async fn all_seen(&self, client: &Client) -> Outcome {
        while number(client, "SELECT coalesce(sum(n), 0)::BIGINT FROM whole").await? != self.rows {
            tokio::time::sleep(PAUSE).await;
        }
        Ok(())
    }

    /// Waits until all rows are part of a checkpoint: what was written on the way.
    pub async fn all_kept(&mut self, client: &Client) -> Outcome<Written> {
        let mut written = Written::default();
        let mut last = number(client, "SELECT coalesce(max(written), 0)::BIGINT FROM thalweg.checkpoints").await?;
        self.all_seen(client).await?;
        let seen = number(client, "SELECT max(epoch)::BIGINT FROM thalweg.views").await?;
        // Without news there would be no checkpoint after those that may have had a part of the rows only.
        self.mark()?;
        loop {
            let query = "SELECT coalesce(epoch, 0)::BIGINT, written::BIGINT, bytes_written::BIGINT,
                                state_bytes::BIGINT FROM thalweg.checkpoints";
            let row = client.query_one(query, &[]).await?;
            let [epoch, count, bytes, state_bytes] = [0, 1, 2, 3].map(|column| row.get::<_, i64>(column) as u64);
            if count > last {
                written.checkpoints += count - last;
                written.bytes += bytes;
                written.state_bytes = state_bytes;
                last = count;
                if epoch > seen {
                    return Ok(written);
                }
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
}

/// The one number that a query answers.
pub async fn number(client: &Client, query: &str) -> Outcome<u64> {
    Ok(client.query_one(query, &[]).await?.try_get::<_, i64>(0)? as u64)
}
