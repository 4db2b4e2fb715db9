//! A log as a file of the local file system, and the next file of the epoch log, made while the one before is written.
//!
//! All results wait for the epoch log. A file that grows has new blocks and a new length, and to make those durable the file
//! system makes durable what others wrote too: next to a Kafka broker that takes a hundred milliseconds at times. Into
//! blocks that were written before only the bytes themselves go. So the epoch log is written into files of zeros, which a
//! thread makes ahead; who reads it takes zeros behind the last record for its end.

use super::journal::is_log;
use super::storage::Log;
use crate::ledger::lock;
use std::fs::{File, OpenOptions};
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use thalweg_schemas::error::{Error, Result};

/// The name of the file that is made ahead. It is one of a log, since after a loss of power a file that had been given its
/// own name may have this one.
const AHEAD: &str = "log-ahead.twel";
/// How many zeros it holds.
const AHEAD_BYTES: usize = 1 << 20;
/// A log that was appended to so often will have another one after it.
const APPENDS_BEFORE: usize = 16;

/// The file of a folder that is made ahead, shared with the logs in it.
#[derive(Clone)]
pub(super) struct Ahead(Arc<Maker>);

struct Maker {
    folder: PathBuf,
    work: Mutex<Work>,
}

#[derive(Default)]
struct Work {
    /// The thread that makes the file.
    thread: Option<JoinHandle<std::io::Result<File>>>,
    made: Option<File>,
}

impl Ahead {
    pub fn new(folder: PathBuf) -> Ahead {
        Ahead(Arc::new(Maker { folder, work: Mutex::default() }))
    }

    /// Whether the next file is there.
    fn is_made(&self) -> bool {
        let mut work = lock(&self.0.work);
        work.look();
        work.made.is_some()
    }

    /// Gives the next file the name `path`, if it is there.
    fn take(&self, path: &Path) -> Option<File> {
        let mut work = lock(&self.0.work);
        work.look();
        let file = work.made.take()?;
        // That name becomes durable when the next one is made: until then a loss of power may leave it the other.
        std::fs::rename(self.0.folder.join(AHEAD), path).ok()?;
        Some(file)
    }

    /// Begins to make the next file, unless it is there. What cannot be made is not missed: logs grow then.
    fn make(&self) {
        let mut work = lock(&self.0.work);
        work.look();
        if work.thread.is_none() && work.made.is_none() {
            let folder = self.0.folder.clone();
            let thread = std::thread::Builder::new().name("epoch log ahead".to_string());
            work.thread = thread.spawn(move || make(&folder)).ok();
        }
    }
}

impl Work {
    /// Takes note of a thread that has ended.
    fn look(&mut self) {
        if let Some(thread) = self.thread.take_if(|thread| thread.is_finished())
            && let Ok(Ok(file)) = thread.join()
        {
            self.made = Some(file);
        }
    }
}

impl Drop for Maker {
    fn drop(&mut self) {
        let work = self.work.get_mut().unwrap_or_else(PoisonError::into_inner);
        let made = work.thread.take().map(JoinHandle::join);
        if work.made.is_some() || matches!(made, Some(Ok(Ok(_)))) {
            // Who finds it sees that it holds nothing, but need not.
            drop(std::fs::remove_file(self.folder.join(AHEAD)));
        }
    }
}

fn make(folder: &Path) -> std::io::Result<File> {
    let sync_folder = || File::open(folder).and_then(|folder| folder.sync_all());
    sync_folder()?;
    // One that is there holds records, under the name that a loss of power left it.
    let mut file = OpenOptions::new().create_new(true).write(true).open(folder.join(AHEAD))?;
    let made = file.write_all(&vec![0; AHEAD_BYTES]).and_then(|()| {
        file.sync_all()?;
        sync_folder()?;
        file.seek(SeekFrom::Start(0))
    });
    match made {
        Ok(_) => Ok(file),
        Err(error) => {
            // On a full disk it takes the room that others need.
            drop(std::fs::remove_file(folder.join(AHEAD)));
            Err(error)
        }
    }
}

