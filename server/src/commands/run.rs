//! `thalweg run`: pipelines until they end or are stopped.

use crate::cli::RunArgs;
use crate::compile::{Pipeline, count};
use crate::config::Config;
use crate::failure::Outcome;
use crate::logging::{self, announce};
use crate::progress::{ProgressLine, Totals};
use crate::running;
use std::time::{Duration, Instant};
use thalweg_pipelines::render_warnings;

/// How often the progress line is drawn.
const REDRAW: Duration = Duration::from_millis(200);

/// Runs, to the end.
#[allow(clippy::disallowed_methods, reason = "how long the run took, for the summary")]
pub fn run(args: &RunArgs) -> Outcome {
    let config = Config::load(&args.options)?;
    logging::start(config.log_format);
    let pipeline = Pipeline::read(&args.pipelines)?;
    let compiled = pipeline.compile()?;
    eprint!("{}", render_warnings(&compiled.program.warnings, &compiled.texts));
    let views = compiled.program.dataflow.views.len();
    let started = Instant::now();
    let running = running::start(&config, &pipeline, compiled.program, &args.allow_state_loss)?;
    announce(
        config.log_format,
        &format!(
            "thalweg {} serves {} on {} ({})",
            env!("CARGO_PKG_VERSION"),
            count(views, "view"),
            running.addresses(),
            count(config.workers, "worker")
        ),
    );
    if let Some(recovery) = running.live.engine().recovery() {
        announce(config.log_format, &recovery.to_string());
    }
    let progress = ProgressLine::new();
    let outcome = running.wait(REDRAW, |engine| progress.draw(&engine.status(), started.elapsed()));
    progress.clear();
    let totals = Totals::of(&running.live.engine().status());
    running.leave();
    outcome?;
    announce(config.log_format, &totals.line(started.elapsed()));
    Ok(())
}
