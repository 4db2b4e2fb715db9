//! Settings: from what was given (command line, environment, `thalweg.toml`) to checked values, built once.

use crate::cli::EngineOptions;
use serde::Deserialize;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::time::Duration;
use thalweg_schemas::error::{Error, Position, Result};
use thalweg_schemas::options::{parse_duration, parse_size};

/// The file that is read when none is named.
const DEFAULT_FILE: &str = "thalweg.toml";

/// Where state and history are kept unless told otherwise.
pub const DEFAULT_DATA: &str = "./thalweg-data";
/// Where the PostgreSQL protocol is served unless told otherwise.
pub const DEFAULT_PG: &str = "127.0.0.1:5433";
/// Where HTTP is served unless told otherwise.
pub const DEFAULT_HTTP: &str = "127.0.0.1:8433";

/// The checked settings of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Folder for state and history; `None`: the run does not outlive its process.
    pub data: Option<PathBuf>,
    /// Worker threads, at least 1.
    pub workers: usize,
    /// Where the PostgreSQL protocol is served, if it is.
    pub pg: Option<SocketAddr>,
    /// Where HTTP is served, if it is.
    pub http: Option<SocketAddr>,
    /// Length of an epoch, above 0.
    pub epoch: Duration,
    /// How long after one checkpoint the next is begun, above 0.
    pub checkpoint_interval: Duration,
    /// Where checkpoints go: the URL of a place in an object store. `None`: into `data`.
    pub checkpoints: Option<String>,
    /// How long the changes of views are kept for readers of an earlier epoch, above 0.
    pub retention: Duration,
    /// How many bytes of dead letters are kept, above 0.
    pub dead_letters_max: u64,
    /// How many bytes of memory the process may take; `None`: nothing is known of how many there are.
    pub memory_max: Option<u64>,
    /// How logs look.
    pub log_format: LogFormat,
}

/// How logs look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// Lines for people.
    Text,
    /// One JSON object a line.
    Json,
}

/// What `thalweg.toml` may say: the options of the command line by their long names.
#[derive(Deserialize, Default, Debug)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct File {
    data: Option<String>,
    workers: Option<u64>,
    pg: Option<String>,
    http: Option<String>,
    epoch: Option<String>,
    #[serde(alias = "checkpoint_interval")]
    checkpoint_interval: Option<String>,
    checkpoints: Option<String>,
    retention: Option<String>,
    #[serde(alias = "dead_letters_max")]
    dead_letters_max: Option<String>,
    memory: Option<String>,
    #[serde(alias = "log_format")]
    log_format: Option<String>,
}

impl Config {
    /// The settings that `given` and the file it names (or `thalweg.toml` here) come to.
    pub fn load(given: &EngineOptions) -> Result<Config> {
        let file = match &given.config {
            Some(path) => read_file(path)?,
            None if Path::new(DEFAULT_FILE).is_file() => read_file(Path::new(DEFAULT_FILE))?,
            None => File::default(),
        };
        Config::check(given, file)
    }

    fn check(given: &EngineOptions, file: File) -> Result<Config> {
        let pick = |flag: &Option<String>, file: Option<String>, default: &str| {
            flag.clone().or(file).unwrap_or_else(|| default.to_string())
        };
        let workers = given.workers.clone().or(file.workers.map(|n| n.to_string()));
        let data = match pick(&given.data, file.data, DEFAULT_DATA) {
            off if off == "off" => None,
            folder => Some(PathBuf::from(folder)),
        };
        let checkpoints = given.checkpoints.clone().or(file.checkpoints);
        if data.is_none() && checkpoints.is_some() {
            return Err(Error::user("option \"checkpoints\" needs a folder for the epoch log, and \"data\" is off")
                .with_hint("Give a folder on a local disk with --data DIR; it need not outlive the machine."));
        }
        Ok(Config {
            data,
            checkpoints,
            workers: parse_workers(workers.as_deref())?,
            pg: parse_address("pg", &pick(&given.pg, file.pg, DEFAULT_PG))?,
            http: parse_address("http", &pick(&given.http, file.http, DEFAULT_HTTP))?,
            epoch: parse_time("epoch", &pick(&given.epoch, file.epoch, "50ms"))?,
            checkpoint_interval: parse_time(
                "checkpoint-interval",
                &pick(&given.checkpoint_interval, file.checkpoint_interval, "10s"),
            )?,
            retention: parse_time("retention", &pick(&given.retention, file.retention, "1m"))?,
            dead_letters_max: parse_bytes(
                "dead-letters-max",
                &pick(&given.dead_letters_max, file.dead_letters_max, "1GB"),
            )?,
            memory_max: match given.memory.clone().or(file.memory) {
                Some(text) => Some(parse_bytes("memory", &text)?),
                None => crate::memory_budget::default_bytes(),
            },
            log_format: match pick(&given.log_format, file.log_format, "text").as_str() {
                "text" => LogFormat::Text,
                "json" => LogFormat::Json,
                other => return Err(Error::user(format!("option \"log-format\" takes text | json, not '{other}'"))),
            },
        })
    }
}

