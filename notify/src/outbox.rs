//! The outbox on disk: the machine's state as of a moment, and the log of what was put in since. What has been appended is
//! there after a crash, so that nothing is tried, and nothing acknowledged, that would be forgotten.
//!
//! ```text
//!   state-7.json    configuration and state              log-7    length: u32, CRC-32 of the JSON: u32, JSON of a Record ...
//! ```
//!
//! A new generation begins when the log has become long, and at every start. A torn end of the log is cut off; damage in
//! the middle refuses to start.

use crate::config::Config;
use crate::machine::{Input, Machine, State};
use serde::{Deserialize, Serialize};
use std::fs::{File, OpenOptions};
use std::io::{BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use thalweg_schemas::error::{Error, Result};

/// A log this long, and twice as long as the state, is replaced by the state that it leads to.
const LOG_BYTES_MAX: u64 = 8 << 20;

/// An input, and when it came.
#[derive(Debug, Serialize, Deserialize)]
pub struct Record {
    /// In nanoseconds since 1970.
    pub at_ns: i64,
    /// What came.
    pub input: Input,
}

/// The form in which the state is written, and read.
const FORM: u32 = 2;

/// The length of a record and its checksum.
const HEAD_BYTES: u64 = 8;

#[derive(Serialize)]
struct Saved<'a> {
    form: u32,
    config: &'a Config,
    state: &'a State,
}

/// What is read before anything else; the first form did not say that it was.
#[derive(Deserialize)]
struct Form {
    #[serde(default = "first_form")]
    form: u32,
}

fn first_form() -> u32 {
    1
}

#[derive(Deserialize)]
struct Loaded {
    config: Config,
    state: State,
}

/// The outbox of one pipeline. Without a folder it remembers nothing.
pub struct Outbox {
    disk: Option<Disk>,
}

struct Disk {
    folder: PathBuf,
    generation: u64,
    log: File,
    log_bytes: u64,
    state_bytes: u64,
}

/// A state is written in pieces of this size, between which it can be left.
const PIECE_BYTES: usize = 64 << 10;

/// A file that is written until it is left.
struct Leavable<'a> {
    file: File,
    leave: &'a dyn Fn() -> bool,
}

impl Write for Leavable<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if (self.leave)() {
            return Err(std::io::Error::other("it is left as it is"));
        }
        self.file.write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.file.flush()
    }
}

/// Counts the bytes that are written to it, and sums them up.
#[derive(Default)]
struct Measure {
    bytes: u32,
    sum: crc32fast::Hasher,
}

impl Write for Measure {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let all = u32::try_from(bytes.len()).ok().and_then(|more| self.bytes.checked_add(more));
        self.bytes = all.ok_or_else(|| std::io::Error::other("a record has more than 4 GB"))?;
        self.sum.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn failed(path: &Path) -> impl Fn(std::io::Error) -> Error {
    move |error| Error::io(path.display(), &error)
}

fn names(folder: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(failed(folder))? {
        names.extend(entry.map_err(failed(folder))?.file_name().into_string());
    }
    Ok(names)
}

impl Outbox {
    /// The outbox in `folder`, and the machine as an earlier run left it, which goes on by the rules of `config`.
    pub fn open(folder: Option<&Path>, config: Config, now_ns: i64) -> Result<(Outbox, Machine)> {
        let Some(folder) = folder else {
            return Ok((Outbox { disk: None }, Machine::new(config, State::default())));
        };
        std::fs::create_dir_all(folder).map_err(failed(folder))?;
        let generations = names(folder)?
            .into_iter()
            .filter_map(|name| name.strip_prefix("state-")?.strip_suffix(".json")?.parse::<u64>().ok());
        let last = generations.max();
        let machine = match last {
            None => Machine::new(config, State::default()),
            Some(generation) => {
                let mut machine = load(folder, generation)?;
                machine.apply(now_ns, Input::Crashed);
                machine.with_config(config, now_ns)
            }
        };
        let disk = Disk::begin(folder, last.unwrap_or(0) + 1, &machine, &|| false)?;
        Ok((Outbox { disk }, machine))
    }

