//! The folder in which a pipeline keeps its state: one for each, over all its changes, used by one process at a time.
//!
//! A folder is found by what its newest checkpoint says: it is of this program as it is, or of one that came from the same
//! paths. It is named after the first program that used it, and sinks know its writers by that name. Its checkpoints may
//! lie elsewhere (`checkpoint_place.rs`), below the same name.

use crate::checkpoint_place::CheckpointPlace;
use std::collections::BTreeSet;
use std::fs::{File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use thalweg_engine::deployment::{Archives, Place};
use thalweg_engine::durability::standing::standing;
use thalweg_engine::durability::storage::{LocalFolder, Storage};
use thalweg_operators::deployed::Standing;
use thalweg_operators::plan::Dataflow;
use thalweg_pipelines::fingerprint;
use thalweg_pipelines::redeploy::compare;
use thalweg_schemas::error::{Error, Result};

/// How often a lock that somebody holds is tried again, and the pause in between.
const PATIENCE: u32 = 20;
const PAUSE: Duration = Duration::from_millis(100);

/// The folder of all pipelines' dead letters.
const DEAD_LETTERS: &str = "dead-letters";

/// Finds the folder below `data` of the pipeline from `paths` that is `dataflow` now; a new one where there is none. One
/// whose checkpoints are in `place` need not be there.
pub fn find(data: &Path, place: Option<&CheckpointPlace>, dataflow: &Dataflow, paths: &[String]) -> Result<PathBuf> {
    let all = data.join("state");
    let mut found = None;
    let mut folders: BTreeSet<PathBuf> = match std::fs::read_dir(&all) {
        Ok(entries) => entries.filter_map(|entry| Some(entry.ok()?.path())).filter(|path| path.is_dir()).collect(),
        Err(_) => BTreeSet::new(),
    };
    if let Some(place) = place {
        folders.extend(place.lineages()?.into_iter().map(|lineage| all.join(lineage)));
    }
    for folder in &folders {
        let Some(standing) = look(folder, place)? else { continue };
        let same_paths = !paths.is_empty() && standing.deployed.paths == paths;
        let same_program = !compare(dataflow, &standing).changed;
        let rank = (same_program, same_paths, standing.time_ns);
        if (same_program || same_paths) && found.as_ref().is_none_or(|(best, _)| *best < rank) {
            found = Some((rank, folder.clone()));
        }
    }
    if let Some((_, folder)) = found {
        return Ok(folder);
    }
    let name = fingerprint(dataflow);
    // The folder of that name may have come into the hands of another program meanwhile.
    let named = |n: u32| all.join(if n == 1 { name.clone() } else { format!("{name}-{n}") });
    let mut n = 1;
    while look(&named(n), place)?.is_some() {
        n += 1;
    }
    Ok(named(n))
}

/// The state in `folder`, with checkpoints in `place` if there is one; `None` where there is no state.
pub fn look(folder: &Path, place: Option<&CheckpointPlace>) -> Result<Option<Standing>> {
    match place {
        Some(place) => standing(&place.look(folder)?),
        None if folder.is_dir() => standing(&LocalFolder::open(folder)?),
        None => Ok(None),
    }
}

/// A name for a folder that no other one has, on whatever machine.
fn new_owner() -> String {
    #[expect(clippy::disallowed_methods, reason = "names of folders must differ from machine to machine")]
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    format!("{:x}-{:x}", now.as_nanos(), std::process::id())
}

/// A locked state folder; unlocked when dropped, or by the death of the process.
pub struct StateFolder {
    folder: PathBuf,
    /// The folder that all pipelines share.
    data: PathBuf,
    _lock: File,
}

impl StateFolder {
    /// Locks `folder` below `data`, made if it is not there.
    pub fn open(data: &Path, folder: PathBuf) -> Result<StateFolder> {
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
                Ok(()) => return Ok(StateFolder { folder, data: data.to_path_buf(), _lock: lock }),
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

    /// The storage in it, with checkpoints in `place` if there is one, which is known as `url`.
    pub fn storage(&self, place: Option<(&CheckpointPlace, &str)>) -> Result<Arc<dyn Storage>> {
        // Beside the folder, which is removed from within.
        let note = self.folder.with_extension("checkpoints");
        let failed = |error: &std::io::Error| Error::io(note.display(), error);
        let noted = match std::fs::read_to_string(&note) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            noted => Some(noted.map_err(|error| failed(&error))?),
        };
        let noted = noted.as_deref().and_then(|noted| noted.trim_end().split_once(' '));
        let Some((place, url)) = place else {
            return match noted {
                None => Ok(Arc::new(LocalFolder::open(&self.folder)?)),
                Some((_, url)) => Err(Error::user(format!("the checkpoints of this pipeline are in {url}"))
                    .with_hint(format!("Give --checkpoints {url}; or remove {} to begin anew.", note.display()))),
            };
        };
        let owner = noted.map_or_else(new_owner, |(owner, _)| owner.to_string());
        std::fs::write(&note, format!("{owner} {url}\n")).map_err(|error| failed(&error))?;
        Ok(Arc::new(place.claim(&self.folder, &owner)?))
    }

    /// Where its notifications keep what they remember: apart, since that outlives a run that has come to its end.
    pub fn notifications(&self) -> PathBuf {
        let data = self.folder.parent().and_then(Path::parent).unwrap_or(&self.folder);
        data.join("notifications").join(self.lineage())
    }

    /// Its name, which stays while the pipeline changes.
    pub fn lineage(&self) -> String {
        self.folder.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
    }

    /// Where what is rejected is kept: outside of the state, because it outlives a change of the pipeline.
    pub fn archives(&self) -> Result<Archives> {
        let own = self.lineage();
        let place = |archive: &str, lineage: &str| -> Result<Place> {
            let storage = LocalFolder::open(self.data.join(archive).join(lineage))?;
            Ok(Place { lineage: lineage.into(), storage: Arc::new(storage) })
        };
        let dead = place(DEAD_LETTERS, &own)?;
        let folder = self.data.join(DEAD_LETTERS);
        let failed = |error: &std::io::Error| Error::io(folder.display(), error);
        let mut others = Vec::new();
        for entry in std::fs::read_dir(&folder).map_err(|e| failed(&e))? {
            let name = entry.map_err(|e| failed(&e))?.file_name();
            match name.to_str() {
                Some(lineage) if lineage != own => others.push(place(DEAD_LETTERS, lineage)?),
                _ => {}
            }
        }
        Ok(Archives { dead, others, late: place("late-rows", &own)? })
    }
}
