//! The shipped carbon pipeline under load: how many samples a second it takes to the ledger, and how long it is from a
//! restated intensity to the ledger's having been corrected.
//!
//! The pipeline is the one in `pipelines/library/carbon`, as it is; only its data are made here.

use crate::schedule::{Delays, Schedule};
use crate::serving::{Outcome, Serving};
use futures::{StreamExt, pin_mut};
use std::fmt::Write as _;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio_postgres::SimpleQueryMessage;

/// How much is measured.
#[derive(Clone, Debug)]
pub struct Load {
    /// Samples that are taken to the ledger.
    pub samples: usize,
    /// Machines that send them.
    pub machines: usize,
    /// Rows of the ledger that a restatement touches.
    pub restated: usize,
    /// How often it is restated.
    pub rounds: usize,
    /// Workers of the run.
    pub workers: usize,
    /// The folder of the pipeline.
    pub pipeline: PathBuf,
}

/// Regions that the machines are in turn in, and their zones.
const REGIONS: [(&str, &str, &str); 3] =
    [("aws", "eu-central-1", "DE"), ("gcp", "europe-west1", "BE"), ("aws", "us-east-1", "US-MIDA-PJM")];
/// Between two readings of a meter.
const EVERY_S: usize = 60;
/// Slots in an hour.
const SLOTS_AN_HOUR: usize = 12;

/// Measures both.
pub fn measure(binary: &Path, load: &Load) -> Outcome {
    throughput(binary, load)?;
    restatement(binary, load)
}

fn throughput(binary: &Path, load: &Load) -> Outcome {
    let folder = tempfile::tempdir()?;
    let samples = write_data(folder.path(), load.machines, load.samples, REGIONS.len())?;
    let started = Schedule::from_now(Duration::ZERO);
    let serving =
        Serving::start(binary, folder.path(), &pipeline(&load.pipeline, folder.path(), "bounded")?, load.workers)?;
    let ready = started.since(0);
    serving.finish()?;
    let took = started.since(0) - ready;
    println!(
        "{samples} samples of {} machines to the ledger, {} workers: {:.2} s, {:.0} samples/s a worker",
        load.machines,
        load.workers,
        took.as_secs_f64(),
        samples as f64 / took.as_secs_f64() / load.workers as f64,
    );
    Ok(())
}