    /// Appends and makes durable. After an error the log is as it was.
    pub fn append(&mut self, records: &[Record]) -> Result<()> {
        let Some(disk) = &mut self.disk else { return Ok(()) };
        let before = disk.log_bytes;
        if let Err(error) = disk.append(records) {
            let undone = disk.log.set_len(before).and_then(|()| disk.log.seek(SeekFrom::Start(before)));
            let path = disk.path("log-", "");
            return Err(match undone {
                Ok(_) => Error::retry(format!("{}: {error}", path.display())),
                Err(_) => Error::io(path.display(), &error),
            });
        }
        Ok(())
    }

    /// Replaces a log that has become long by the state that it leads to, unless it should be left as it is before that
    /// state is written.
    pub fn shorten(&mut self, machine: &Machine, leave: impl Fn() -> bool) -> Result<()> {
        if let Some(disk) = &mut self.disk
            && disk.log_bytes > LOG_BYTES_MAX.max(2 * disk.state_bytes)
            && let Some(next) = Disk::begin(&disk.folder, disk.generation + 1, machine, &leave)?
        {
            *disk = next;
        }
        Ok(())
    }

    /// Forgets everything.
    pub fn remove(self) -> Result<()> {
        let Some(disk) = self.disk else { return Ok(()) };
        std::fs::remove_dir_all(&disk.folder).map_err(failed(&disk.folder))
    }
}

impl Disk {
    /// Writes a generation down, and lets go of those before it; `None`: it was left, and they are as they were.
    fn begin(folder: &Path, generation: u64, machine: &Machine, leave: &dyn Fn() -> bool) -> Result<Option<Disk>> {
        let saved = Saved { form: FORM, config: machine.config(), state: machine.state() };
        let log_path = folder.join(format!("log-{generation}"));
        let log =
            OpenOptions::new().create(true).write(true).truncate(true).open(&log_path).map_err(failed(&log_path))?;
        let path = folder.join(format!("state-{generation}.json"));
        let unfinished = folder.join("state.unfinished");
        let write = || -> std::io::Result<u64> {
            let mut file = BufWriter::with_capacity(PIECE_BYTES, Leavable { file: File::create(&unfinished)?, leave });
            serde_json::to_writer(&mut file, &saved)?;
            file.flush()?;
            file.get_ref().file.sync_all()?;
            std::fs::rename(&unfinished, &path)?;
            File::open(folder)?.sync_all()?;
            path.metadata().map(|metadata| metadata.len())
        };
        let state_bytes = match write() {
            Ok(bytes) => bytes,
            Err(_) if leave() && !path.exists() => {
                drop((std::fs::remove_file(&unfinished), std::fs::remove_file(&log_path)));
                return Ok(None);
            }
            Err(error) => return Err(failed(&path)(error)),
        };
        let current = [format!("log-{generation}"), format!("state-{generation}.json")];
        for old in names(folder)?.into_iter().filter(|name| !current.contains(name)) {
            let old = folder.join(old);
            std::fs::remove_file(&old).map_err(failed(&old))?;
        }
        Ok(Some(Disk { folder: folder.to_path_buf(), generation, log, log_bytes: 0, state_bytes }))
    }

    /// Writes records behind the others. Each is made twice, once to be measured, since it may be of a hundred thousand
    /// alerts and the bytes would be most of the process's memory.
    fn append(&mut self, records: &[Record]) -> std::io::Result<()> {
        let mut log = BufWriter::new(&self.log);
        let mut written = 0;
        for record in records {
            let mut measure = Measure::default();
            serde_json::to_writer(&mut measure, record)?;
            log.write_all(&measure.bytes.to_le_bytes())?;
            log.write_all(&measure.sum.finalize().to_le_bytes())?;
            serde_json::to_writer(&mut log, record)?;
            written += HEAD_BYTES + u64::from(measure.bytes);
        }
        log.flush()?;
        drop(log);
        self.log.sync_data()?;
        self.log_bytes += written;
        Ok(())
    }

