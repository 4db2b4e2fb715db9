//! The built binary as tests run it: to its end, or serving on ports of its own.

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::thread::JoinHandle;

/// The binary, in `folder`, undisturbed by the environment's own settings: the one that was built with the tests, or the
/// one at `THALWEG_BINARY`, such as a release build for what goes on for long.
pub fn thalweg(folder: &Path, arguments: &[&str]) -> Command {
    let binary = std::env::var_os("THALWEG_BINARY").unwrap_or_else(|| env!("CARGO_BIN_EXE_thalweg").into());
    let mut command = Command::new(binary);
    command.current_dir(folder).args(arguments).stdin(Stdio::null());
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("THALWEG_")) {
        command.env_remove(name);
    }
    command
}

/// Runs it to its end.
pub fn run(folder: &Path, arguments: &[&str]) -> Output {
    thalweg(folder, arguments).output().unwrap()
}

/// What a finished run said on stderr.
pub fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A binary that serves a pipeline. Killed when dropped.
pub struct Serving {
    child: Child,
    /// Collects what it says after its addresses.
    log: Option<JoinHandle<String>>,
    /// Where the PostgreSQL protocol is.
    pub pg: SocketAddr,
    /// Where HTTP is.
    pub http: SocketAddr,
}

/// How [`serve`] runs the file that it writes.
pub const SERVE: [&str; 8] = ["run", "pipeline.sql", "--pg", "127.0.0.1:0", "--http", "127.0.0.1:0", "--workers", "2"];

/// Serves `pipeline` from `folder` on free ports.
pub fn serve(folder: &Path, pipeline: &str) -> Serving {
    serve_as(folder, pipeline, thalweg(folder, &SERVE))
}

/// As [`serve`], by a command of the caller's.
pub fn serve_as(folder: &Path, pipeline: &str, mut command: Command) -> Serving {
    std::fs::write(folder.join("pipeline.sql"), pipeline).unwrap();
    let nowhere = SocketAddr::from(([127, 0, 0, 1], 0));
    let child = command.stderr(Stdio::piped()).spawn().unwrap();
    // From here on it is killed whatever happens.
    let mut serving = Serving { child, log: None, pg: nowhere, http: nowhere };
    let mut lines = BufReader::new(serving.child.stderr.take().unwrap());
    let mut told = String::new();
    loop {
        let mut line = String::new();
        assert!(lines.read_line(&mut line).unwrap() > 0, "it ended before it served:\n{told}");
        told.push_str(&line);
        if let (Some(pg), Some(http)) = (address(&line, "postgres://"), address(&line, "http://")) {
            serving.log = Some(std::thread::spawn(move || {
                let mut rest = String::new();
                let _ended = lines.read_to_string(&mut rest);
                rest
            }));
            (serving.pg, serving.http) = (pg, http);
            return serving;
        }
    }
}

fn address(line: &str, scheme: &str) -> Option<SocketAddr> {
    let rest = &line[line.find(scheme)? + scheme.len()..];
    let end = rest.find(|c: char| !(c.is_ascii_digit() || c == '.' || c == ':')).unwrap_or(rest.len());
    rest[..end].parse().ok()
}

impl Serving {
    /// Sends a signal, such as `-STOP`.
    pub fn signal(&self, signal: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
    }

    /// Sends SIGTERM, and waits for the end: the exit code.
    pub fn terminate(mut self) -> Option<i32> {
        self.signal("-TERM");
        self.child.wait().unwrap().code()
    }

    /// Sends SIGTERM, and waits for the end: the exit code, and what it said after its addresses.
    pub fn terminate_and_tell(self) -> (Option<i32>, String) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
        self.finish()
    }

    /// The most memory that it has taken so far, in bytes.
    pub fn peak_memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        peak.trim().trim_end_matches("kB").trim().parse::<u64>().unwrap() << 10
    }

    /// Waits until it ends by itself: the exit code, and what it said after its addresses.
    pub fn finish(mut self) -> (Option<i32>, String) {
        let code = self.child.wait().unwrap().code();
        (code, self.log.take().map_or(String::new(), |log| log.join().unwrap()))
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _reaped = self.child.wait();
    }
}

/// A pipeline that stays up over rows that stay the same.
pub const STEADY: &str = "
CREATE SOURCE orders (ts TIMESTAMP NOT NULL, item TEXT, price DOUBLE, n INT)
WITH (connector = 'file', path = 'orders.ndjson', format = 'json', mode = 'tail');
CREATE MATERIALIZED VIEW sold AS SELECT ts, item, price, n FROM orders WHERE n > 0;
CREATE MATERIALIZED VIEW per_item AS SELECT item, count(*) AS orders, sum(price) AS revenue FROM orders GROUP BY item;
CREATE VIEW dear AS SELECT item, price FROM sold WHERE price > 5;
";

/// The rows that it reads: four, one of them with `n = 0`.
pub const ORDERS: &str = r#"{"ts":"2026-01-01T00:00:01","item":"tea","price":2.5,"n":1}
{"ts":"2026-01-01T00:00:02","item":"cake","price":7.5,"n":2}
{"ts":"2026-01-01T00:00:03","item":"tea","price":3.5,"n":0}
{"ts":"2026-01-01T00:00:04","item":"tea","price":4.0,"n":3}
"#;

/// A binary that serves [`STEADY`] over [`ORDERS`].
pub fn steady(folder: &Path) -> Serving {
    std::fs::write(folder.join("orders.ndjson"), ORDERS).unwrap();
    serve(folder, STEADY)
}
