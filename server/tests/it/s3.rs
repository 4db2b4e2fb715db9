//! Checkpoints and history in S3, against a real implementation of it and the built binary.

use crate::binary::{SERVE, Serving, run, serve_as, stderr, thalweg};
use crate::http::{rows, wait_for};
use crate::killed::{counts, kill_again_and_again, pipeline};
use crate::process::{Process, unserved};
use std::fs::OpenOptions;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// A store with the bucket `thalweg`, stopped when dropped, and when this process dies too: its script waits for the end
/// of its input.
struct Store {
    script: Child,
    /// How clients reach it.
    variables: Vec<(String, String)>,
    /// The bucket as a folder of this machine.
    bucket: PathBuf,
}

impl Store {
    /// `None`, said in the test's output, where it cannot be had.
    fn start() -> Option<Store> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/dev/s3");
        let mut script = Command::new(script).arg("run").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(script.stdout.take().unwrap()).lines().map_while(Result::ok);
        let (mut variables, mut folder) = (Vec::new(), None);
        for line in lines {
            if let Some((name, value)) = line.split_once('=') {
                variables.push((name.to_string(), value.to_string()));
            } else if let Some(dir) = line.strip_prefix("dir ") {
                folder = Some(PathBuf::from(dir));
            } else {
                break;
            }
        }
        let Some(folder) = folder else {
            println!("skipped: no S3 here");
            drop(script.wait());
            return None;
        };
        Some(Store { script, variables, bucket: folder.join("data/thalweg") })
    }

    /// The binary, as one that can reach the store.
    fn thalweg(&self, folder: &Path, arguments: &[&str]) -> Command {
        let mut command = thalweg(folder, arguments);
        command.envs(self.variables.iter().cloned());
        command
    }

    /// Runs `pipeline.sql` in `folder` without servers, with more arguments.
    fn run_unserved(&self, folder: &Path, workers: usize, arguments: &[&str]) -> Process {
        let mut command = unserved(folder, "400ms", workers);
        command.envs(self.variables.iter().cloned()).args(arguments);
        Process::start(folder, command)
    }

    /// Serves a pipeline with checkpoints in the store.
    fn serve(&self, folder: &Path, pipeline: &str) -> Serving {
        let options = ["--checkpoints", "s3://thalweg/checkpoints", "--checkpoint-interval", "200ms"];
        serve_as(folder, pipeline, self.thalweg(folder, &[&SERVE[..], &options[..]].concat()))
    }

    /// The names of all files, at any depth.
    fn files(&self) -> Vec<String> {
        let mut folders = vec![self.bucket.clone()];
        let mut files = Vec::new();
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).into_iter().flatten() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else {
                    files.push(path.strip_prefix(&self.bucket).unwrap().display().to_string());
                }
            }
        }
        files.sort();
        files
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        drop(self.script.stdin.take());
        let _ended = self.script.wait();
    }
}

#[test]
fn a_process_killed_again_and_again_leaves_every_row_once_in_s3() {
    let Some(store) = Store::start() else { return };
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("pipeline.sql"), pipeline("s3://thalweg/", 25_000, 100_000)).unwrap();
    let far = ["--checkpoints", "s3://thalweg/checkpoints"];
    let start = |workers: usize| store.run_unserved(folder.path(), workers, &far);
    let kills = kill_again_and_again(start, &store.bucket.join("raw"), 5);
    assert!(kills > 1, "only {kills} kills came before the end");
    assert_eq!(counts(&store.bucket, "ts"), ["100000 | 100000 | 100000"], "after {kills} kills");
    let left: Vec<String> = store.files().into_iter().filter(|name| !name.ends_with(".parquet")).collect();
    let marks = |name: &String| ["/.commit-", "/claim-", "/base-"].iter().any(|mark| name.contains(mark));
    assert!(left.iter().all(marks), "a run at its end leaves no state: {left:?}");
}