    fn path(&self, before: &str, behind: &str) -> PathBuf {
        self.folder.join(format!("{before}{}{behind}", self.generation))
    }
}

fn load(folder: &Path, generation: u64) -> Result<Machine> {
    let path = folder.join(format!("state-{generation}.json"));
    let bytes = std::fs::read(&path).map_err(failed(&path))?;
    let Form { form } = serde_json::from_slice(&bytes).map_err(|error| damaged(&path, &error.to_string()))?;
    if form != FORM {
        return Err(Error::user(format!("{} was written by another version of Thalweg", path.display()))
            .with_detail(format!("It has form {form}; this version reads and writes form {FORM}."))
            .with_hint(format!(
                "Go on with that version; or stop it when its messages are delivered, and remove {}: open incidents are then forgotten.",
                folder.display()
            )));
    }
    let loaded: Loaded = serde_json::from_slice(&bytes).map_err(|error| damaged(&path, &error.to_string()))?;
    drop(bytes);
    let mut machine = Machine::new(loaded.config, loaded.state);
    let path = folder.join(format!("log-{generation}"));
    let bytes = std::fs::read(&path).map_err(failed(&path))?;
    let mut rest = &bytes[..];
    while let Some((json, behind)) = frame(&path, rest)? {
        let record: Record = serde_json::from_slice(json).map_err(|error| damaged(&path, &error.to_string()))?;
        machine.apply(record.at_ns, record.input);
        rest = behind;
    }
    if !rest.is_empty() {
        tracing::warn!(
            "{}: the last {} bytes are not whole, as a crash leaves them, and are left out",
            path.display(),
            rest.len()
        );
    }
    Ok(machine)
}

/// The first record of `bytes` and what is behind it; `None` at the end, whole or torn.
fn frame<'a>(path: &Path, bytes: &'a [u8]) -> Result<Option<(&'a [u8], &'a [u8])>> {
    let Some((head, rest)) = bytes.split_first_chunk::<8>() else { return Ok(None) };
    let [a, b, c, d, e, f, g, h] = *head;
    let (length, sum) = (u32::from_le_bytes([a, b, c, d]) as usize, u32::from_le_bytes([e, f, g, h]));
    let Some((json, behind)) = rest.split_at_checked(length) else { return Ok(None) };
    if crc32fast::hash(json) == sum {
        return Ok(Some((json, behind)));
    }
    if behind.is_empty() { Ok(None) } else { Err(damaged(path, "a checksum does not match")) }
}

