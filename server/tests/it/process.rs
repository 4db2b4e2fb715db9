//! The built binary as a process that tests stop, kill and start again over the same state; what it says is kept beside that.

use crate::binary::thalweg;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// A process; killed when dropped.
pub struct Process {
    child: Child,
    log: PathBuf,
}

/// `pipeline.sql` in `folder`, run without servers.
pub fn unserved(folder: &Path, checkpoint_interval: &str, workers: usize) -> Command {
    let arguments =
        ["run", "pipeline.sql", "--pg", "off", "--http", "off", "--checkpoint-interval", checkpoint_interval];
    thalweg(folder, &[&arguments[..], &["--workers", &workers.to_string()]].concat())
}

impl Process {
    /// Starts it; what it says is appended to `log` in `folder`.
    pub fn start(folder: &Path, mut command: Command) -> Process {
        let log = folder.join("log");
        let file = std::fs::OpenOptions::new().create(true).append(true).open(&log).unwrap();
        Process { child: command.stdout(Stdio::null()).stderr(file).spawn().unwrap(), log }
    }

    /// How it has ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    /// Waits until it has ended (true) or `condition` holds (false).
    pub fn ends_before(&mut self, what: &str, mut condition: impl FnMut() -> bool) -> bool {
        let mut has_ended = false;
        wait(what, || {
            has_ended = self.ended().is_some();
            has_ended || condition()
        });
        has_ended
    }

    /// Waits for its end, which is a good one.
    pub fn finish(mut self) {
        let status = self.child.wait().unwrap();
        assert!(status.success(), "{status}: {}", self.log());
    }

    /// Sends a signal, such as `-STOP`.
    pub fn signal(&self, signal: &str) {
        assert!(Command::new("kill").args([signal, &self.child.id().to_string()]).status().unwrap().success());
    }

    /// Kills it.
    pub fn kill(&mut self) {
        let _gone = self.child.kill();
        let _reaped = self.child.wait();
    }

    /// What it said, and those before it.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Waits until `condition` holds; otherwise `what` is wrong.
pub fn wait(what: &str, mut condition: impl FnMut() -> bool) {
    #[allow(clippy::disallowed_methods, reason = "a deadline for a test that would hang")]
    let began = Instant::now();
    while !condition() {
        assert!(began.elapsed() < Duration::from_secs(300), "{what} within five minutes");
        std::thread::park_timeout(Duration::from_millis(2));
    }
}

/// Lets time pass: the moment of a kill, or how long something is away.
pub fn pass(time: Duration) {
    let (_keep, never) = std::sync::mpsc::channel::<()>();
    let _ = never.recv_timeout(time);
}

/// A number that the environment may say.
pub fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).ok().map_or(default, |value| value.parse().unwrap())
}
