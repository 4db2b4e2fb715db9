//! From `thalweg run` to the first row in a view: the process is started, and asked until a row comes.

use crate::schedule::{Delays, Schedule};
use crate::serving::{Outcome, Serving};
use std::path::Path;
use std::time::Duration;

const PIPELINE: &str = "
CREATE SOURCE telemetry WITH (connector = 'generator', rate = '1000');
CREATE MATERIALIZED VIEW service_latency AS
SELECT window_start, window_end, service, region, count(*) AS requests, avg(latency_ms) AS avg_ms,
       approx_percentile_cont(latency_ms, 0.99) AS p99
FROM TUMBLE(telemetry, ts, INTERVAL '10 seconds')
GROUP BY window_start, window_end, service, region;
";

/// Starts it `rounds` times.
pub fn measure(binary: &Path, rounds: u64) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (mut delays, mut ready) = (Delays::default(), Delays::default());
    for _ in 0..rounds {
        let folder = tempfile::tempdir()?;
        let started = Schedule::from_now(Duration::ZERO);
        let serving = Serving::start(binary, folder.path(), PIPELINE, 2)?;
        ready.record(started.since(0));
        runtime.block_on(async {
            let client = serving.connect().await?;
            while client.query("SELECT service, requests FROM service_latency", &[]).await?.is_empty() {}
            Outcome::Ok(())
        })?;
        delays.record(started.since(0));
    }
    println!("from start to address: {}", ready.line());
    println!("from start to first row: {}", delays.line());
    Ok(())
}
