//! From a row handed in to its being visible: rows are appended to a file that a running binary follows, at times fixed
//! beforehand; a subscription over the PostgreSQL protocol says how many rows the view shows.

use crate::schedule::{Delays, Schedule};
use crate::serving::{Outcome, Serving};
use crate::w1;
use futures::{StreamExt, pin_mut};
use std::fs::File;
use std::path::Path;
use std::time::Duration;
use tokio_postgres::SimpleQueryMessage;

/// W1's view over a file that grows, and how many rows are in it.
const PIPELINE: &str = "
CREATE SOURCE telemetry (
  ts TIMESTAMP NOT NULL, host TEXT, service TEXT, region TEXT, latency_ms DOUBLE, status INT,
  WATERMARK FOR ts AS ts - INTERVAL '1 second'
) WITH (connector = 'file', path = 'rows.ndjson', format = 'json', mode = 'tail');
CREATE MATERIALIZED VIEW w1 AS
SELECT window_start, window_end, service, region, count(*) AS requests, avg(latency_ms) AS avg_ms,
       max(latency_ms) AS max_ms, approx_percentile_cont(latency_ms, 0.99) AS p99
FROM TUMBLE(telemetry, ts, INTERVAL '10 seconds')
GROUP BY window_start, window_end, service, region;
CREATE MATERIALIZED VIEW total AS SELECT count(*) AS n, sum(requests) AS seen FROM w1;
";

/// Between two appends.
const EVERY: Duration = Duration::from_millis(1);

/// Measures for `seconds`, at `rate` rows a second.
pub fn measure(binary: &Path, rate: u64, seconds: u64, workers: usize) -> Outcome {
    let folder = tempfile::tempdir()?;
    let at_a_time = (rate / 1_000).max(1) as usize;
    let turns = seconds * 1_000;
    let file = File::create(folder.path().join("rows.ndjson"))?;
    let mut rows = w1::Rows::new(1, 100);
    let texts: Vec<String> =
        (0..turns).map(|_| rows.by_ref().take(at_a_time).map(|row| row.to_json() + "\n").collect()).collect();
    let serving = Serving::start(binary, folder.path(), PIPELINE, workers)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let client = serving.connect().await?;
        let changes = client.simple_query_raw("SUBSCRIBE TO total WITH (snapshot = true)").await?;
        pin_mut!(changes);
        let schedule = Schedule::from_now(EVERY);
        let writer = schedule.write(texts, file);
        let (mut delays, mut seen) = (Delays::default(), 0);
        while seen < turns {
            let Some(message) = changes.next().await else { return Err("the subscription has ended".into()) };
            let SimpleQueryMessage::Row(row) = message? else { continue };
            if row.get("_diff") != Some("1") {
                continue;
            }
            let shown: u64 = row.get("seen").unwrap_or("0").parse()?;
            // The rows of a turn are seen with the last of them.
            while seen < turns && (seen + 1) * at_a_time as u64 <= shown {
                delays.record(schedule.since(seen));
                seen += 1;
            }
        }
        writer.join().map_err(|_| "the writer has panicked")??;
        println!("{rate} rows/s for {seconds} s, {workers} workers: handed in to visible: {}", delays.line());
        Ok(())
    })
}
