//! Checkpoints in an object store, where another machine finds them; the epoch log stays on this one.
//!
//! A place far away has no lock: a process that was thought dead may still be at work when another goes on from its
//! checkpoints. So whoever opens the state of a pipeline there claims it, under a number higher than all before, and
//! writes below that number only. It then says what it goes on from, so that nothing counts that an earlier owner writes
//! later; and an earlier owner finds out before it writes, and ends.
//!
//! ```text
//!   PREFIX/LINEAGE/claim-0000000003           who: the folder that has the epoch log
//!   PREFIX/LINEAGE/base-0000000003            from what: names of files, and the numbers below which they lie
//!   PREFIX/LINEAGE/0000000003/checkpoint-...  what it has written
//! ```

use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use thalweg_connectors::objects::Objects;
use thalweg_engine::durability::storage::{LocalFolder, Log, Storage};
use thalweg_schemas::error::{Error, Result};

/// `s3://bucket/prefix`, with the state of any number of pipelines.
pub struct CheckpointPlace {
    objects: Objects,
}

/// The names of files, and the number below which each lies.
type Files = BTreeMap<String, u64>;

impl CheckpointPlace {
    /// The place at `url`, which is asked once whether it can be reached: better said now than at the first checkpoint.
    pub fn open(url: &str) -> Result<CheckpointPlace> {
        let place = CheckpointPlace { objects: Objects::open(url)? };
        place.lineages().map_err(|error| {
            Error::outside(format!("the checkpoints in {url} cannot be reached")).with_detail(error.message).with_hint(
                "Check the bucket's name and the AWS_* variables (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_REGION, \
                 AWS_ENDPOINT_URL).",
            )
        })?;
        Ok(place)
    }

    /// The names of the pipelines' folders.
    pub fn lineages(&self) -> Result<Vec<String>> {
        self.objects.folders().map_err(|error| Error::io(self.objects.describe(""), &error))
    }

    /// The state of the pipeline whose folder is `folder`, to be looked at.
    pub fn look(&self, folder: &Path) -> Result<SharedState> {
        let far = self.of(folder)?;
        let files = Contents::of(&far)?.files(&far)?;
        let near = folder.is_dir().then(|| LocalFolder::open(folder)).transpose()?;
        Ok(SharedState { near, far, claim: None, files: Mutex::new(files), log_is_lost: false })
    }

    /// Makes the state of the pipeline whose folder is `folder` that of this process. The folder is emptied if another
    /// one has had the state in between: its epoch log does not fit the checkpoints any more.
    pub fn claim(&self, folder: &Path, owner: &str) -> Result<SharedState> {
        let far = self.of(folder)?;
        let near = LocalFolder::open(folder)?;
        let (number, before) = claim(&far, owner)?;
        let log_is_lost = before.is_some_and(|before| before != owner);
        if log_is_lost {
            let names = near.list()?;
            names.iter().try_for_each(|name| near.remove(name))?;
            tracing::warn!(
                old_files = names.len(),
                "going on from the checkpoints in {}, which another machine wrote last: what it took in since the newest \
                 of them is read again where the sources keep it, and sinks may get it again",
                far.describe("")
            );
        }
        let contents = Contents::of(&far)?;
        let files = contents.files(&far)?;
        let base = serde_json::to_vec(&files).map_err(|e| Error::bug(format!("names cannot be written: {e}")))?;
        far.write(&base_name(number), base.into()).map_err(said(&far, &base_name(number)))?;
        contents.clear(&far, number, &files)?;
        Ok(SharedState { near: Some(near), far, claim: Some(number), files: Mutex::new(files), log_is_lost })
    }

    fn of(&self, folder: &Path) -> Result<Objects> {
        let lineage = folder.file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
        self.objects.below(&lineage).map_err(said(&self.objects, &lineage))
    }
}

fn said(objects: &Objects, name: &str) -> impl Fn(std::io::Error) -> Error {
    let place = objects.describe(name);
    move |error| Error::io(&place, &error)
}

const CLAIM: &str = "claim-";
const BASE: &str = "base-";

fn claim_name(number: u64) -> String {
    format!("{CLAIM}{number:010}")
}

fn base_name(number: u64) -> String {
    format!("{BASE}{number:010}")
}

fn file_name(number: u64, name: &str) -> String {
    format!("{number:010}/{name}")
}

/// The number that was claimed last.
fn last_claim(far: &Objects) -> Result<Option<u64>> {
    let names = far.list_top().map_err(said(far, ""))?;
    Ok(names.iter().filter_map(|name| name.strip_prefix(CLAIM)?.parse().ok()).max())
}

/// Claims the next number for `owner`; and whose the one before was.
fn claim(far: &Objects, owner: &str) -> Result<(u64, Option<String>)> {
    loop {
        let last = last_claim(far)?;
        let read = |number| far.read(&claim_name(number)).map_err(said(far, &claim_name(number)));
        let before = last.map(read).transpose()?.map(|text| String::from_utf8_lossy(&text).into_owned());
        let name = claim_name(last.unwrap_or(0) + 1);
        // Another process may claim the same number at the same time.
        if far.create(&name, Bytes::copy_from_slice(owner.as_bytes())).map_err(said(far, &name))? {
            return Ok((last.unwrap_or(0) + 1, before));
        }
    }
}

/// All that lies at the place of a pipeline.
#[derive(Default)]
struct Contents {
    claims: BTreeSet<u64>,
    bases: BTreeSet<u64>,
    files: BTreeSet<(u64, String)>,
}

