//! Files in an object store: listed like those of this machine, and fetched whole, one ahead of the one that is read, into
//! files of this machine that have no name. So a worker never waits for the store, and what is read of a file does not
//! change while it is read.

use super::listing::{hidden, not_a_pattern};
use crate::objects::{Fetch, Objects};
use glob::{MatchOptions, Pattern};
use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use thalweg_schemas::error::{Error, Result};

/// The files that `url` stands for, with their lengths in bytes.
pub(super) fn list(url: &str) -> Result<Vec<(PathBuf, u64)>> {
    let failed = |error: io::Error| Error::io(format!("'{url}'"), &error);
    let Some(wild) = url.find(['*', '?', '[']) else {
        let (folder, name) = folder_of(url);
        if let Some(length) = Objects::open(folder)?.length(name).map_err(failed)? {
            return Ok(vec![(url.into(), length)]);
        }
        let below = Objects::open(url)?.list_with_lengths().map_err(failed)?;
        let visible = below.into_iter().filter(|(name, _)| !Path::new(name).iter().any(|part| hidden(Path::new(part))));
        return Ok(visible
            .map(|(name, length)| (format!("{}/{name}", url.trim_end_matches('/')).into(), length))
            .collect());
    };
    let pattern = Pattern::new(url).map_err(|error| not_a_pattern(url, &error))?;
    let options =
        MatchOptions { case_sensitive: true, require_literal_separator: true, require_literal_leading_dot: true };
    let wants_hidden = hidden(Path::new(url));
    let folder = folder_of(&url[..wild]).0;
    let below = Objects::open(folder)?.list_with_lengths().map_err(failed)?;
    let whole = below.into_iter().map(|(name, length)| (format!("{folder}/{name}"), length));
    let wanted =
        whole.filter(|(path, _)| pattern.matches_with(path, options) && (wants_hidden || !hidden(Path::new(path))));
    Ok(wanted.map(|(path, length)| (path.into(), length)).collect())
}

/// The URL of the folder, and the name in it.
fn folder_of(url: &str) -> (&str, &str) {
    url.rsplit_once('/').unwrap_or((url, ""))
}

/// Files on their way, by their numbers.
#[derive(Default)]
pub(super) struct Fetching {
    folders: BTreeMap<String, Objects>,
    files: BTreeMap<usize, Fetch>,
}

impl Fetching {
    /// File `number`, which is at `path`; `None` while it is on its way. Asked for again, it is fetched again.
    pub(super) fn poll(&mut self, number: usize, path: &Path) -> Option<Result<File, io::Error>> {
        if let Err(error) = self.begin(number, path) {
            return Some(Err(error));
        }
        let came = self.files.get_mut(&number)?.poll()?;
        self.files.remove(&number);
        Some(came)
    }

    /// Begins to fetch it.
    pub(super) fn begin(&mut self, number: usize, path: &Path) -> io::Result<()> {
        if self.files.contains_key(&number) {
            return Ok(());
        }
        let url = path.to_string_lossy();
        let (folder, name) = folder_of(&url);
        let objects = match self.folders.get(folder) {
            Some(objects) => objects,
            None => {
                let objects = Objects::open(folder).map_err(io::Error::other)?;
                self.folders.entry(folder.to_string()).or_insert(objects)
            }
        };
        self.files.insert(number, objects.fetch(name)?);
        Ok(())
    }
}
