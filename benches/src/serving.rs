//! A binary that serves a pipeline, as benchmarks run it: from a folder of its own, on free ports.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::JoinHandle;
use tokio_postgres::NoTls;

/// What goes wrong ends the benchmark.
pub type Outcome<T = ()> = Result<T, Box<dyn std::error::Error>>;

/// The binary to measure: the one that was built beside this one, unless told otherwise.
pub fn binary(given: Option<PathBuf>) -> Outcome<PathBuf> {
    let path = match given {
        Some(path) => path,
        None => std::env::current_exe()?.with_file_name("thalweg"),
    };
    if path.is_file() { Ok(path) } else { Err(format!("{} is not built", path.display()).into()) }
}

/// A running binary. Killed when dropped.
pub struct Serving {
    child: Child,
    log: Option<JoinHandle<String>>,
    /// Port of the PostgreSQL protocol.
    pub pg: u16,
}

impl Serving {
    /// Starts `thalweg run` on `pipeline` in `folder`, with epochs of 50 ms, and waits until it says its address.
    pub fn start(binary: &Path, folder: &Path, pipeline: &str, workers: usize) -> Outcome<Serving> {
        Serving::start_with(binary, folder, pipeline, workers, &["--epoch", "50ms"])
    }

    /// As [`start`](Self::start), with options of the caller's.
    pub fn start_with(
        binary: &Path,
        folder: &Path,
        pipeline: &str,
        workers: usize,
        options: &[&str],
    ) -> Outcome<Serving> {
        std::fs::write(folder.join("pipeline.sql"), pipeline)?;
        let arguments = ["run", "pipeline.sql", "--pg", "127.0.0.1:0", "--http", "off", "--workers"];
        let mut command = Command::new(binary);
        command.current_dir(folder).args(arguments).arg(workers.to_string()).args(options);
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?;
        let mut serving = Serving { child, log: None, pg: 0 };
        let mut lines = BufReader::new(serving.child.stderr.take().ok_or("no stderr")?);
        let mut told = String::new();
        loop {
            let mut line = String::new();
            if lines.read_line(&mut line)? == 0 {
                return Err(format!("it ended before it served:\n{told}").into());
            }
            told.push_str(&line);
            if let Some((_, rest)) = line.split_once("postgres://127.0.0.1:") {
                let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
                serving.pg = digits.parse()?;
                serving.log = Some(std::thread::spawn(move || {
                    let mut rest = String::new();
                    let _ended = lines.read_to_string(&mut rest);
                    rest
                }));
                return Ok(serving);
            }
        }
    }

    /// Connects to it.
    pub async fn connect(&self) -> Outcome<tokio_postgres::Client> {
        let settings = format!("host=127.0.0.1 port={} user=bench dbname=thalweg", self.pg);
        let (client, connection) = tokio_postgres::connect(&settings, NoTls).await?;
        // It ends with its client; what goes wrong is told by the client's calls.
        tokio::spawn(connection);
        Ok(client)
    }

    /// The memory that it takes now, in bytes.
    pub fn resident_memory(&self) -> Outcome<u64> {
        self.memory("VmRSS:")
    }

    /// The most memory that it has taken, in bytes.
    pub fn peak_memory(&self) -> Outcome<u64> {
        self.memory("VmHWM:")
    }

    fn memory(&self, field: &str) -> Outcome<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let figure = status.lines().find_map(|line| line.strip_prefix(field)).ok_or_else(|| format!("no {field}"))?;
        Ok(figure.trim().trim_end_matches("kB").trim().parse::<u64>()? << 10)
    }

    /// Whether it has ended.
    pub fn has_ended(&mut self) -> Outcome<bool> {
        Ok(self.child.try_wait()?.is_some())
    }

    /// Waits for its end; what it said.
    pub fn finish(mut self) -> Outcome<String> {
        let status = self.child.wait()?;
        let log = self.log.take().and_then(|log| log.join().ok()).unwrap_or_default();
        if status.success() { Ok(log) } else { Err(format!("it failed:\n{log}").into()) }
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _reaped = self.child.wait();
    }
}
