//! Where the epoch log and the checkpoints lie: named blobs that are written whole, and logs that are appended to.

use super::log_file::{Ahead, LogFile};
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use thalweg_schemas::error::{Error, Result};

/// A place for the state of one pipeline, used by one process at a time.
pub trait Storage: Send + Sync {
    /// The names of all there is.
    fn list(&self) -> Result<Vec<String>>;

    /// The bytes of `name`.
    fn read(&self, name: &str) -> Result<Vec<u8>>;

    /// Writes `name` whole: after a crash it is there with these bytes, or as it was before. Durable on return.
    fn write(&self, name: &str, bytes: &[u8]) -> Result<()>;

    /// Removes `name`; it need not be there.
    fn remove(&self, name: &str) -> Result<()>;

    /// A new, empty log. An older one of that name goes.
    fn create_log(&self, name: &str) -> Result<Box<dyn Log>>;

    /// Cuts a log to its first `length` bytes, durably.
    fn cut_log(&self, name: &str, length: u64) -> Result<()>;

    /// Where that is, for people.
    fn describe(&self, name: &str) -> String;

    /// Whether epochs may have left the engine that are in no checkpoint and in no log any more: where logs lie apart from
    /// checkpoints and can be lost alone.
    fn has_lost_its_log(&self) -> bool {
        false
    }
}

/// A log that is being appended to. Zeros may lie behind what was appended.
pub trait Log: Send {
    /// Appends and makes durable. After an error the log is as it was before the call.
    fn append(&mut self, bytes: &[u8]) -> Result<()>;

    /// Whether the next bytes had better go into a new log, since there is one that is written faster.
    fn is_full(&self) -> bool {
        false
    }
}

/// A folder of the local file system.
pub struct LocalFolder {
    folder: PathBuf,
    pub(super) ahead: Ahead,
}

impl LocalFolder {
    /// The folder `folder`, made if it is not there.
    pub fn open(folder: impl Into<PathBuf>) -> Result<LocalFolder> {
        let folder = folder.into();
        std::fs::create_dir_all(&folder).map_err(|e| Error::io(folder.display(), &e))?;
        Ok(LocalFolder { ahead: Ahead::new(folder.clone()), folder })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    fn sync_folder(&self) -> Result<()> {
        sync(&self.folder)
    }
}

fn sync(path: &Path) -> Result<()> {
    File::open(path).and_then(|file| file.sync_all()).map_err(|e| Error::io(path.display(), &e))
}

/// The end of names of files that are not whole yet.
const UNFINISHED: &str = ".unfinished";

impl Storage for LocalFolder {
    fn list(&self) -> Result<Vec<String>> {
        let failed = |e: std::io::Error| Error::io(self.folder.display(), &e);
        let mut names = Vec::new();
        for entry in std::fs::read_dir(&self.folder).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            if let Ok(name) = entry.file_name().into_string()
                && !name.ends_with(UNFINISHED)
            {
                names.push(name);
            }
        }
        names.sort();
        Ok(names)
    }

    fn read(&self, name: &str) -> Result<Vec<u8>> {
        std::fs::read(self.path(name)).map_err(|e| Error::io(self.path(name).display(), &e))
    }

    fn write(&self, name: &str, bytes: &[u8]) -> Result<()> {
        let (path, unfinished) = (self.path(name), self.path(&format!("{name}{UNFINISHED}")));
        let write = || -> std::io::Result<()> {
            let mut file = File::create(&unfinished)?;
            file.write_all(bytes)?;
            file.sync_all()?;
            std::fs::rename(&unfinished, &path)
        };
        write().map_err(|e| {
            // On a full disk what was begun takes the room that trying again will need.
            drop(std::fs::remove_file(&unfinished));
            Error::io(path.display(), &e)
        })?;
        self.sync_folder()
    }

    fn remove(&self, name: &str) -> Result<()> {
        match std::fs::remove_file(self.path(name)) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(Error::io(self.path(name).display(), &e)),
            _ => Ok(()),
        }
    }

    fn create_log(&self, name: &str) -> Result<Box<dyn Log>> {
        Ok(Box::new(LogFile::create(self.path(name), &self.ahead, || self.sync_folder())?))
    }

    fn cut_log(&self, name: &str, length: u64) -> Result<()> {
        let path = self.path(name);
        let cut = || -> std::io::Result<()> {
            let file = OpenOptions::new().write(true).open(&path)?;
            file.set_len(length)?;
            file.sync_all()
        };
        cut().map_err(|e| Error::io(path.display(), &e))
    }

    fn describe(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }
}
