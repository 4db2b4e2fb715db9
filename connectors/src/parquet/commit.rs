//! What a commit is on the disk: a small file per worker that says through which epoch rows are visible, and under which
//! names. It is replaced atomically, and that is the moment of the commit; giving the files their names comes after, and
//! whoever opens the folder next does what a crash has left undone.
//!
//! ```text
//!   stage    region=eu/.tmp-part-..-0, region=us/.tmp-part-..-1     synced, seen by no reader
//!   record   .commit-latency-0: epoch 1234, and the names           synced, renamed: committed
//!   publish  region=eu/.tmp-part-..-0 -> region=eu/part-...parquet  each whole or not there
//!   remove   the files that they replace, if it is small ones merged
//! ```

use super::store::Store;
use std::io;
use std::sync::Arc;
use thalweg_schemas::epoch::Epoch;
use thalweg_schemas::error::{Error, Result};

/// How the files that record commits are called. Readers leave them out: no suffix, and a dot in front.
const RECORD: &str = ".commit-";
/// The first line of each, with the version of what follows.
const VERSION: &str = "thalweg parquet commit 1";

/// A worker's last commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Commit {
    /// The state that the run goes on from.
    pub lineage: String,
    pub worker: usize,
    pub peers: usize,
    /// Rows up to this one are visible.
    pub epoch: Epoch,
    pub files: Vec<Staged>,
    /// Files whose rows are in those, and that go when those are visible.
    pub replaced: Vec<Replaced>,
}

/// A file that goes: its folder below the root, and its name.
pub(super) type Replaced = (String, String);

/// A whole file, and the name that it gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Staged {
    /// The folder below the root.
    pub folder: String,
    /// What it is called while nobody is to see it.
    pub hidden: String,
    /// What it is called then.
    pub name: String,
}

impl Commit {
    pub(super) fn text(&self) -> String {
        let lineage = self.lineage.replace(char::is_control, " ");
        let mut text = format!("{VERSION}\nlineage {lineage}\nworker {} of {}\n", self.worker, self.peers);
        text.push_str(&format!("epoch {}\n", self.epoch.0));
        for file in &self.files {
            text.push_str(&format!("file {}\t{}\t{}\n", file.folder, file.hidden, file.name));
        }
        for (folder, name) in &self.replaced {
            text.push_str(&format!("replaced {folder}\t{name}\n"));
        }
        text.push_str("end\n");
        text
    }

    pub(super) fn parse(text: &str) -> Option<Commit> {
        let mut lines = text.lines();
        (lines.next()? == VERSION).then_some(())?;
        let lineage = lines.next()?.strip_prefix("lineage ")?.to_string();
        let (worker, peers) = lines.next()?.strip_prefix("worker ")?.split_once(" of ")?;
        let epoch = Epoch(lines.next()?.strip_prefix("epoch ")?.parse().ok()?);
        let (mut files, mut replaced) = (Vec::new(), Vec::new());
        for line in lines {
            if let Some(file) = line.strip_prefix("replaced ") {
                let (folder, name) = file.split_once('\t')?;
                replaced.push((folder.to_string(), name.to_string()));
                continue;
            }
            let Some(file) = line.strip_prefix("file ") else {
                let (worker, peers) = (worker.parse().ok()?, peers.parse().ok()?);
                return (line == "end").then_some(Commit { lineage, worker, peers, epoch, files, replaced });
            };
            let mut parts = file.split('\t').map(str::to_string);
            files.push(Staged { folder: parts.next()?, hidden: parts.next()?, name: parts.next()? });
        }
        None
    }

    /// Gives the files their names, and removes those that they replace; what is done already is left alone.
    pub(super) fn publish(&self, store: &dyn Store) -> io::Result<()> {
        self.files.iter().try_for_each(|file| store.publish(&file.folder, &file.hidden, &file.name))?;
        self.replaced.iter().try_for_each(|(folder, name)| store.remove(folder, name))
    }
}

/// What the record of a worker's commits is called.
pub(super) fn record_name(sink: &str, worker: usize) -> String {
    format!("{RECORD}{sink}-{worker}")
}

/// Does what earlier runs of a sink left undone, and answers their last commits. Nothing of them is staged any more then
/// that will be needed.
pub(super) fn recover(store: &dyn Store, sink: &str, lineage: &str) -> Result<Vec<Commit>, (String, io::Error)> {
    let mut commits = Vec::new();
    let prefix = format!("{RECORD}{sink}-");
    let named = |name: &str| {
        let name = name.to_string();
        move |error| (name, error)
    };
    for (name, text) in store.records(&prefix).map_err(named(&prefix))? {
        let Some(commit) = Commit::parse(&text) else {
            let error = io::Error::new(io::ErrorKind::InvalidInput, "this is not the record of a commit");
            return Err((name, error));
        };
        commit.publish(store).map_err(named(&name))?;
        if commit.lineage == lineage.replace(char::is_control, " ") {
            commits.push(commit);
        } else {
            store.forget(&name).map_err(named(&name))?;
        }
    }
    Ok(commits)
}

/// Through which epoch the rows of `worker` are visible, for a run that goes on from `checkpoint`.
pub(super) fn visible(
    commits: &Arc<[Commit]>,
    sink: &str,
    worker: usize,
    peers: usize,
    checkpoint: Epoch,
) -> Result<Epoch> {
    // Rows are dealt to workers by their number: with another one it cannot be told which of them are there.
    if let Some(other) = commits.iter().find(|commit| commit.peers != peers && commit.epoch > checkpoint) {
        return Err(Error::outside(format!(
            "sink \"{sink}\" has rows from after the checkpoint, written by {} workers, and there are {peers} now",
            other.peers
        ))
        .with_hint(format!("Start with --workers {} once, and stop it in order.", other.peers)));
    }
    let own = commits.iter().find(|commit| commit.worker == worker && commit.peers == peers);
    Ok(own.map_or(checkpoint, |commit| commit.epoch.max(checkpoint)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_read_as_it_was_written_and_a_part_of_it_is_not() {
        let file =
            |n: usize| Staged { folder: format!("region=e%20u{n}"), hidden: format!(".tmp-{n}"), name: "part".into() };
        let commit = Commit {
            lineage: "a b".into(),
            worker: 1,
            peers: 3,
            epoch: Epoch(77),
            files: vec![file(1), file(2)],
            replaced: vec![("region=e%20u".into(), "part-1.parquet".into())],
        };
        let text = commit.text();
        assert_eq!(Commit::parse(&text), Some(commit));
        for len in 0..text.len() - 1 {
            assert_eq!(Commit::parse(&text[..len]), None, "{len}");
        }
    }

    #[test]
    fn another_number_of_workers_is_refused_only_where_rows_could_be_lost() {
        let commit =
            Commit { lineage: "l".into(), worker: 0, peers: 2, epoch: Epoch(7), files: vec![], replaced: vec![] };
        let commits: Arc<[Commit]> = vec![commit].into();
        assert_eq!(visible(&commits, "s", 0, 2, Epoch(5)), Ok(Epoch(7)));
        assert_eq!(visible(&commits, "s", 1, 2, Epoch(5)), Ok(Epoch(5)));
        assert_eq!(visible(&commits, "s", 0, 3, Epoch(7)), Ok(Epoch(7)));
        let error = visible(&commits, "s", 0, 3, Epoch(5)).unwrap_err();
        assert_eq!(error.hint.unwrap(), "Start with --workers 2 once, and stop it in order.");
    }
}
