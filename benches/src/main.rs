//! `thalweg-bench`: makes workloads and measures single parts of the engine. Whole runs: `benches/run.py`.

use clap::{Parser, Subcommand, ValueEnum};
use std::fs::File;
use std::hint::black_box;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;
use thalweg_bench::serving::{Outcome, binary};
use thalweg_bench::{
    alerts, anomaly, carbon, checkpoints, detectors, first_row, join_state, kafka, latency, point_queries, recovery, w1,
};
use thalweg_operators::anomaly::{DetectSettings, Method};
use thalweg_schemas::format::{DecodeRequest, by_name};
use thalweg_schemas::wanted::Wanted;

#[derive(Parser)]
#[command(about = "Makes workloads and measures single parts of the engine")]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Writes workload W1 to a file.
    Generate {
        #[arg(long, default_value_t = 4_000_000)]
        rows: usize,
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// How many different hosts there are.
        #[arg(long, default_value_t = 100)]
        keys: u32,
        #[arg(long, value_enum, default_value_t = Format::Ndjson)]
        format: Format,
        #[arg(long)]
        out: PathBuf,
    },
    /// Rows a second that one core decodes: ours beside arrow-json, turn by turn.
    Decode {
        #[arg(long, default_value_t = 1_000_000)]
        rows: usize,
        #[arg(long, default_value_t = 5)]
        rounds: usize,
        /// Ours only, for a profiler.
        #[arg(long)]
        ours_only: bool,
    },
    /// From a row handed in to its being visible in a view, at a steady rate.
    Latency {
        #[arg(long, default_value_t = 100_000)]
        rate: u64,
        #[arg(long, default_value_t = 20)]
        seconds: u64,
        #[arg(long, default_value_t = 2)]
        workers: usize,
        /// The binary; by default the one beside this one.
        #[arg(long)]
        thalweg: Option<PathBuf>,
    },
    /// Point queries over the PostgreSQL protocol while W1 runs, and what the run pays for them.
    PointQueries {
        /// W1 as NDJSON, long enough to last some seconds.
        #[arg(long)]
        file: PathBuf,
        #[arg(long, default_value_t = 1_000)]
        rate: u64,
        #[arg(long, default_value_t = 3)]
        rounds: usize,
        #[arg(long, default_value_t = 2)]
        workers: usize,
        /// The binary; by default the one beside this one.
        #[arg(long)]
        thalweg: Option<PathBuf>,
    },
    /// Kafka in and out against a real broker, which `deploy/dev/kafka` fetches and starts: prints a table.
    Kafka {
        /// How many messages the topics hold that are read whole.
        #[arg(long, default_value_t = 5_000_000)]
        messages: u64,
        /// How often they are read, in each way; with 0 nothing but the delays from topic to topic is measured.
        #[arg(long, default_value_t = 3)]
        rounds: usize,
        /// Messages a second from topic to topic.
        #[arg(long, default_value_t = 50_000)]
        rate: u64,
        #[arg(long, default_value_t = 20)]
        seconds: u64,
        #[arg(long, default_value_t = 2)]
        workers: usize,
        /// What starts the broker.
        #[arg(long, default_value = "deploy/dev/kafka")]
        broker: PathBuf,
        /// The binary; by default the one beside this one.
        #[arg(long)]
        thalweg: Option<PathBuf>,
    },
    /// From a row handed in to the webhook about it, at a steady rate, and the memory of alerts that fire.
    Alerts {
        #[arg(long, default_value_t = 100_000)]
        rate: u64,
        #[arg(long, default_value_t = 10_000)]
        keys: u64,
        #[arg(long, default_value_t = 20)]
        seconds: u64,
        #[arg(long, default_value_t = 2)]
        workers: usize,
        /// How many alerts fire when memory is measured.
        #[arg(long, default_value_t = 100_000)]
        firing: u64,
        /// The binary; by default the one beside this one.
        #[arg(long)]
        thalweg: Option<PathBuf>,
    },
    /// From `kill -9` to the first new row in a view with many keys, and the memory that takes.
    Recovery {
        /// How many keys the view has: about 300 bytes of state each.
        #[arg(long, default_value_t = 1_000_000)]
        keys: u64,
        /// How many rows are in the epoch log that no checkpoint has.
        #[arg(long, default_value_t = 100_000)]
        burst: u64,
        #[arg(long, default_value_t = 5)]
        rounds: u64,
        #[arg(long, default_value_t = 2)]
        workers: usize,
        /// The binary; by default the one beside this one.
        #[arg(long)]
        thalweg: Option<PathBuf>,
    },
    /// Bytes that a checkpoint writes, by what has changed and by the size of the state.
    Checkpoints {
        /// How many keys the largest state has.
        #[arg(long, default_value_t = 1_000_000)]
        keys: u64,
        #[arg(long, default_value_t = 2)]
        workers: usize,
        /// The binary; by default the one beside this one.
        #[arg(long)]
        thalweg: Option<PathBuf>,
    },
    /// How many labelled events the detectors find for how many false alarms.
    Anomaly {
        /// Labelled series, in the form of the Numenta Anomaly Benchmark or of cloud-monitoring-dataset; by default a set
        /// of our own is made.
        folder: Option<PathBuf>,
        /// The length of the season in hours; 0 is none.
        #[arg(long, default_value_t = 24)]
        season_hours: i64,
    },
    /// Points a second that a core judges by each detector, with finding their series, and the bytes of a series.
    Detectors {
        /// Series; the detectors that look at much more than a point get one for 2,500 of them.
        #[arg(long, default_value_t = 10_000)]
        series: usize,
        /// Series that send a point a second.
        #[arg(long, default_value_t = 100_000)]
        many: usize,
        /// Points a detector; those that look at much more than a point get a fiftieth.
        #[arg(long, default_value_t = 5_000_000)]
        points: usize,
        /// Nothing but this method, for a profiler.
        #[arg(long)]
        only: Option<String>,
    },
    /// Bytes that a row of a regular join takes beyond its own, and what is left of rows that were taken back.
    JoinState {
        /// Rows of each side.
        #[arg(long, default_value_t = 1_000_000)]
        rows: usize,
    },
    /// Samples a second to the ledger of the shipped carbon pipeline, and from a restated intensity to a corrected ledger.
    Carbon {
        #[arg(long, default_value_t = 2_000_000)]
        samples: usize,
        #[arg(long, default_value_t = 1_000)]
        machines: usize,
        /// Rows of the ledger that a restatement touches.
        #[arg(long, default_value_t = 10_000)]
        restated: usize,
        #[arg(long, default_value_t = 5)]
        rounds: usize,
        #[arg(long, default_value_t = 1)]
        workers: usize,
        #[arg(long, default_value = "pipelines/library/carbon")]
        pipeline: PathBuf,
        /// The binary; by default the one beside this one.
        #[arg(long)]
        thalweg: Option<PathBuf>,
    },
    /// From the start of the process to the first row in a view.
    FirstRow {
        #[arg(long, default_value_t = 5)]
        rounds: u64,
        /// The binary; by default the one beside this one.
        #[arg(long)]
        thalweg: Option<PathBuf>,
    },
}

