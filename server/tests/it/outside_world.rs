//! Faults of the world outside, against the built binary: what vanishes, what may not be read, a disk that is full. Each
//! is told with its reason, and nothing else is lost.

use crate::binary::{SERVE, serve, serve_as, stderr, thalweg};
use crate::http::{rows, wait_for};
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// Reads a folder to its end, and stays up by a second source to be asked.
const FOLDER: &str = "
CREATE SOURCE readings (ts TIMESTAMP NOT NULL, sensor TEXT, n INT, WATERMARK FOR ts AS ts)
WITH (connector = 'file', path = 'data/*.ndjson', format = 'json');
CREATE SOURCE more (ts TIMESTAMP NOT NULL) WITH (connector = 'file', path = 'more.ndjson', format = 'json', mode = 'tail');
CREATE MATERIALIZED VIEW good AS SELECT sensor, n FROM readings;
CREATE MATERIALIZED VIEW others AS SELECT ts FROM more;
";

fn line(sensor: &str, n: usize) -> String {
    format!("{{\"ts\":\"2026-01-01T00:00:01\",\"sensor\":\"{sensor}\",\"n\":{n}}}\n")
}

#[test]
fn a_file_that_vanishes_while_its_folder_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    fs::create_dir(&data).unwrap();
    // Whoever opens a named pipe waits for its other end: the run has listed the folder, and has read nothing behind it.
    let gate = data.join("2-gate.ndjson");
    assert!(Command::new("mkfifo").arg(&gate).status().unwrap().success());
    fs::write(data.join("1.ndjson"), line("first", 1)).unwrap();
    fs::write(data.join("3.ndjson"), line("vanished", 3)).unwrap();
    fs::write(data.join("4.ndjson"), line("last", 4)).unwrap();
    let serving = serve(folder.path(), FOLDER);
    fs::remove_file(data.join("3.ndjson")).unwrap();
    drop(OpenOptions::new().write(true).open(&gate).unwrap());

    wait_for(&serving, "SELECT state FROM thalweg.sources WHERE name = 'readings'", "ended\n");
    wait_for(&serving, "SELECT sensor, n FROM good ORDER BY n", "first,1\nlast,4\n");
    let books = "SELECT rows_in, rows_out, dead FROM thalweg.sources WHERE name = 'readings'";
    assert_eq!(rows(&serving, books), "2,2,0\n");
    let told = rows(&serving, "SELECT partition, reason FROM thalweg.dead_letters ORDER BY partition");
    let told: Vec<&str> = told.lines().collect();
    assert_eq!(told[0], "data/2-gate.ndjson,this is not a regular file");
    assert_eq!(told[1], "data/3.ndjson,the file cannot be opened: No such file or directory (os error 2)");
}

/// The binary as a user who may not read everything; `None`, with a line, where that cannot be had.
fn ordinary(folder: &Path, arguments: &[&str]) -> Option<Command> {
    let command = thalweg(folder, arguments);
    let forbidden = folder.join("forbidden");
    fs::write(&forbidden, "").unwrap();
    fs::set_permissions(&forbidden, Permissions::from_mode(0o0)).unwrap();
    if File::open(&forbidden).is_err() {
        return Some(command);
    }
    // Root without the power to override permissions.
    let mut lesser = Command::new("setpriv");
    lesser.arg("--bounding-set=-dac_override,-dac_read_search");
    let mut probe = Command::new("setpriv");
    probe.args(lesser.get_args()).arg("cat").arg(&forbidden).stdout(Stdio::null()).stderr(Stdio::piped());
    if !probe.output().is_ok_and(|output| stderr(&output).contains("Permission denied")) {
        eprintln!("skipped: as root, permissions are not asked, and setpriv cannot change that");
        return None;
    }
    lesser.arg(command.get_program()).args(command.get_args()).current_dir(folder).stdin(Stdio::null());
    for (name, _) in command.get_envs().filter(|(_, value)| value.is_none()) {
        lesser.env_remove(name);
    }
    Some(lesser)
}

