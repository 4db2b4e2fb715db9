//! What the file sink remembers beside its file: how long it was when it was last flushed, and as of which epoch. What
//! was written after is cut off by the run that goes on, and written again.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use thalweg_schemas::epoch::Epoch;

/// The first line, with the version of what follows.
const VERSION: &str = "thalweg file commit 1";

/// A flush.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Committed {
    /// The state that the run goes on from.
    pub lineage: String,
    pub epoch: Epoch,
    pub length: u64,
}

/// `out/slow.csv` is remembered in `out/.slow.csv.commit`.
pub(super) fn beside(path: &Path) -> PathBuf {
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    path.with_file_name(format!(".{name}.commit"))
}

impl Committed {
    /// What was remembered; `None` where nothing was, or something else.
    pub(super) fn read(path: &Path) -> io::Result<Option<Committed>> {
        let text = match std::fs::read_to_string(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            text => text?,
        };
        Ok(Committed::parse(&text))
    }

    fn parse(text: &str) -> Option<Committed> {
        let mut lines = text.lines();
        (lines.next()? == VERSION).then_some(())?;
        let lineage = lines.next()?.strip_prefix("lineage ")?.to_string();
        let epoch = Epoch(lines.next()?.strip_prefix("epoch ")?.parse().ok()?);
        let length = lines.next()?.strip_prefix("length ")?.parse().ok()?;
        Some(Committed { lineage, epoch, length })
    }

    /// Replaces what was remembered, whole or not at all.
    pub(super) fn write(&self, path: &Path) -> io::Result<()> {
        let Committed { lineage, epoch, length } = self;
        let temporary = path.with_extension("commit-new");
        let written = File::create(&temporary).and_then(|mut file| {
            write!(file, "{VERSION}\nlineage {lineage}\nepoch {}\nlength {length}\n", epoch.0)?;
            file.sync_all()
        });
        if let Err(error) = written.and_then(|()| std::fs::rename(&temporary, path)) {
            drop(std::fs::remove_file(&temporary));
            return Err(error);
        }
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(folder)?.sync_all()
    }
}
