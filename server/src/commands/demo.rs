//! `thalweg demo`: this machine's own telemetry through the shipped pipeline, live on the terminal.

use crate::cli::DemoArgs;
use crate::compile::Pipeline;
use crate::config::{Config, DEFAULT_DATA, parse_time};
use crate::demo_screen::{Introduction, Screen, fires};
use crate::failure::Outcome;
use crate::logging;
use crate::pipeline_files::SourceText;
use crate::progress::Totals;
use crate::running::{self, Running};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// The shipped pipeline.
const PIPELINE: &str = include_str!("../../../pipelines/library/demo.sql");

/// How often the screen is drawn.
const REDRAW: Duration = Duration::from_millis(500);

/// Runs until Ctrl-C, or for as long as was asked.
#[allow(clippy::disallowed_methods, reason = "how long the demo has run, on the screen and for --for")]
pub fn demo(args: &DemoArgs) -> Outcome {
    let limit = args.duration.as_deref().map(|text| parse_time("for", text)).transpose()?;
    let config = Config::load(&args.options)?;
    logging::start(config.log_format);
    let data = config.data.as_deref().unwrap_or(DEFAULT_DATA.as_ref()).display().to_string();
    let history = data.clone();
    let pipeline = Pipeline {
        name: "demo".to_string(),
        paths: vec!["demo".to_string()],
        created: Vec::new(),
        dropped: BTreeMap::new(),
        files: vec![SourceText { file: "demo.sql".to_string(), text: PIPELINE.to_string() }],
        variables: Arc::new(move |name| match name {
            "THALWEG_DATA" => Some(history.clone()),
            name => std::env::var(name).ok(),
        }),
    };
    let compiled = pipeline.compile()?;
    let started = Instant::now();
    let running = running::start(&config, &pipeline, compiled.program, &[])?;
    let mut screen = Screen::new(introduction(&running));
    let session = running.live.sessions().open().map_err(|error| error.error)?;
    let mut load = Load::default();
    let outcome = running.wait_with(REDRAW, async |engine| {
        if limit.is_some_and(|limit| started.elapsed() >= limit) {
            engine.stop();
        }
        if let Some(age) = started.elapsed().checked_sub(LOAD_AFTER).filter(|_| load.goes_on()) {
            load.grow(age);
            if age >= LOAD_MAX || fires(&session, std::process::id()).await {
                load.stop();
            }
        }
        screen.draw(&session, &engine.status(), started.elapsed()).await;
    });
    screen.leave();
    let totals = Totals::of(&running.live.engine().status());
    running.leave();
    outcome?;
    eprintln!("{}", totals.line(started.elapsed()));
    println!("History is kept below {data}/history.");
    Ok(())
}

/// When the demo gives its alert something to see, and for how long at most: on a machine that has little left for it the
/// load may never be large enough.
const LOAD_AFTER: Duration = Duration::from_secs(3);
const LOAD_MAX: Duration = Duration::from_secs(30);
/// So often it grows, up to so many threads.
const LOAD_GROWS_EVERY: Duration = Duration::from_secs(1);
const LOAD_THREADS_MAX: u32 = 16;

/// A load of this process's own, which grows until the alert has seen it. Where nothing else computes one thread is enough.
#[derive(Default)]
struct Load {
    ended: Arc<AtomicBool>,
    threads: u32,
}

impl Load {
    /// Grows to what it should be so long after its beginning.
    fn grow(&mut self, age: Duration) {
        while self.threads < LOAD_THREADS_MAX && LOAD_GROWS_EVERY * self.threads <= age {
            self.threads += 1;
            let ended = self.ended.clone();
            let compute = move || {
                while !ended.load(Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            };
            // Where no thread can be had the machine is busy enough.
            drop(std::thread::Builder::new().name("load".into()).spawn(compute));
        }
    }

    fn goes_on(&self) -> bool {
        !self.ended.load(Ordering::Relaxed)
    }

    fn stop(&self) {
        self.ended.store(true, Ordering::Relaxed);
    }
}

/// What can be done besides watching; each line fits into 80 columns.
fn introduction(running: &Running) -> Introduction {
    let mut addresses = Vec::new();
    if let Some(pg) = running.pg {
        addresses.push(format!("psql -h {} -p {} -d thalweg", pg.ip(), pg.port()));
    }
    if let Some(http) = running.http {
        addresses.push(format!("console: http://{http}"));
    }
    Introduction {
        title: format!("Thalweg {}: this machine, live. Ctrl-C stops.", env!("CARGO_PKG_VERSION")),
        addresses: addresses.join("    "),
        query: QUERY,
    }
}

/// Of the live view and its history, and of what the alert said.
const QUERY: &str = "\
  SELECT n.core, n.avg_percent AS now, avg(h.avg_percent) AS past, count(h.core)
  FROM core_load n LEFT JOIN core_history h ON h.core = n.core
  WHERE n.window_start = (SELECT max(window_start) FROM core_load)
  GROUP BY n.core, n.avg_percent ORDER BY n.core;
  SELECT event_time, kind, key, threshold, \"values\" FROM thalweg.alert_events;";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_query_can_be_copied_from_a_narrow_terminal() {
        assert!(QUERY.lines().all(|line| line.len() <= 80 && !line.ends_with(' ')), "{QUERY}");
    }
}