#[test]
fn another_machine_takes_over_and_the_history_is_there() {
    let Some(store) = Store::start() else { return };
    let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let source = tempfile::NamedTempFile::new().unwrap();
    let pipeline = format!(
        "CREATE SOURCE orders (ts TIMESTAMP NOT NULL, item TEXT, n INT)
             WITH (connector = 'file', path = '{}', format = 'json', mode = 'tail');
         CREATE MATERIALIZED VIEW per_item AS SELECT item, count(*) AS orders, sum(n) AS n FROM orders GROUP BY item;
         CREATE SINK sold FROM orders WITH
             (connector = 'parquet', path = 's3://thalweg/sold', partition_by = 'item', commit_interval = '100ms');",
        source.path().display()
    );
    let append = |from: usize, to: usize| {
        let mut file = OpenOptions::new().append(true).open(source.path()).unwrap();
        for n in from..to {
            writeln!(file, "{{\"ts\":\"2026-01-01T00:00:01\",\"item\":\"a/{}\",\"n\":{n}}}", n % 3).unwrap();
        }
    };
    append(0, 30);
    let first = store.serve(here.path(), &pipeline);
    wait_for(&first, "SELECT sum(orders) FROM per_item", "30\n");
    wait_for(&first, "SELECT written > 0 AND failed = 0 FROM thalweg.checkpoints", "true\n");
    wait_for(&first, "SELECT count(*) FROM sold", "30\n");
    let history = "SELECT item, count(*), sum(n) FROM sold GROUP BY item ORDER BY item";
    assert_eq!(rows(&first, history), "a/0,10,135\na/1,10,145\na/2,10,155\n");

    // The first machine is only thought lost.
    let second = store.serve(there.path(), &pipeline);
    append(30, 60);
    wait_for(&second, "SELECT item, orders, n FROM per_item ORDER BY item", "a/0,20,570\na/1,20,590\na/2,20,610\n");
    let (code, log) = first.finish();
    assert_eq!(code, Some(1), "{log}");
    assert!(log.contains("another process has taken over the checkpoints in s3://thalweg/checkpoints/"), "{log}");
    // Rows that both have taken in are there twice; none is missing.
    wait_for(&second, "SELECT count(DISTINCT n) FROM sold", "60\n");
    assert_eq!(second.terminate(), Some(0));
    assert!(store.files().iter().any(|name| name.starts_with("sold/item=a%2F0/part-sold-")), "{:?}", store.files());
}

#[test]
fn a_store_that_cannot_be_reached_is_said_with_what_to_check() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("pipeline.sql"), pipeline("", 1_000, 1_000)).unwrap();
    let arguments = ["run", "pipeline.sql", "--pg", "off", "--http", "off", "--checkpoints"];
    let refused = |place: &str| {
        let mut command = thalweg(folder.path(), &[&arguments[..], &[place]].concat());
        // Nobody listens on port 1.
        let variables = [("AWS_ENDPOINT_URL", "http://127.0.0.1:1"), ("AWS_ALLOW_HTTP", "true")];
        command.envs(variables).envs([("AWS_ACCESS_KEY_ID", "a"), ("AWS_SECRET_ACCESS_KEY", "b")]);
        let output = command.output().unwrap();
        (output.status.code(), stderr(&output))
    };
    let (code, told) = refused("s3://nowhere/at/all");
    assert_eq!(code, Some(2), "{told}");
    assert!(told.contains("the checkpoints in s3://nowhere/at/all cannot be reached"), "{told}");
    assert!(told.contains("AWS_ENDPOINT_URL"), "{told}");
    assert_eq!(refused("gs://bucket").0, Some(1));
    let off = run(folder.path(), &[&arguments[..], &["s3://x", "--data", "off"]].concat());
    assert!(stderr(&off).contains("option \"checkpoints\" needs a folder for the epoch log"), "{}", stderr(&off));
}

#[test]
fn files_in_s3_are_read_once_by_a_process_that_is_killed() {
    let Some(store) = Store::start() else { return };
    let folder = tempfile::tempdir().unwrap();
    let place = store.bucket.join("in/2026");
    std::fs::create_dir_all(&place).unwrap();
    const ROWS: usize = 20_000;
    for file in 0..6 {
        let line = |n: usize| format!("{{\"ts\":\"2026-01-01T00:{:02}:{:02}\",\"n\":{n}}}\n", file, n % 60);
        let text: String = (file * ROWS..(file + 1) * ROWS).map(line).collect();
        std::fs::write(place.join(format!("{file}.ndjson")), text).unwrap();
    }
    std::fs::write(place.join("_ignored.ndjson"), "this is no row").unwrap();
    let pipeline = "
        CREATE SOURCE numbers (ts TIMESTAMP NOT NULL, n BIGINT, WATERMARK FOR ts AS ts - INTERVAL '1 minute')
            WITH (connector = 'file', path = 's3://thalweg/in/**/*.ndjson', format = 'json', in_time_order = 'true');
        CREATE MATERIALIZED VIEW w AS SELECT window_start, window_end, count(*) AS n
            FROM TUMBLE(numbers, ts, INTERVAL '1 second') GROUP BY window_start, window_end;
        CREATE SINK raw FROM numbers WITH (connector = 'parquet', path = 'raw', commit_interval = '50ms');
        CREATE SINK windows FROM w WITH (connector = 'parquet', path = 'windows');";
    std::fs::write(folder.path().join("pipeline.sql"), pipeline).unwrap();
    let start = |workers: usize| store.run_unserved(folder.path(), workers, &[]);
    kill_again_and_again(start, &folder.path().join("raw"), 3);
    let all = 6 * ROWS;
    assert_eq!(counts(folder.path(), "n"), [format!("{all} | {all} | {all}")]);
}
