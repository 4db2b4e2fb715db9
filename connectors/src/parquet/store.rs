//! Putting files where readers find them, in steps that a crash may come between; `commit.rs` says in which order.

use bytes::Bytes;
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// How files in the making are called.
const TEMPORARY: &str = ".tmp-";

/// Where complete files go. What a call has done before it answers survives a crash of the machine.
pub(super) trait Store: Send + Sync {
    /// Keeps `bytes` in `folder` (below the root) under a name that no reader looks at. After an error there is no such
    /// file.
    fn stage(&self, folder: &str, hidden: &str, bytes: &Bytes) -> io::Result<()>;

    /// Gives a staged file its name. If it has it already, that is fine.
    fn publish(&self, folder: &str, hidden: &str, name: &str) -> io::Result<()>;

    /// Replaces the record `name`, whole or not at all.
    fn record(&self, name: &str, text: &str) -> io::Result<()>;

    /// The records whose names begin with `prefix`, and what they say.
    fn records(&self, prefix: &str) -> io::Result<Vec<(String, String)>>;

    /// The complete files whose names begin with `prefix`.
    fn list(&self, prefix: &str) -> io::Result<Vec<Stored>>;

    /// The bytes of a complete file.
    fn read(&self, folder: &str, name: &str) -> io::Result<Bytes>;

    /// Removes a complete file; it need not be there.
    fn remove(&self, folder: &str, name: &str) -> io::Result<()>;

    /// Removes a record.
    fn forget(&self, name: &str) -> io::Result<()>;

    /// Removes what runs before this one left unfinished, see [`is_leftover`]. Their last commits have been published by
    /// then.
    fn clean(&self, prefix: &str, own: &str) -> io::Result<()>;
}

/// A complete file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stored {
    /// The folder below the root.
    pub folder: String,
    pub name: String,
    pub bytes: u64,
    /// When it was written.
    pub modified: SystemTime,
}

/// A folder of this machine.
pub(super) struct Disk {
    pub root: PathBuf,
}

impl Store for Disk {
    fn stage(&self, folder: &str, hidden: &str, bytes: &Bytes) -> io::Result<()> {
        let folder = self.root.join(folder);
        self.make(&folder)?;
        let path = folder.join(hidden);
        if let Err(error) = write(&path, bytes) {
            // What is left of it takes room that may be missing; if it cannot go now, the next run removes it.
            drop(std::fs::remove_file(&path));
            return Err(error);
        }
        sync(&folder)
    }

    fn publish(&self, folder: &str, hidden: &str, name: &str) -> io::Result<()> {
        let folder = self.root.join(folder);
        match std::fs::rename(folder.join(hidden), folder.join(name)) {
            // It has its name, and may have been taken away under it since.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
            Ok(()) => sync(&folder),
        }
    }

    fn record(&self, name: &str, text: &str) -> io::Result<()> {
        let temporary = self.root.join(format!("{name}.new"));
        let written = write(&temporary, text.as_bytes());
        if let Err(error) = written.and_then(|()| std::fs::rename(&temporary, self.root.join(name))) {
            drop(std::fs::remove_file(&temporary));
            return Err(error);
        }
        sync(&self.root)
    }

    fn records(&self, prefix: &str) -> io::Result<Vec<(String, String)>> {
        let mut records = Vec::new();
        for entry in std::fs::read_dir(&self.root)? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            if name.starts_with(prefix) && !name.ends_with(".new") {
                records.push((name.clone(), std::fs::read_to_string(self.root.join(name))?));
            }
        }
        records.sort();
        Ok(records)
    }

    fn list(&self, prefix: &str) -> io::Result<Vec<Stored>> {
        let mut found = Vec::new();
        list(&self.root, "", prefix, &mut found)?;
        Ok(found)
    }

    fn read(&self, folder: &str, name: &str) -> io::Result<Bytes> {
        std::fs::read(self.root.join(folder).join(name)).map(Bytes::from)
    }

    fn remove(&self, folder: &str, name: &str) -> io::Result<()> {
        let folder = self.root.join(folder);
        // A folder that is empty then stays: somebody may be about to write to it.
        match std::fs::remove_file(folder.join(name)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
            Ok(()) => sync(&folder),
        }
    }

    fn forget(&self, name: &str) -> io::Result<()> {
        std::fs::remove_file(self.root.join(name))?;
        sync(&self.root)
    }

    fn clean(&self, prefix: &str, own: &str) -> io::Result<()> {
        clean(&self.root, prefix, own)
    }
}

/// What a file is called in the making. DuckDB's `*` takes hidden files too, but then asks for `.parquet`.
pub(super) fn temporary(name: &str) -> String {
    format!("{TEMPORARY}{}", name.trim_end_matches(".parquet"))
}

impl Disk {
    /// Makes `folder`, and sees to it that the names of new folders are on the disk before a file in them is.
    fn make(&self, folder: &Path) -> io::Result<()> {
        if folder.is_dir() {
            return Ok(());
        }
        std::fs::create_dir_all(folder)?;
        folder.ancestors().skip(1).take_while(|above| above.starts_with(&self.root)).try_for_each(sync)
    }
}

fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

fn sync(folder: &Path) -> io::Result<()> {
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    File::open(folder)?.sync_all()
}

fn list(root: &Path, below: &str, prefix: &str, found: &mut Vec<Stored>) -> io::Result<()> {
    for entry in std::fs::read_dir(root.join(below))? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if entry.file_type()?.is_dir() {
            let below = if below.is_empty() { name } else { format!("{below}/{name}") };
            list(root, &below, prefix, found)?;
        } else if name.starts_with(prefix) {
            let meta = entry.metadata()?;
            found.push(Stored { folder: below.to_string(), name, bytes: meta.len(), modified: meta.modified()? });
        }
    }
    Ok(())
}

fn clean(folder: &Path, prefix: &str, own: &str) -> io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            clean(&entry.path(), prefix, own)?;
        } else if entry.file_name().to_str().is_some_and(|name| is_leftover(name, prefix, own)) {
            tracing::info!(file = %entry.path().display(), "removed a file that an earlier run left unfinished");
            std::fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// Whether a file in the making is of a run before this one: its name begins with `prefix` and comes before `own`.
pub(super) fn is_leftover(name: &str, prefix: &str, own: &str) -> bool {
    name.strip_prefix(TEMPORARY).is_some_and(|name| name.starts_with(prefix) && name < own)
}

#[cfg(test)]
mod tests {
    use super::temporary;

    #[test]
    fn no_pattern_for_parquet_files_finds_one_in_the_making() {
        assert_eq!(temporary("part-latency-0-1.parquet"), ".tmp-part-latency-0-1");
    }
}
