//! Logs: to stderr, as text or JSON, filtered by `THALWEG_LOG`.

use crate::config::LogFormat;
use std::io::IsTerminal;
use tracing_subscriber::EnvFilter;

/// Starts logging. What is logged by default are warnings, and what the engine tells about its own course.
pub fn start(format: LogFormat) {
    let filter = EnvFilter::try_from_env("THALWEG_LOG").unwrap_or_else(|_| EnvFilter::new("warn"));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // A second call (in tests) leaves the first in place.
    let _already = match format {
        LogFormat::Text => builder.with_ansi(std::io::stderr().is_terminal()).with_target(false).try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
}

/// Tells the user something about the course of the command: a plain line, or a JSON object where logs are JSON.
pub fn announce(format: LogFormat, line: &str) {
    match format {
        LogFormat::Text => eprintln!("{line}"),
        LogFormat::Json => eprintln!("{}", serde_json::json!({ "level": "INFO", "message": line })),
    }
}