#[test]
fn a_file_that_may_not_be_read() {
    let folder = tempfile::tempdir().unwrap();
    let Some(command) = ordinary(folder.path(), &SERVE) else { return };
    let data = folder.path().join("data");
    fs::create_dir(&data).unwrap();
    for (name, sensor) in [("1.ndjson", "first"), ("2.ndjson", "secret"), ("3.ndjson", "last")] {
        fs::write(data.join(name), line(sensor, 1)).unwrap();
    }
    fs::set_permissions(data.join("2.ndjson"), Permissions::from_mode(0o0)).unwrap();
    let serving = serve_as(folder.path(), FOLDER, command);
    wait_for(&serving, "SELECT state FROM thalweg.sources WHERE name = 'readings'", "ended\n");
    wait_for(&serving, "SELECT sensor FROM good ORDER BY sensor", "first\nlast\n");
    let books = "SELECT rows_in, rows_out, dead FROM thalweg.sources WHERE name = 'readings'";
    assert_eq!(rows(&serving, books), "2,2,0\n");
    assert_eq!(
        rows(&serving, "SELECT partition, reason FROM thalweg.dead_letters"),
        "data/2.ndjson,the file cannot be opened: Permission denied (os error 13)\n"
    );
}

#[test]
fn a_folder_that_may_not_be_read() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    fs::create_dir(&data).unwrap();
    fs::write(data.join("1.ndjson"), line("secret", 1)).unwrap();
    for path in ["data/*.ndjson", "data", "data/1.ndjson"] {
        let Some(mut command) = ordinary(folder.path(), &["run", "p.sql", "--pg", "off", "--http", "off"]) else {
            return;
        };
        fs::set_permissions(&data, Permissions::from_mode(0o0)).unwrap();
        let pipeline = format!(
            "CREATE SOURCE readings (ts TIMESTAMP NOT NULL, n INT) WITH (connector = 'file', path = '{path}', format = 'json');\n\
             CREATE MATERIALIZED VIEW good AS SELECT n FROM readings;\n"
        );
        fs::write(folder.path().join("p.sql"), pipeline).unwrap();
        let output = command.output().unwrap();
        fs::set_permissions(&data, Permissions::from_mode(0o755)).unwrap();
        let told = stderr(&output);
        if path == "data/1.ndjson" {
            // A file by its name: nothing can be known about it but that it may not be opened.
            assert!(told.contains("Permission denied") && told.contains("partition=data/1.ndjson"), "{path}: {told}");
        } else {
            assert_ne!(output.status.code(), Some(0), "{path}: {told}");
            assert!(told.contains("data") && told.contains("ermission denied"), "{path}: {told}");
        }
    }
}

/// A disk of a quarter of a megabyte: a tmpfs in the mount namespace of a process that holds it until this is dropped.
struct SmallDisk {
    holder: Child,
    folder: PathBuf,
}

impl SmallDisk {
    /// `None`, with a line, where it cannot be had.
    fn mount(at: &Path) -> Option<SmallDisk> {
        let mount = format!("mount -t tmpfs -o size=4m none '{}' && echo mounted && exec cat", at.display());
        let mut unshare = Command::new("unshare");
        unshare.args(["-m", "sh", "-c", &mount]);
        let held = unshare.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
        let Ok(holder) = held else {
            eprintln!("skipped: unshare is not installed");
            return None;
        };
        // Processes of other namespaces reach it through its holder.
        let folder = PathBuf::from(format!("/proc/{}/root{}", holder.id(), at.display()));
        let mut disk = SmallDisk { holder, folder };
        let mut told = String::new();
        BufReader::new(disk.holder.stdout.as_mut().unwrap()).read_line(&mut told).unwrap();
        if told != "mounted\n" {
            eprintln!("skipped: a tmpfs cannot be mounted here");
            return None;
        }
        Some(disk)
    }

    /// Fills it but for `free` bytes; removing the file that is the answer frees it.
    fn fill(&self, free: u64) -> PathBuf {
        let path = self.folder.join("filler");
        let mut file = File::create(&path).unwrap();
        while file.write_all(&[1; 4096]).is_ok() {}
        file.set_len(file.metadata().unwrap().len() - free).unwrap();
        path
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _gone = self.holder.kill();
        let _reaped = self.holder.wait();
    }
}

const ROWS: usize = 2_000;