#[derive(Clone, Copy, ValueEnum)]
enum Format {
    Ndjson,
    Csv,
    Parquet,
}

fn main() -> Outcome {
    match Args::parse().command {
        Command::Generate { rows, seed, keys, format, out } => {
            let rows = w1::Rows::new(seed, keys).take(rows);
            match format {
                Format::Ndjson => write_lines(&out, None, rows.map(|row| row.to_json())),
                Format::Csv => {
                    write_lines(&out, Some("ts,host,service,region,latency_ms,status"), rows.map(|row| row.to_csv()))
                }
                Format::Parquet => write_parquet(&out, rows),
            }
        }
        Command::Decode { rows, rounds, ours_only } => measure_decoding(rows, rounds, ours_only),
        Command::Latency { rate, seconds, workers, thalweg } => {
            latency::measure(&binary(thalweg)?, rate, seconds, workers)
        }
        Command::PointQueries { file, rate, rounds, workers, thalweg } => {
            point_queries::measure(&binary(thalweg)?, &file, rate, rounds, workers)
        }
        Command::Kafka { messages, rounds, rate, seconds, workers, broker, thalweg } => {
            kafka::measure(&binary(thalweg)?, &broker, kafka::Plan { messages, rounds, rate, seconds, workers })
        }
        Command::Alerts { rate, keys, seconds, workers, firing, thalweg } => {
            alerts::measure(&binary(thalweg)?, alerts::Plan { rate, keys, seconds, workers, firing })
        }
        Command::Recovery { keys, burst, rounds, workers, thalweg } => {
            recovery::measure(&binary(thalweg)?, keys, burst, rounds, workers)
        }
        Command::Checkpoints { keys, workers, thalweg } => checkpoints::measure(&binary(thalweg)?, keys, workers),
        Command::Anomaly { folder, season_hours } => measure_detectors(folder.as_deref(), season_hours),
        Command::Detectors { series, many, points, only } => {
            let of = |name: String| Method::of(&name).ok_or(format!("there is no method \"{name}\""));
            let load = detectors::Load { series, many, points, only: only.map(of).transpose()? };
            print!("{}", detectors::table(&detectors::measure(load)?));
            Ok(())
        }
        Command::JoinState { rows } => {
            print!("{}", join_state::table(&join_state::measure(rows)?));
            Ok(())
        }
        Command::Carbon { samples, machines, restated, rounds, workers, pipeline, thalweg } => {
            let load = carbon::Load { samples, machines, restated, rounds, workers, pipeline };
            carbon::measure(&binary(thalweg)?, &load)
        }
        Command::FirstRow { rounds, thalweg } => first_row::measure(&binary(thalweg)?, rounds),
    }
}