/// One zone, one hour, `restated` rows of the ledger in it; then the hour's intensity is published again and again.
fn restatement(binary: &Path, load: &Load) -> Outcome {
    let folder = tempfile::tempdir()?;
    let machines = load.restated.div_ceil(SLOTS_AN_HOUR);
    // A reading each minute, and one more to end the hour.
    write_data(folder.path(), machines, machines * (SLOTS_AN_HOUR * 5 + 1), 1)?;
    let expected = machines * SLOTS_AN_HOUR;
    let serving =
        Serving::start(binary, folder.path(), &pipeline(&load.pipeline, folder.path(), "tail")?, load.workers)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut delays = Delays::default();
    runtime.block_on(async {
        let client = serving.connect().await?;
        let told = "SELECT count(*) AS n FROM ledger WHERE intensity_kind = 'estimated'";
        while count(&client, told).await? < expected {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let changes = client.simple_query_raw("SUBSCRIBE TO ledger WITH (snapshot = false)").await?;
        pin_mut!(changes);
        for round in 0..load.rounds {
            let mut file = File::options().append(true).open(folder.path().join("grid_intensity.ndjson"))?;
            let started = Schedule::from_now(Duration::ZERO);
            file.write_all(intensity(REGIONS[0].2, 0, 260 + round, 2 + round).as_bytes())?;
            let (mut gone, mut come) = (0, 0);
            while come < expected || gone < expected {
                let Some(message) = changes.next().await else { return Err("the subscription has ended".into()) };
                let SimpleQueryMessage::Row(row) = message? else { continue };
                match row.get("_diff") {
                    Some("1") => come += 1,
                    Some("-1") => gone += 1,
                    _ => {}
                }
            }
            delays.record(started.since(0));
        }
        Ok::<(), Box<dyn std::error::Error>>(())
    })?;
    println!("a zone's hour restated, {expected} rows of the ledger, {} workers: {}", load.workers, delays.line());
    Ok(())
}

async fn count(client: &tokio_postgres::Client, query: &str) -> Outcome<usize> {
    for message in client.simple_query(query).await? {
        if let SimpleQueryMessage::Row(row) = message {
            return Ok(row.get("n").unwrap_or("0").parse()?);
        }
    }
    Ok(0)
}

/// The texts of the pipeline as one, over the data in `folder`.
fn pipeline(library: &Path, folder: &Path, mode: &str) -> Outcome<String> {
    let mut text = String::new();
    for name in ["sources.sql", "energy.sql", "intensity.sql", "ledger.sql"] {
        text += &std::fs::read_to_string(library.join(name))
            .map_err(|e| format!("{}: {e}", library.join(name).display()))?;
        text.push('\n');
    }
    let factors = std::fs::canonicalize(library.join("factors"))?;
    let text = text.replace("${CARBON_DATA:-pipelines/library/carbon/sample}", &folder.display().to_string());
    let text = text.replace("${CARBON_FACTORS:-pipelines/library/carbon/factors}", &factors.display().to_string());
    Ok(text.replace("${CARBON_MODE:-bounded}", mode))
}

/// Readings of two meters a machine, one a minute, in order of time; machines, and an hour of intensity after the other. Gives
/// how many readings there are.
fn write_data(folder: &Path, machines: usize, samples: usize, regions: usize) -> Outcome<usize> {
    let mut file = BufWriter::with_capacity(1 << 20, File::create(folder.join("machines.ndjson"))?);
    for machine in 0..machines {
        let (provider, region, _) = REGIONS[machine % regions];
        writeln!(
            file,
            r#"{{"machine":"node-{machine:05}","provider":"{provider}","region":"{region}","vcpus":8,"at_the_door":false,"embodied_kg":1000,"share":1,"provisioned_at":"2025-01-01T00:00:00","written_off_at":"2028-12-31T00:00:00"}}"#
        )?;
    }
    file.flush()?;
    let mut file = BufWriter::with_capacity(1 << 20, File::create(folder.join("energy_samples.ndjson"))?);
    let minutes = (samples / machines).max(2);
    for minute in 0..minutes {
        for machine in 0..machines {
            // Between 80 and 120 W.
            let joules = minute * EVERY_S * (80 + machine % 41);
            let ts = timestamp(minute * EVERY_S);
            writeln!(
                file,
                r#"{{"ts":"{ts}","machine":"node-{machine:05}","meter":"bmc","scope":"host","kind":"counter","value":{joules},"unit":"J"}}"#
            )?;
        }
    }
    file.flush()?;
    let mut intensities = String::new();
    for hour in 0..=minutes / 60 {
        for (_, _, zone) in &REGIONS[..regions] {
            intensities += &intensity(zone, hour, 200 + hour % 100, 1);
        }
    }
    std::fs::write(folder.join("grid_intensity.ndjson"), intensities)?;
    for name in ["workload_usage", "certificates", "residual_mix", "functional_units", "budgets", "llm_calls"] {
        File::create(folder.join(name).with_extension("ndjson"))?;
    }
    Ok(minutes * machines)
}

/// A publication of an hour's intensity; later ones have a greater `version`.
fn intensity(zone: &str, hour: usize, g_per_kwh: usize, version: usize) -> String {
    let (from, to) = (timestamp(hour * 3_600), timestamp((hour + 1) * 3_600));
    let published = timestamp(hour * 3_600 + version);
    let mut line = String::new();
    // Writing to a string does not fail.
    let _ = writeln!(
        line,
        r#"{{"zone":"{zone}","valid_from":"{from}","valid_to":"{to}","value":{g_per_kwh},"unit":"g/kWh","kind":"estimated","signal":"average","lifecycle":"lifecycle","source":"bench","source_version":"{version}","published_at":"{published}"}}"#
    );
    line
}

/// So many seconds after 2026-01-05T00:00:00, within that month.
fn timestamp(seconds: usize) -> String {
    let (day, rest) = (seconds / 86_400, seconds % 86_400);
    format!(
        "2026-{:02}-{:02}T{:02}:{:02}:{:02}",
        1 + (4 + day) / 28,
        1 + (4 + day) % 28,
        rest / 3_600,
        rest / 60 % 60,
        rest % 60
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_data_are_those_that_the_pipeline_reads() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(write_data(folder.path(), 10, 1_000, 3).unwrap(), 1_000);
        let lines = |name: &str| std::fs::read_to_string(folder.path().join(name)).unwrap();
        assert_eq!(lines("energy_samples.ndjson").lines().count(), 1_000);
        assert_eq!(lines("machines.ndjson").lines().count(), 10);
        assert_eq!(lines("grid_intensity.ndjson").lines().count(), 6);
        for name in ["energy_samples.ndjson", "machines.ndjson", "grid_intensity.ndjson"] {
            assert!(lines(name).lines().all(|line| serde_json::from_str::<serde_json::Value>(line).is_ok()), "{name}");
        }
        let text = pipeline(Path::new("../pipelines/library/carbon"), folder.path(), "bounded").unwrap();
        assert!(text.contains("CREATE MATERIALIZED VIEW ledger") && !text.contains("${CARBON_DATA:-"));
        assert_eq!(timestamp(86_400 + 61), "2026-01-06T00:01:01");
    }
}
