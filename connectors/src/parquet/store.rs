//! Putting a file where readers find it: whole, or not at all.
//!
//! ```text
//!   write  folder/.tmp-part-1         readers leave out names that begin with a dot, or do not end in .parquet
//!   fsync  folder/.tmp-part-1         its bytes are on the disk
//!   rename folder/.tmp-part-1 -> folder/part-1.parquet
//!   fsync  folder                     and so is its name
//! ```

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// How files in the making are called.
const TEMPORARY: &str = ".tmp-";

/// Where complete files go.
pub(super) trait Store: Send + Sync {
    /// Makes `bytes` the contents of the new file `name` in `folder` (below the root). After an error there is no such
    /// file.
    fn put(&self, folder: &str, name: &str, bytes: &[u8]) -> io::Result<()>;
}

/// A folder of this machine.
pub(super) struct Disk {
    pub root: PathBuf,
}

impl Store for Disk {
    fn put(&self, folder: &str, name: &str, bytes: &[u8]) -> io::Result<()> {
        let folder = self.root.join(folder);
        self.make(&folder)?;
        let temporary = folder.join(temporary(name));
        let written = write(&temporary, bytes).and_then(|()| std::fs::rename(&temporary, folder.join(name)));
        if let Err(error) = written {
            // What is left of it takes room that may be missing; if it cannot go now, the next run removes it.
            drop(std::fs::remove_file(&temporary));
            return Err(error);
        }
        sync(&folder)
    }
}

/// What a file is called in the making. DuckDB's `*` takes hidden files too, but then asks for `.parquet`.
fn temporary(name: &str) -> String {
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

/// Removes what runs before this one left unfinished: temporary files whose name begins with `prefix` and comes before
/// `own`.
pub(super) fn remove_leftovers(folder: &Path, prefix: &str, own: &str) -> io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        if entry.file_type()?.is_dir() {
            remove_leftovers(&entry.path(), prefix, own)?;
        } else if let Some(name) = name.to_str().and_then(|name| name.strip_prefix(TEMPORARY))
            && name.starts_with(prefix)
            && name < own
        {
            tracing::info!(file = %entry.path().display(), "removed a file that an earlier run left unfinished");
            std::fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::temporary;

    #[test]
    fn no_pattern_for_parquet_files_finds_one_in_the_making() {
        assert_eq!(temporary("part-latency-0-1.parquet"), ".tmp-part-latency-0-1");
    }
}