fn damaged(path: &Path, what: &str) -> Error {
    Error::outside(format!("{} is damaged: {what}", path.display())).with_hint(
        "Restore the file, or remove its folder: open incidents and what was to be delivered are then forgotten.",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alert::tests::{firing, resolved};
    use crate::config::Policy;
    use crate::notification::Outcome;

    fn config() -> Config {
        let routes = [("slow".to_string(), vec!["ops".to_string()])].into();
        Config { notifiers: [("ops".to_string(), Policy::default())].into(), routes, ..Config::default() }
    }

    fn put(outbox: &mut Outbox, machine: &mut Machine, at_ns: i64, input: Input) {
        outbox.append(&[Record { at_ns, input: input.clone() }]).unwrap();
        machine.apply(at_ns, input);
    }

    fn shown(machine: &Machine) -> String {
        serde_json::to_string(machine.state()).unwrap()
    }

    #[test]
    fn what_was_appended_is_there_after_a_crash() {
        let folder = tempfile::tempdir().unwrap();
        let (mut outbox, mut machine) = Outbox::open(Some(folder.path()), config(), 0).unwrap();
        let api = firing("slow", "api", "i1", "warning", 0);
        put(&mut outbox, &mut machine, 1, Input::Alerts(5, Machine::alerts_of(std::slice::from_ref(&api))));
        let id = machine.ready("ops", 1).unwrap().notification.id.clone();
        put(&mut outbox, &mut machine, 2, Input::Started(id.clone()));
        drop(outbox);
        let (mut outbox, mut again) = Outbox::open(Some(folder.path()), config(), 3).unwrap();
        machine.apply(3, Input::Crashed);
        assert_eq!(shown(&again), shown(&machine));
        assert_eq!(
            again.ready("ops", 3).unwrap().notification.id,
            id,
            "what was being tried is tried again, as it was"
        );
        put(&mut outbox, &mut again, 4, Input::Started(id.clone()));
        put(&mut outbox, &mut again, 5, Input::Ended(id, Outcome::Delivered { http_status: 200 }, 1));
        put(&mut outbox, &mut again, 6, Input::Alerts(6, Machine::alerts_of(&[resolved(&api, 6)])));
        assert_eq!(names(folder.path()).unwrap().len(), 2, "one generation is kept");
        outbox.remove().unwrap();
        assert!(!folder.path().exists());
    }

    #[test]
    fn a_torn_end_is_cut_and_damage_in_the_middle_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let (mut outbox, mut machine) = Outbox::open(Some(folder.path()), config(), 0).unwrap();
        for n in 1..4 {
            let event = firing("slow", &format!("s{n}"), &format!("i{n}"), "warning", 0);
            put(&mut outbox, &mut machine, n, Input::Alerts(n as u64, Machine::alerts_of(&[event])));
        }
        let log = outbox.disk.as_ref().unwrap().path("log-", "");
        drop(outbox);
        let whole = std::fs::read(&log).unwrap();
        let mut broken = whole.clone();
        broken[20] ^= 1;
        std::fs::write(&log, &broken).unwrap();
        let error = Outbox::open(Some(folder.path()), config(), 9).err().unwrap();
        assert!(error.message.contains("log-1 is damaged"), "{error}");
        std::fs::write(&log, &whole[..whole.len() - 3]).unwrap();
        let (_, machine) = Outbox::open(Some(folder.path()), config(), 9).unwrap();
        assert_eq!(machine.state().epoch, 2, "the last record is lost with the crash that tore it");
    }

    #[test]
    fn a_state_of_another_form_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let (outbox, _) = Outbox::open(Some(folder.path()), config(), 0).unwrap();
        let path = outbox.disk.as_ref().unwrap().path("state-", ".json");
        drop(outbox);
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, text.replacen(r#""form":2,"#, "", 1)).unwrap();
        let error = Outbox::open(Some(folder.path()), config(), 1).err().unwrap();
        assert!(error.message.ends_with("was written by another version of Thalweg"), "{error}");
        assert_eq!(error.detail.as_deref(), Some("It has form 1; this version reads and writes form 2."));
        assert!(error.hint.is_some_and(|hint| hint.contains("remove")));
    }

    #[test]
    fn a_long_log_gives_way_to_a_state() {
        let folder = tempfile::tempdir().unwrap();
        let (mut outbox, mut machine) = Outbox::open(Some(folder.path()), config(), 0).unwrap();
        let mut large = firing("slow", "api", "i1", "warning", 0);
        large.annotations = large.annotations.with("text", &"x".repeat(1 << 20));
        for n in 1..10 {
            large.seq = n;
            put(
                &mut outbox,
                &mut machine,
                n,
                Input::Alerts(n as u64, Machine::alerts_of(std::slice::from_ref(&large))),
            );
            // It is due after eight megabytes, and left that once.
            outbox.shorten(&machine, || n == 8).unwrap();
            let generation = outbox.disk.as_ref().unwrap().generation;
            assert_eq!((generation > 1, names(folder.path()).unwrap().len()), (n == 9, 2), "after {n} MB");
        }
        drop(outbox);
        let (_, again) = Outbox::open(Some(folder.path()), config(), 20).unwrap();
        assert_eq!(again.state().epoch, 9);
    }
}
