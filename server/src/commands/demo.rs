//! `thalweg demo`: this machine's own telemetry through the shipped pipeline, live on the terminal.

use crate::cli::DemoArgs;
use crate::compile::compile_with;
use crate::config::{Config, DEFAULT_DATA, parse_time};
use crate::demo_screen::Screen;
use crate::failure::Outcome;
use crate::logging;
use crate::pipeline_files::SourceText;
use crate::progress::Totals;
use crate::running::{self, Running};
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
    let text = SourceText { file: "demo.sql".to_string(), text: PIPELINE.to_string() };
    let compiled = compile_with(&[text], &|name| match name {
        "THALWEG_DATA" => Some(data.clone()),
        name => std::env::var(name).ok(),
    })?;
    let started = Instant::now();
    let running = running::start(&config, "demo".to_string(), compiled.program)?;
    let mut screen = Screen::new(introduction(&running));
    let session = running.sessions.open().map_err(|error| error.error)?;
    let outcome = running.wait_with(REDRAW, async |engine| {
        if limit.is_some_and(|limit| started.elapsed() >= limit) {
            engine.stop();
        }
        screen.draw(&session, &engine.status(), started.elapsed()).await;
    });
    screen.leave();
    let totals = Totals::of(&running.engine.status());
    running.leave();
    outcome?;
    eprintln!("{}", totals.line(started.elapsed()));
    println!("History is kept below {data}/history.");
    Ok(())
}

/// What can be done besides watching.
fn introduction(running: &Running) -> String {
    let mut lines = vec![format!("Thalweg {}: this machine, live. Ctrl-C stops.", env!("CARGO_PKG_VERSION"))];
    if let Some(pg) = running.pg {
        lines.push(format!("psql:    psql -h {} -p {} -d thalweg", pg.ip(), pg.port()));
    }
    if let Some(http) = running.http {
        lines.push(format!("console: http://{http}"));
    }
    lines.push("now and before, in one query (paste it there):".to_string());
    lines.push(
        "  SELECT now.core, now.avg_percent AS now, avg(past.avg_percent) AS before, count(*) AS windows\n  \
         FROM core_load now JOIN core_history past ON past.core = now.core\n  \
         WHERE now.window_start = (SELECT max(window_start) FROM core_load)\n  \
         GROUP BY now.core, now.avg_percent ORDER BY now.core;"
            .to_string(),
    );
    lines.join("\n")
}