impl Contents {
    fn of(far: &Objects) -> Result<Contents> {
        let mut contents = Contents::default();
        for name in far.list().map_err(said(far, ""))? {
            let number = |text: &str| text.parse::<u64>().ok();
            if let Some(claimed) = name.strip_prefix(CLAIM).and_then(number) {
                contents.claims.insert(claimed);
            } else if let Some(base) = name.strip_prefix(BASE).and_then(number) {
                contents.bases.insert(base);
            } else if let Some((below, file)) = name.split_once('/')
                && let Some(below) = number(below)
            {
                contents.files.insert((below, file.to_string()));
            }
        }
        Ok(contents)
    }

    /// The files that count: what the last base names, and what was written below its number or, where a claim came to no
    /// base, a later one.
    fn files(&self, far: &Objects) -> Result<Files> {
        let mut files = Files::new();
        let base = self.bases.last().copied();
        if let Some(base) = base {
            let bytes = far.read(&base_name(base)).map_err(said(far, &base_name(base)))?;
            let named: Files = serde_json::from_slice(&bytes).map_err(|error| {
                Error::outside(format!("{} is damaged: {error}", far.describe(&base_name(base))))
                    .with_hint("Bring it back from a copy, or give another place with --checkpoints.")
            })?;
            files.extend(named.into_iter().filter(|(name, number)| self.files.contains(&(*number, name.clone()))));
        }
        // In the order of their numbers: of two files of one name the later one counts.
        let own = self.files.iter().filter(|(number, _)| Some(*number) >= base);
        files.extend(own.map(|(number, name)| (name.clone(), *number)));
        Ok(files)
    }

    /// Removes what does not count beside `files`, which are the base of `number`.
    fn clear(&self, far: &Objects, number: u64, files: &Files) -> Result<()> {
        let old = |numbers: &BTreeSet<u64>| numbers.iter().copied().filter(|n| *n < number).collect::<Vec<_>>();
        let mut names: Vec<String> = old(&self.claims).into_iter().map(claim_name).collect();
        names.extend(old(&self.bases).into_iter().map(base_name));
        let counts = |number: &u64, name: &String| files.get(name) == Some(number);
        let others = self.files.iter().filter(|(below, name)| *below < number && !counts(below, name));
        names.extend(others.map(|(below, name)| file_name(*below, name)));
        names.iter().try_for_each(|name| far.remove(name).map_err(said(far, name)))
    }
}

/// The state of one pipeline: its log in a folder of this machine, its checkpoints far away. What was in the folder
/// before it had a place far away is read there.
pub struct SharedState {
    /// `None`: the folder is not there.
    near: Option<LocalFolder>,
    far: Objects,
    /// The number under which it was claimed; `None`: it is only looked at.
    claim: Option<u64>,
    /// What lies far away.
    files: Mutex<Files>,
    /// Whether another machine had it last.
    log_is_lost: bool,
}

impl SharedState {
    fn files(&self) -> MutexGuard<'_, Files> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn near(&self) -> Result<&LocalFolder> {
        self.near.as_ref().ok_or_else(|| Error::bug("state without a folder is written to"))
    }

    /// The number to write below, if it is still that of this process.
    fn owned(&self) -> Result<u64> {
        let number = self.claim.ok_or_else(|| Error::bug("state that is only looked at is written to"))?;
        let last = last_claim(&self.far)?.unwrap_or(0);
        if last == number {
            return Ok(number);
        }
        Err(Error::user(format!("another process has taken over the checkpoints in {}", self.far.describe("")))
            .with_detail(format!("It has claimed them under number {last}; this one had number {number}, and ends."))
            .with_hint(
                "One process at a time may run a pipeline on its checkpoints: stop one of the two, or give it another \
                 place with --checkpoints.",
            ))
    }
}

impl Storage for SharedState {
    fn list(&self) -> Result<Vec<String>> {
        let near = self.near.as_ref().map(LocalFolder::list).transpose()?.unwrap_or_default();
        let names: BTreeSet<String> = self.files().keys().cloned().chain(near).collect();
        Ok(names.into_iter().collect())
    }

    fn read(&self, name: &str) -> Result<Vec<u8>> {
        let number = self.files().get(name).copied();
        match number {
            Some(number) => {
                let path = file_name(number, name);
                self.far.read(&path).map(Vec::from).map_err(said(&self.far, &path))
            }
            None => self.near()?.read(name),
        }
    }

    fn write(&self, name: &str, bytes: &[u8]) -> Result<()> {
        let number = self.owned()?;
        let path = file_name(number, name);
        self.far.write(&path, Bytes::copy_from_slice(bytes)).map_err(said(&self.far, &path))?;
        let before = self.files().insert(name.to_string(), number);
        match before.filter(|before| *before != number) {
            None => Ok(()),
            Some(before) => {
                let path = file_name(before, name);
                self.far.remove(&path).map_err(said(&self.far, &path))
            }
        }
    }

    fn remove(&self, name: &str) -> Result<()> {
        let number = self.files().get(name).copied();
        if let Some(number) = number {
            self.owned()?;
            let path = file_name(number, name);
            self.far.remove(&path).map_err(said(&self.far, &path))?;
            self.files().remove(name);
        }
        self.near()?.remove(name)
    }

    fn create_log(&self, name: &str) -> Result<Box<dyn Log>> {
        self.near()?.create_log(name)
    }

    fn cut_log(&self, name: &str, length: u64) -> Result<()> {
        self.near()?.cut_log(name, length)
    }

    fn describe(&self, name: &str) -> String {
        let number = self.files().get(name).copied();
        match (number, &self.near) {
            (None, Some(near)) => near.describe(name),
            (None, None) => self.far.describe(name),
            (Some(number), _) => self.far.describe(&file_name(number, name)),
        }
    }

    fn has_lost_its_log(&self) -> bool {
        self.log_is_lost
    }
}
