//! The folder in which a pipeline keeps its state: one for each pipeline, used by one process at a time.

use std::fs::{File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use thalweg_engine::durability::storage::{LocalFolder, Storage};
use thalweg_operators::plan::Dataflow;
use thalweg_pipelines::fingerprint;
use thalweg_schemas::error::{Error, Result};

/// How often a lock that somebody holds is tried again, and the pause in between.
const PATIENCE: u32 = 20;
const PAUSE: Duration = Duration::from_millis(100);

/// A locked state folder; unlocked when dropped, or by the death of the process.
pub struct StateFolder {
    folder: PathBuf,
    _lock: File,
}

impl StateFolder {
    /// The folder of `dataflow` below `data`, made if it is not there.
    pub fn open(data: &Path, dataflow: &Dataflow) -> Result<StateFolder> {
        let folder = data.join("state").join(fingerprint(dataflow));
        let failed = |error: &std::io::Error| {
            Error::io(folder.display(), error)
                .with_hint("Choose another folder with --data DIR, or keep no state with --data off.")
        };
        std::fs::create_dir_all(&folder).map_err(|error| failed(&error))?;
        let lock = folder.with_extension("lock");
        let lock = OpenOptions::new().create(true).truncate(false).write(true).open(&lock).map_err(|e| failed(&e))?;
        let mut patience = PATIENCE;
        loop {
            match lock.try_lock() {
                Ok(()) => return Ok(StateFolder { folder, _lock: lock }),
                // A process that was killed holds its lock until the last of its threads is gone.
                Err(TryLockError::WouldBlock) if patience > 0 => {
                    patience -= 1;
                    std::thread::park_timeout(PAUSE);
                }
                Err(TryLockError::WouldBlock) => {
                    return Err(Error::user(format!("{} is in use: this pipeline runs already", folder.display()))
                        .with_hint("Stop the other process, or give this one another folder with --data DIR."));
                }
                Err(TryLockError::Error(error)) => return Err(failed(&error)),
            }
        }
    }

    /// The storage in it.
    pub fn storage(&self) -> Result<Arc<dyn Storage>> {
        Ok(Arc::new(LocalFolder::open(&self.folder)?))
    }
}