fn measure_detectors(folder: Option<&Path>, season_hours: i64) -> Outcome {
    let series = match folder {
        Some(folder) => anomaly::data::load(folder)?,
        None => anomaly::generated::series(1),
    };
    if series.is_empty() {
        return Err("there is no CSV file in the folder".into());
    }
    let settings = DetectSettings { season_ns: season_hours * 3_600_000_000_000, ..DetectSettings::default() };
    print!("{}", anomaly::report::table(&series, &anomaly::score_all(&series, &settings)));
    Ok(())
}

fn write_lines(out: &Path, header: Option<&str>, lines: impl Iterator<Item = String>) -> Outcome {
    let mut file = BufWriter::with_capacity(1 << 20, File::create(out)?);
    for line in header.map(str::to_string).into_iter().chain(lines) {
        writeln!(file, "{line}")?;
    }
    Ok(file.flush()?)
}

fn write_parquet(out: &Path, mut rows: impl Iterator<Item = w1::Row>) -> Outcome {
    let properties = parquet::file::properties::WriterProperties::builder()
        .set_compression(parquet::basic::Compression::ZSTD(Default::default()))
        .set_max_row_group_row_count(Some(128 * 1_024))
        .build();
    let mut writer = parquet::arrow::ArrowWriter::try_new(File::create(out)?, w1::schema(), Some(properties))?;
    loop {
        let batch: Vec<w1::Row> = rows.by_ref().take(64 * 1_024).collect();
        if batch.is_empty() {
            writer.close()?;
            return Ok(());
        }
        writer.write(&w1::to_batch(&batch)?)?;
    }
}

/// As much as a reader hands over at a time.
const CHUNK_BYTES: usize = 1 << 20;

#[expect(clippy::disallowed_methods, reason = "a benchmark measures wall time")]
fn measure_decoding(rows: usize, rounds: usize, ours_only: bool) -> Outcome {
    let text: String = w1::Rows::new(1, 100).take(rows).map(|row| row.to_json() + "\n").collect();
    let mut chunks = Vec::new();
    let mut rest = text.as_bytes();
    while !rest.is_empty() {
        let end = rest[..rest.len().min(CHUNK_BYTES)].iter().rposition(|b| *b == b'\n').map_or(rest.len(), |at| at + 1);
        chunks.push(&rest[..end]);
        rest = &rest[end..];
    }
    let json = by_name("json").and_then(|format| format.decoder).ok_or("no JSON decoder")?;
    let request = DecodeRequest {
        wanted: [true, false, true, true, true, false].map(Wanted::from).into(),
        ..DecodeRequest::new(w1::schema())
    };
    let wanted = std::sync::Arc::new(w1::schema().project(&[0, 2, 3, 4])?);
    for _ in 0..rounds {
        let mut decoder = json(request.clone())?;
        let start = Instant::now();
        let mut seen = 0;
        for chunk in &chunks {
            seen += black_box(decoder.decode(chunk, 0)?).rows.num_rows();
        }
        assert_eq!(seen, rows, "every row is right");
        report("thalweg", rows, text.len(), start.elapsed().as_secs_f64());
        if ours_only {
            continue;
        }
        let start = Instant::now();
        let mut seen = 0;
        let reader = arrow::json::ReaderBuilder::new(wanted.clone()).with_batch_size(8_192).build(text.as_bytes())?;
        for batch in reader {
            seen += black_box(batch?).num_rows();
        }
        assert_eq!(seen, rows, "every row is right");
        report("arrow-json", rows, text.len(), start.elapsed().as_secs_f64());
    }
    Ok(())
}

fn report(who: &str, rows: usize, bytes: usize, seconds: f64) {
    let (rows, bytes) = (rows as f64 / 1e6 / seconds, bytes as f64 / 1e6 / seconds);
    println!("{who:>12}: {rows:6.2} million rows/s, {bytes:6.0} MB/s");
}