/// A log that is being appended to.
pub(super) struct LogFile {
    file: File,
    path: PathBuf,
    /// How many bytes were appended.
    length: usize,
    /// How many bytes the file has, if these are more.
    zeros_until: usize,
    appends: usize,
    /// Where the file after this one is made; `None`: nobody waits for this one, so that it may grow.
    ahead: Option<Ahead>,
}

impl LogFile {
    /// The log at `path`, empty; `sync_folder` makes its name durable.
    pub fn create(path: PathBuf, ahead: &Ahead, sync_folder: impl Fn() -> Result<()>) -> Result<LogFile> {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let ahead = is_log(&name).then(|| ahead.clone());
        let (file, zeros_until) = match ahead.as_ref().and_then(|ahead| ahead.take(&path)) {
            Some(file) => (file, AHEAD_BYTES),
            None => {
                let file = OpenOptions::new().create(true).write(true).truncate(true).open(&path);
                let file = file.map_err(|e| Error::io(path.display(), &e))?;
                sync_folder()?;
                (file, 0)
            }
        };
        Ok(LogFile { file, path, length: 0, zeros_until, appends: 0, ahead })
    }

    /// Cuts the file to what was appended, and goes on there.
    fn cut(&mut self) -> std::io::Result<()> {
        self.zeros_until = 0;
        self.file.set_len(self.length as u64)?;
        self.file.seek(SeekFrom::Start(self.length as u64)).map(drop)
    }
}

impl Log for LogFile {
    fn append(&mut self, bytes: &[u8]) -> Result<()> {
        let appended = self.file.write_all(bytes).and_then(|()| self.file.sync_data());
        if let Err(error) = appended {
            // Half a record must not lie before the next one.
            return Err(match self.cut() {
                Ok(()) => Error::retry(format!("{}: {error}", self.path.display())),
                Err(_) => Error::io(self.path.display(), &error),
            });
        }
        self.length += bytes.len();
        self.appends += 1;
        if let Some(ahead) = self.ahead.as_ref().filter(|_| self.appends == APPENDS_BEFORE) {
            ahead.make();
        }
        Ok(())
    }

    fn is_full(&self) -> bool {
        self.length >= self.zeros_until && self.ahead.as_ref().is_some_and(Ahead::is_made)
    }
}

impl Drop for LogFile {
    fn drop(&mut self) {
        // Zeros are no records: room is all that is gained.
        if self.length < self.zeros_until {
            drop(self.cut());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::storage::{LocalFolder, Storage};
    use super::*;

    #[test]
    fn a_log_is_what_was_appended_and_zeros_behind_it() {
        let place = tempfile::tempdir().unwrap();
        let folder = LocalFolder::open(place.path()).unwrap();
        let mut filled = Vec::new();
        for number in 1..=4 {
            let name = format!("log-{number}.twel");
            let mut log = folder.create_log(&name).unwrap();
            let (mut appended, mut longest) = (Vec::new(), 0);
            // The first grows until the second is made; the others are left when they are full of records.
            while !log.is_full() {
                let bytes = vec![1 + appended.len() as u8 % 7; 20_000];
                log.append(&bytes).unwrap();
                appended.extend(bytes);
                let found = folder.read(&name).unwrap();
                let (own, behind) = found.split_at(appended.len());
                assert!(own == appended && behind.iter().all(|zero| *zero == 0));
                longest = longest.max(behind.len());
            }
            assert_eq!(longest > 0, number > 1, "{name}");
            assert!(appended.len() >= if number > 1 { AHEAD_BYTES } else { 20_000 * APPENDS_BEFORE });
            drop(log);
            assert!(folder.read(&name).unwrap() == appended, "{name}");
            filled.push(name);
        }
        drop(folder);
        let folder = LocalFolder::open(place.path()).unwrap();
        assert_eq!(folder.list().unwrap(), filled);
        assert!(!folder.create_log("letters").unwrap().is_full());
    }
}
