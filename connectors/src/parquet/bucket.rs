//! Files in an object store. It has no renaming, and needs none: a staged file becomes visible as a copy, which the store
//! makes by itself and shows whole or not at all; the staged one goes after that.

use super::store::{Store, Stored, is_leftover};
use crate::objects::Objects;
use bytes::Bytes;
use std::io;

/// A prefix of a bucket.
pub(super) struct Bucket {
    pub files: Objects,
}

fn within(folder: &str, name: &str) -> String {
    if folder.is_empty() { name.to_string() } else { format!("{folder}/{name}") }
}

impl Store for Bucket {
    fn stage(&self, folder: &str, hidden: &str, bytes: &Bytes) -> io::Result<()> {
        self.files.write(&within(folder, hidden), bytes.clone())
    }

    fn publish(&self, folder: &str, hidden: &str, name: &str) -> io::Result<()> {
        let hidden = within(folder, hidden);
        match self.files.copy(&hidden, &within(folder, name)) {
            // It has its name already.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
            Ok(()) => self.files.remove(&hidden),
        }
    }

    fn record(&self, name: &str, text: &str) -> io::Result<()> {
        self.files.write(name, Bytes::copy_from_slice(text.as_bytes()))
    }

    fn records(&self, prefix: &str) -> io::Result<Vec<(String, String)>> {
        let names = self.files.list_top()?.into_iter().filter(|name| name.starts_with(prefix));
        let read = |name: String| {
            let text = String::from_utf8_lossy(&self.files.read(&name)?).into_owned();
            Ok((name, text))
        };
        names.map(read).collect()
    }

    fn list(&self, prefix: &str) -> io::Result<Vec<Stored>> {
        let files = self.files.list_with_times()?.into_iter().filter_map(|(path, bytes, modified)| {
            let (folder, name) = path.rsplit_once('/').unwrap_or(("", &path));
            let (folder, name) = (folder.to_string(), name.to_string());
            name.starts_with(prefix).then_some(Stored { folder, name, bytes, modified })
        });
        Ok(files.collect())
    }

    fn read(&self, folder: &str, name: &str) -> io::Result<Bytes> {
        self.files.read(&within(folder, name))
    }

    fn remove(&self, folder: &str, name: &str) -> io::Result<()> {
        self.files.remove(&within(folder, name))
    }

    fn forget(&self, name: &str) -> io::Result<()> {
        self.files.remove(name)
    }

    fn clean(&self, prefix: &str, own: &str) -> io::Result<()> {
        for path in self.files.list()? {
            let name = path.rsplit('/').next().unwrap_or_default();
            if is_leftover(name, prefix, own) {
                tracing::info!(file = %self.files.describe(&path), "removed a file that an earlier run left unfinished");
                self.files.remove(&path)?;
            }
        }
        Ok(())
    }
}
