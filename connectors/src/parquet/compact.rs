//! Many small files made one, and old ones removed: what `compact` and `retention` ask for.
//!
//! Each writer looks after the files of its own worker. Files of about one size are merged when there are [`FAN_IN`] of
//! them in a folder, so that a row is copied once for each time its file grows eightfold; at the end of a run what is
//! left small is merged too. The merged file becomes visible by a commit that names those that it replaces, which then
//! go (`commit.rs`): whatever a crash leaves of that is done by the next run.

use super::store::{Store, Stored};
use std::collections::BTreeMap;
use std::io;
use std::time::{Duration, SystemTime};

/// How many files of one size are merged.
const FAN_IN: usize = 8;
/// Files below this size are of one size.
const SMALLEST: u64 = 64 << 10;

/// The files of one writer, by folder.
#[derive(Default)]
pub(super) struct Kept {
    folders: BTreeMap<String, Vec<Stored>>,
}

/// Files of a folder that become one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Merge {
    pub folder: String,
    pub names: Vec<String>,
}

impl Kept {
    /// Those in `store` whose names begin with `prefix` and that worker `index` of `peers` looks after: its own, and
    /// those of workers that there are no more.
    pub(super) fn find(store: &dyn Store, prefix: &str, index: usize, peers: usize) -> io::Result<Kept> {
        let mut kept = Kept::default();
        for file in store.list(prefix)? {
            if worker_of(&file.name, prefix).is_some_and(|worker| worker % peers == index) {
                kept.add(file);
            }
        }
        Ok(kept)
    }

    /// One more.
    pub(super) fn add(&mut self, file: Stored) {
        self.folders.entry(file.folder.clone()).or_default().push(file);
    }

    /// Forgets files, because they are gone or cannot be merged.
    pub(super) fn forget(&mut self, folder: &str, names: &[String]) {
        if let Some(files) = self.folders.get_mut(folder) {
            files.retain(|file| !names.contains(&file.name));
            if files.is_empty() {
                self.folders.remove(folder);
            }
        }
    }

    /// What is to be merged next into a file of at most about `target` bytes; at the `end` of a run whatever is small.
    pub(super) fn due(&self, target: u64, end: bool) -> Option<Merge> {
        self.folders.iter().find_map(|(folder, files)| {
            let mut sizes: BTreeMap<u32, Vec<&Stored>> = BTreeMap::new();
            for file in files.iter().filter(|file| file.bytes < target / 2) {
                sizes.entry(if end { 0 } else { size(file.bytes) }).or_default().push(file);
            }
            let names = sizes.into_values().find_map(|files| {
                let mut bytes = 0;
                let fits = files.iter().take_while(|file| {
                    bytes += file.bytes;
                    bytes <= target
                });
                let names: Vec<String> = fits.map(|file| file.name.clone()).collect();
                let enough = if end { names.len() >= 2 } else { files.len() >= FAN_IN && names.len() >= 2 };
                enough.then_some(names)
            })?;
            Some(Merge { folder: folder.clone(), names })
        })
    }

    /// The files that were written before `now` less `retention`.
    pub(super) fn expired(&self, now: SystemTime, retention: Duration) -> Vec<Stored> {
        let Some(since) = now.checked_sub(retention) else { return Vec::new() };
        self.folders.values().flatten().filter(|file| file.modified < since).cloned().collect()
    }
}

/// Which power of eight a file's size has.
fn size(bytes: u64) -> u32 {
    (bytes / SMALLEST).checked_ilog2().map_or(0, |log| 1 + log / 3)
}

/// The worker that wrote a file, by its name: `part-SINK-RUN-WORKER-FIRST-LAST-NUMBER.parquet`.
fn worker_of(name: &str, prefix: &str) -> Option<usize> {
    let rest = name.strip_prefix(prefix)?.strip_suffix(".parquet")?;
    let parts: Vec<&str> = rest.split('-').collect();
    match parts.as_slice() {
        [_run, worker, _first, _last, _number] => worker.parse().ok(),
        _ => None,
    }
}

/// The first and the last epoch of the rows of all files, by their names.
pub(super) fn epochs_of(names: &[String]) -> Option<(u64, u64)> {
    let of = |name: &String| {
        let mut parts = name.strip_suffix(".parquet")?.rsplit('-').skip(1).map(|part| part.parse::<u64>().ok());
        let (last, first) = (parts.next()??, parts.next()??);
        Some((first, last))
    };
    names.iter().filter_map(of).reduce(|a, b| (a.0.min(b.0), a.1.max(b.1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(folder: &str, number: u64, bytes: u64) -> Stored {
        let name = format!("part-s-00-0-{number}-{}-0.parquet", number + 1);
        Stored { folder: folder.into(), name, bytes, modified: SystemTime::UNIX_EPOCH + Duration::from_secs(number) }
    }

    #[test]
    fn files_of_one_size_are_merged_when_there_are_enough() {
        let mut kept = Kept::default();
        (0..7).for_each(|number| kept.add(stored("a", number, 1_000)));
        kept.add(stored("a", 7, 10 << 20));
        kept.add(stored("b", 8, 1_000));
        assert_eq!(kept.due(128 << 20, false), None);
        kept.add(stored("a", 9, 60_000));
        let merge = kept.due(128 << 20, false).unwrap();
        assert_eq!((merge.folder.as_str(), merge.names.len()), ("a", 8));
        assert_eq!(epochs_of(&merge.names), Some((0, 10)));
        kept.forget("a", &merge.names);
        assert_eq!(kept.due(128 << 20, false), None);
        kept.add(stored("a", 11, 1_000));
        assert_eq!(kept.due(128 << 20, true).unwrap().names.len(), 2);
        // Together they would be larger than a file is to be, or are large enough already.
        assert_eq!(kept.due(11 << 20, true), None);
    }

    #[test]
    fn a_row_is_copied_seldom() {
        let (mut kept, mut copied, target) = (Kept::default(), 0, 1 << 30);
        for number in 0..4_096 {
            kept.add(stored("", number, 10_000));
            while let Some(merge) = kept.due(target, false) {
                let bytes: u64 = {
                    let files = kept.folders[""].iter().filter(|file| merge.names.contains(&file.name));
                    files.map(|file| file.bytes).sum()
                };
                copied += bytes;
                kept.forget("", &merge.names);
                kept.add(stored("", 1_000_000 + copied, bytes));
            }
        }
        assert!(kept.folders[""].len() < 40, "{} files", kept.folders[""].len());
        assert!(copied < 6 * 4_096 * 10_000, "{copied} bytes copied");
    }

    #[test]
    fn files_are_known_by_their_names() {
        assert_eq!(worker_of("part-s-00-3-10-20-0.parquet", "part-s-"), Some(3));
        assert_eq!(worker_of("part-s-00-3-10-20.parquet", "part-s-"), None);
        assert_eq!(worker_of("notes.parquet", "part-s-"), None);
    }

    #[test]
    fn what_was_written_long_ago_has_expired() {
        let mut kept = Kept::default();
        (0..5).for_each(|number| kept.add(stored("a", number, 1)));
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(12);
        let expired: Vec<u64> = kept
            .expired(now, Duration::from_secs(10))
            .iter()
            .map(|file| file.modified.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs())
            .collect();
        assert_eq!(expired, [0, 1]);
        assert_eq!(kept.expired(now, Duration::MAX), []);
    }
}