/// A number of workers; one for each core when none is given.
pub fn parse_workers(given: Option<&str>) -> Result<usize> {
    match given {
        None => Ok(std::thread::available_parallelism().map_or(1, |n| n.get())),
        Some(text) => match text.parse::<usize>() {
            Ok(workers @ 1..=1024) => Ok(workers),
            _ => Err(Error::user(format!("option \"workers\" takes a number from 1 to 1024, not '{text}'"))),
        },
    }
}

/// A length of time above 0.
pub fn parse_time(option: &str, text: &str) -> Result<Duration> {
    match parse_duration(text) {
        Some(time) if !time.is_zero() => Ok(time),
        _ => Err(Error::user(format!("option \"{option}\" takes a length of time, not '{text}'"))
            .with_hint("Write a number and a unit: 50ms, 10s, 5m.")),
    }
}

/// A number of bytes above 0.
pub fn parse_bytes(option: &str, text: &str) -> Result<u64> {
    match parse_size(text) {
        Some(bytes) if bytes > 0 => Ok(bytes),
        _ => Err(Error::user(format!("option \"{option}\" takes a size, not '{text}'"))
            .with_hint("Write a number and a unit: 64MB, 2GB.")),
    }
}

/// An address to listen on, also as the URL that is said of it; `None` for `off`.
pub fn parse_address(option: &str, text: &str) -> Result<Option<SocketAddr>> {
    if text == "off" {
        return Ok(None);
    }
    // What a program says of itself is what people paste: http://127.0.0.1:8433.
    let host_and_port = text.strip_prefix("http://").map_or(text, |rest| rest.trim_end_matches('/'));
    let address = host_and_port.to_socket_addrs().ok().and_then(|mut found| found.next());
    address.map(Some).ok_or_else(|| {
        Error::user(format!("option \"{option}\" takes an address, not '{text}'"))
            .with_hint("Write host:port, such as 127.0.0.1:5433 or 0.0.0.0:0, or 'off'.")
    })
}

fn read_file(path: &Path) -> Result<File> {
    let text = std::fs::read_to_string(path).map_err(|error| Error::io(path.display(), &error))?;
    toml::from_str(&text).map_err(|error| {
        let start = error.span().map_or(0, |span| span.start);
        let before = &text[..start.min(text.len())];
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        Error::user(format!("{}: {}", path.display(), error.message().lines().next().unwrap_or("not TOML")))
            .with_hint(
                "Keys: data, workers, pg, http, epoch, checkpoint-interval, checkpoints, retention, dead-letters-max, \
                 memory, log-format.",
            )
            .at(Position {
                file: path.display().to_string().into(),
                line: before.matches('\n').count() as u64 + 1,
                column: before[line_start..].chars().count() as u64 + 1,
                width: error.span().map_or(1, |span| span.len().max(1)) as u64,
            })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_wins_over_the_file_and_the_file_over_defaults() {
        let file: File = toml::from_str("workers = 3\npg = 'off'\nepoch = '10ms'").unwrap();
        let given = EngineOptions { workers: Some("5".into()), ..EngineOptions::default() };
        let config = Config::check(&given, file).unwrap();
        assert_eq!((config.workers, config.pg, config.epoch), (5, None, Duration::from_millis(10)));
        assert_eq!(config.http, "127.0.0.1:8433".parse().ok());
        assert_eq!(config.data, Some(PathBuf::from("./thalweg-data")));
    }

    #[test]
    fn an_address_may_be_pasted_as_the_url_that_was_said() {
        for text in ["127.0.0.1:8433", "http://127.0.0.1:8433", "http://127.0.0.1:8433/"] {
            assert_eq!(parse_address("http", text).unwrap(), "127.0.0.1:8433".parse().ok());
        }
    }

    #[test]
    fn mistakes_say_what_is_taken() {
        let check = |given: EngineOptions| Config::check(&given, File::default()).unwrap_err().message;
        assert_eq!(
            check(EngineOptions { workers: Some("0".into()), ..EngineOptions::default() }),
            "option \"workers\" takes a number from 1 to 1024, not '0'"
        );
        assert_eq!(
            check(EngineOptions { epoch: Some("50".into()), ..EngineOptions::default() }),
            "option \"epoch\" takes a length of time, not '50'"
        );
        assert_eq!(
            check(EngineOptions { pg: Some("nowhere".into()), ..EngineOptions::default() }),
            "option \"pg\" takes an address, not 'nowhere'"
        );
        let checkpoints = Some("s3://bucket".into());
        assert_eq!(
            check(EngineOptions { data: Some("off".into()), checkpoints, ..EngineOptions::default() }),
            "option \"checkpoints\" needs a folder for the epoch log, and \"data\" is off"
        );
    }

    #[test]
    fn an_unknown_key_is_an_error_with_its_place() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("thalweg.toml");
        std::fs::write(&path, "workers = 2\nworkres = 3\n").unwrap();
        let error = read_file(&path).unwrap_err();
        assert!(error.message.contains("workres"), "{error}");
        assert_eq!(error.position.map(|p| (p.line, p.column)), Some((2, 1)));
    }
}