/// A bounded run into a sink on a full disk, until space is freed; the folder of the sink goes to `check`.
fn under_a_full_disk(options: &str, check: impl FnOnce(&Path)) {
    let folder = tempfile::tempdir().unwrap();
    let mount_point = folder.path().join("disk");
    fs::create_dir(&mount_point).unwrap();
    let Some(disk) = SmallDisk::mount(&mount_point) else { return };
    let mut text: String = (0..ROWS).map(|n| line(&format!("sensor-{:x}", n * 2_654_435_761), n)).collect();
    text.push_str("this is not a reading\n");
    fs::write(folder.path().join("readings.ndjson"), text).unwrap();
    let out = disk.folder.join("out");
    let pipeline = format!(
        "CREATE SOURCE readings (ts TIMESTAMP NOT NULL, sensor TEXT, n INT, WATERMARK FOR ts AS ts)
         WITH (connector = 'file', path = 'readings.ndjson', format = 'json');
         CREATE MATERIALIZED VIEW good AS SELECT ts, sensor, n FROM readings;
         CREATE SINK kept FROM good WITH ({});",
        options.replace("OUT", &out.display().to_string())
    );
    let filler = disk.fill(8 << 10);
    let serving = serve(folder.path(), &pipeline);
    wait_for(&serving, "SELECT retries > 1 FROM thalweg.sinks", "true\n");
    let told = rows(&serving, "SELECT last_error FROM thalweg.sinks");
    assert!(told.contains("No space left on device"), "{told}");
    wait_for(&serving, "SELECT rows_in, rows_out, dead FROM thalweg.sources", &format!("{},{ROWS},1\n", ROWS + 1));
    wait_for(&serving, "SELECT count(*) FROM good", &format!("{ROWS}\n"));
    fs::remove_file(filler).unwrap();
    let (code, log) = serving.finish();
    assert_eq!(code, Some(0), "{log}");
    assert!(log.contains("sink=kept") && log.contains("No space left on device"), "{log}");
    assert!(log.contains("done: 2,001 rows in"), "{log}");
    assert!(log.contains("2,000 rows to sinks, 0 late, 1 dead"), "{log}");
    check(&out);
}

#[test]
fn a_full_disk_under_a_file() {
    under_a_full_disk("connector = 'file', path = 'OUT/good.csv', format = 'csv'", |out| {
        let mut text = String::new();
        File::open(out.join("good.csv")).unwrap().read_to_string(&mut text).unwrap();
        let mut found: Vec<usize> =
            text.lines().skip(1).map(|line| line.rsplit_once(',').unwrap().1.parse().unwrap()).collect();
        found.sort_unstable();
        assert_eq!(found, (0..ROWS).collect::<Vec<_>>());
    });
}

#[test]
fn a_full_disk_under_parquet() {
    under_a_full_disk("connector = 'parquet', path = 'OUT'", |out| {
        let names = fs::read_dir(out).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let whole =
            |name: String| name.ends_with(".parquet") || (name.starts_with(".commit-") && !name.ends_with(".new"));
        assert!(names.into_iter().all(whole), "something half written was left behind");
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let context = datafusion::prelude::SessionContext::new();
        let batches = runtime.block_on(async {
            let options = datafusion::prelude::ParquetReadOptions::default();
            context.register_parquet("kept", out.to_str().unwrap(), options).await.unwrap();
            let query = "SELECT count(*), count(DISTINCT n), sum(n) FROM kept";
            context.sql(query).await.unwrap().collect().await.unwrap()
        });
        let shown = arrow::util::pretty::pretty_format_batches(&batches).unwrap().to_string();
        let expected = format!("| {ROWS}     | {ROWS}              | {}     |", ROWS * (ROWS - 1) / 2);
        let squeezed = |text: &str| text.split_whitespace().collect::<String>();
        assert!(squeezed(&shown).contains(&squeezed(&expected)), "{shown}");
    });
}

#[test]
fn a_full_disk_under_the_state() {
    let folder = tempfile::tempdir().unwrap();
    let mount_point = folder.path().join("disk");
    fs::create_dir(&mount_point).unwrap();
    let Some(disk) = SmallDisk::mount(&mount_point) else { return };
    let filler = disk.fill(16 << 10);
    let mut command = thalweg(folder.path(), &SERVE);
    command.arg("--data").arg(disk.folder.join("state")).args(["--checkpoint-interval", "200ms"]);
    let serving = serve_as(
        folder.path(),
        "CREATE SOURCE g WITH (connector = 'generator', kind = 'telemetry', rate = '20000', rows = '60000', seed = '7');
         CREATE MATERIALIZED VIEW counted AS SELECT host, service, count(*) AS n FROM g GROUP BY host, service;
         CREATE SINK kept FROM g WITH (connector = 'file', path = 'kept.csv', format = 'csv');",
        command,
    );
    wait_for(&serving, "SELECT failed > 0 FROM thalweg.checkpoints", "true\n");
    fs::remove_file(filler).unwrap();
    let (code, log) = serving.finish();
    assert_eq!(code, Some(0), "{log}");
    assert!(log.contains("No space left on device"), "{log}");
    assert!(log.contains("done: 60,000 rows in"), "{log}");
    let kept = fs::read_to_string(folder.path().join("kept.csv")).unwrap();
    assert_eq!(kept.lines().skip(1).collect::<std::collections::BTreeSet<_>>().len(), 60_000);
    assert_eq!(kept.lines().count(), 60_001);
}
