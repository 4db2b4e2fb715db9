//! Point queries while W1 runs: how long answers take, and what the run pays for them. Runs with and without take turns.

use crate::schedule::{Delays, Schedule};
use crate::serving::{Outcome, Serving};
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

/// One row by its key.
const QUERY: &str = "SELECT requests, p99 FROM w1 WHERE window_start = $1 AND service = $2 AND region = $3";
/// The windows that are asked for are the first: they are there soon after the start.
const WINDOWS: u64 = 40;
/// Connections: more than one, so that one slow answer does not hold up the others.
const CONNECTIONS: u64 = 4;
/// The length of W1's windows.
const WINDOW: Duration = Duration::from_secs(10);

fn pipeline(path: &Path) -> String {
    format!(
        "CREATE SOURCE telemetry (
           ts TIMESTAMP NOT NULL, host TEXT, service TEXT, region TEXT, latency_ms DOUBLE, status INT,
           WATERMARK FOR ts AS ts - INTERVAL '1 second'
         ) WITH (connector = 'file', path = '{}', format = 'json');
         CREATE MATERIALIZED VIEW w1 AS
         SELECT window_start, window_end, service, region, count(*) AS requests, avg(latency_ms) AS avg_ms,
                max(latency_ms) AS max_ms, approx_percentile_cont(latency_ms, 0.99) AS p99
         FROM TUMBLE(telemetry, ts, INTERVAL '10 seconds')
         GROUP BY window_start, window_end, service, region;
         CREATE SINK results FROM w1 WITH (connector = 'blackhole');",
        path.display()
    )
}

/// Measures `rounds` pairs of runs over `file`, with `rate` queries a second in one of each.
pub fn measure(binary: &Path, file: &Path, rate: u64, rounds: usize, workers: usize) -> Outcome {
    let pipeline = pipeline(&std::path::absolute(file)?);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (mut alone, mut beside) = (Vec::new(), Vec::new());
    for round in 1..=rounds {
        let folder = tempfile::tempdir()?;
        let log = Serving::start(binary, folder.path(), &pipeline, workers)?.finish()?;
        alone.push(rows_per_second(&log)?);

        let mut serving = Serving::start(binary, folder.path(), &pipeline, workers)?;
        let delays = runtime.block_on(ask(&mut serving, rate))?;
        beside.push(rows_per_second(&serving.finish()?)?);
        println!("round {round}: {} queries: {}", delays.len(), delays.line());
    }
    let (alone, beside) = (median(alone), median(beside));
    println!(
        "W1 with {workers} workers: {:.2} million rows/s alone, {:.2} beside {rate} queries/s: {:.1} % off",
        alone / 1e6,
        beside / 1e6,
        (1.0 - beside / alone) * 100.0
    );
    Ok(())
}

/// Asks until the run ends.
async fn ask(serving: &mut Serving, rate: u64) -> Outcome<Delays> {
    let mut clients = Vec::new();
    for _ in 0..CONNECTIONS {
        let client = serving.connect().await?;
        let statement = client.prepare(QUERY).await?;
        clients.push((client, statement));
    }
    let schedule = Schedule::from_now(Duration::from_nanos(1_000_000_000 / rate));
    let mut delays = Delays::default();
    let mut waiting = FuturesUnordered::new();
    let mut next = 0;
    loop {
        tokio::select! {
            () = tokio::time::sleep_until(schedule.turn(next).into()) => {
                let (client, statement) = &clients[(next % CONNECTIONS) as usize];
                let (service, region) = (format!("svc-{:02}", next % 20), crate::w1::REGIONS[(next % 5) as usize]);
                let start = UNIX_EPOCH + Duration::from_micros(crate::w1::START_US as u64) + WINDOW * (next % WINDOWS) as u32;
                let turn = next;
                waiting.push(async move {
                    let rows = client.query(statement, &[&start, &service, &region]).await?;
                    Ok::<_, tokio_postgres::Error>((turn, rows.len()))
                });
                next += 1;
            }
            Some(answer) = waiting.next(), if !waiting.is_empty() => match answer {
                Ok((turn, _rows)) => delays.record(schedule.since(turn)),
                // The run is over, and its servers with it.
                Err(error) if error.is_closed() => break,
                Err(error) => if serving.has_ended()? { break } else { return Err(error.into()) },
            },
        }
    }
    Ok(delays)
}

/// What the summary of a run says.
fn rows_per_second(log: &str) -> Outcome<f64> {
    let summary = log.lines().find(|line| line.starts_with("done: ")).ok_or("there is no summary")?;
    let figure = summary.split_once('(').and_then(|(_, rest)| rest.split_once(' ')).ok_or("there is no figure")?.0;
    Ok(figure.replace(',', "").parse()?)
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_says_how_fast_a_run_was() {
        let log = "warning\ndone: 4,000 rows in (1,234,567 rows/s), 0 rows to sinks, 0 late, 0 dead, 2.00 s\n";
        assert_eq!(rows_per_second(log).unwrap(), 1_234_567.0);
    }
}
