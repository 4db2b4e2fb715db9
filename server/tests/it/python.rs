//! Python's clients and readers, where Python has them. `$PYTHON` names the interpreter; `.ci/run` makes one that has all.

use crate::binary::{run, stderr, steady};
use std::fmt::Write;
use std::path::Path;
use std::process::{Command, Stdio};

/// The interpreter, if it has `packages`; a line if it has not.
fn python_with(packages: &str) -> Option<Command> {
    let python = std::env::var("PYTHON").unwrap_or("python3".to_string());
    let has = Command::new(&python).args(["-c", &format!("import {packages}")]).stderr(Stdio::null()).status();
    if has.is_ok_and(|status| status.success()) {
        return Some(Command::new(python));
    }
    eprintln!("skipped: {python} has not all of {packages}");
    None
}

/// Runs `tests/python/SCRIPT`, which fails by itself.
fn run_script(mut python: Command, script: &str, arguments: &[&str]) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python").join(script);
    let output = python.arg(script).args(arguments).output().unwrap();
    assert!(output.status.success(), "{}{}", String::from_utf8_lossy(&output.stdout), stderr(&output));
}

#[test]
fn psycopg_and_sqlalchemy_work() {
    let Some(python) = python_with("psycopg, sqlalchemy") else { return };
    let folder = tempfile::tempdir().unwrap();
    let serving = steady(folder.path());
    crate::http::wait_for_orders(&serving);
    run_script(python, "clients.py", &[&serving.pg.port().to_string()]);
}

const HISTORY: &str = "
CREATE SOURCE readings (ts TIMESTAMP NOT NULL, service TEXT, region TEXT, n BIGINT, latency DOUBLE, ok BOOLEAN,
  price DECIMAL(10, 2), WATERMARK FOR ts AS ts)
WITH (connector = 'file', path = 'readings.ndjson', format = 'json');
CREATE SINK history FROM readings WITH (connector = 'parquet', path = 'out',
  partition_by = 'day(ts), region', sort_by = 'service, latency desc');
";

#[test]
fn duckdb_and_pyarrow_read_the_parquet_sink() {
    let Some(python) = python_with("duckdb, pyarrow") else { return };
    let folder = tempfile::tempdir().unwrap();
    let mut text = String::new();
    for n in 0..3_000 {
        let (day, minute, second) = (n / 1_000 + 1, n % 1_000 / 60, n % 1_000 % 60);
        let region = ["null", "\"eu/west\"", "\"us\""][n % 3];
        let ok = if n % 10 == 0 { "null".to_string() } else { (n % 2 == 0).to_string() };
        writeln!(
            text,
            "{{\"ts\":\"2026-01-0{day}T00:{minute:02}:{second:02}\",\"service\":\"svc-{}\",\"region\":{region},\"n\":{n},\
             \"latency\":{},\"ok\":{ok},\"price\":{}.{:02}}}",
            n % 7,
            n as f64 * 0.25,
            n / 100,
            n % 100
        )
        .unwrap();
    }
    std::fs::write(folder.path().join("readings.ndjson"), text).unwrap();
    std::fs::write(folder.path().join("p.sql"), HISTORY).unwrap();
    let output = run(folder.path(), &["run", "p.sql", "--pg", "off", "--http", "off", "--workers", "2"]);
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(stderr(&output).contains("3,000 rows to sinks, 0 late, 0 dead"), "{}", stderr(&output));
    run_script(python, "parquet.py", &[&folder.path().join("out").display().to_string()]);
}

#[test]
fn the_console_lives_in_a_browser() {
    let Some(python) = python_with("selenium") else { return };
    if Command::new("chromedriver").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_err() {
        eprintln!("skipped: chromedriver is not installed");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let serving = steady(folder.path());
    crate::http::wait_for_orders(&serving);
    let followed = folder.path().join("orders.ndjson").display().to_string();
    run_script(python, "console.py", &[&serving.http.to_string(), &followed]);
}
