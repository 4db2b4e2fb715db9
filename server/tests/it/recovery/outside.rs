//! The world around a run that crashes: a disk, a source that can be read again, a sink that remembers what it showed.

use arrow::record_batch::RecordBatch;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock, Weak};
use thalweg_engine::durability::storage::{Log, Storage};
use thalweg_schemas::batch::Batch;
use thalweg_schemas::connector::{Changelogs, ConnectorSpec, SinkSpec, SourceSpec};
use thalweg_schemas::epoch::{Epoch, WorkerId};
use thalweg_schemas::error::{Error, Result};
use thalweg_schemas::options::{OptionKind, OptionSpec, Options};
use thalweg_schemas::sink::{Sink, SinkRequest, Writer};
use thalweg_schemas::source::{Chunk, Partition, Payload, Polled, Reader, Source, SourceRequest, Span, Standing};

/// What outlives the process.
#[derive(Default)]
pub struct World {
    /// The partitions of the source, whole.
    pub partitions: Vec<RecordBatch>,
    /// How long a chunk may be; how many polls out of ten bring nothing.
    pub chunk_rows: usize,
    pub quiet: u64,
    disk: Mutex<BTreeMap<String, Vec<u8>>>,
    /// The process that was started last.
    process: Mutex<Weak<Disk>>,
    /// What each sink shows, by epoch and worker.
    shown: Mutex<BTreeMap<String, BTreeMap<(u64, usize), Vec<Batch>>>>,
}

impl World {
    pub fn new(partitions: Vec<RecordBatch>, chunk_rows: usize, quiet: u64) -> World {
        World { partitions, chunk_rows, quiet, ..World::default() }
    }

    /// All rows that `sink` shows.
    pub fn shown(&self, sink: &str) -> Vec<Batch> {
        let shown = self.shown.lock().unwrap();
        shown.get(sink).into_iter().flat_map(|epochs| epochs.values().flatten().cloned()).collect()
    }

    /// The files of the state, without those of the archives.
    pub fn files(&self) -> Vec<String> {
        self.disk.lock().unwrap().keys().filter(|name| !name.contains('/')).cloned().collect()
    }

    pub fn put_file(&self, name: &str, bytes: Vec<u8>) {
        self.disk.lock().unwrap().insert(name.to_string(), bytes);
    }

    pub fn remove_file(&self, name: &str) {
        self.disk.lock().unwrap().remove(name);
    }

    pub fn change_file(&self, name: &str, change: impl FnOnce(&mut Vec<u8>)) {
        change(self.disk.lock().unwrap().get_mut(name).unwrap());
    }
}

static WORLDS: Mutex<BTreeMap<String, Arc<World>>> = Mutex::new(BTreeMap::new());

/// Makes a world known by the `world` option.
pub fn register(name: &str, world: World) -> Arc<World> {
    let world = Arc::new(world);
    WORLDS.lock().unwrap().insert(name.to_string(), world.clone());
    world
}

thread_local! {
    static HERE: RefCell<Arc<World>> = RefCell::default();
}

/// Makes a world that of the name 'here', for runs that this thread starts.
pub fn enter(world: World) -> Arc<World> {
    let world = Arc::new(world);
    HERE.replace(world.clone());
    world
}

/// Which world.
pub const OPTION: OptionSpec =
    OptionSpec { name: "world", kind: OptionKind::Text, default: None, required: true, doc: "Which." };
const OPTIONS: &[OptionSpec] = &[OPTION];

pub const CONNECTORS: &[ConnectorSpec] = &[ConnectorSpec {
    name: "world",
    doc: "What outlives a crash.",
    source: Some(SourceSpec {
        options: OPTIONS,
        formats: &[],
        columns: None,
        bounded: |_| true,
        check: None,
        open: open_source,
    }),
    table: None,
    sink: Some(SinkSpec {
        options: OPTIONS,
        formats: &[],
        changelogs: Changelogs::Always,
        history: None,
        check: None,
        open: open_sink,
    }),
}];

fn world_of(options: &Options) -> Arc<World> {
    match options.get("world").unwrap() {
        "here" => HERE.with_borrow(Arc::clone),
        name => WORLDS.lock().unwrap()[name].clone(),
    }
}

fn open_source(request: SourceRequest) -> Result<Arc<dyn Source>> {
    let world = world_of(&request.options);
    let read = vec![0; world.partitions.len()];
    Ok(Arc::new(WorldSource { world, read: Mutex::new(read) }))
}

fn open_sink(request: SinkRequest) -> Result<Arc<dyn Sink>> {
    let world = world_of(&request.options);
    let process = world.process.lock().unwrap().upgrade();
    Ok(Arc::new(WorldSink { world, process, name: request.name }))
}

struct WorldSource {
    world: Arc<World>,
    /// How far each partition was read before this run.
    read: Mutex<Vec<u64>>,
}

fn partition_name(index: usize) -> Arc<str> {
    format!("part/{index}").into()
}

fn partition_index(name: &str) -> usize {
    name.strip_prefix("part/").unwrap().parse().unwrap()
}

impl Source for WorldSource {
    fn reader(&self, worker: WorkerId) -> Result<Box<dyn Reader>> {
        let own = (0..self.world.partitions.len()).filter(|p| p % worker.peers == worker.index);
        let read = self.read.lock().unwrap();
        let positions = own.map(|p| (p, read[p])).collect();
        Ok(Box::new(WorldReader { world: self.world.clone(), positions, turn: worker.index as u64 }))
    }

    fn bounded(&self) -> bool {
        true
    }

    fn replayable(&self) -> bool {
        true
    }

    fn resume(&self, done: &[Span]) -> Result<()> {
        for span in done {
            assert_eq!(span.start, 0, "what was read has no holes: {done:?}");
            self.read.lock().unwrap()[partition_index(&span.partition)] = span.end;
        }
        Ok(())
    }
}

struct WorldReader {
    world: Arc<World>,
    positions: Vec<(usize, u64)>,
    turn: u64,
}

impl WorldReader {
    fn chunk(&self, partition: usize, start: u64, end: u64) -> Polled {
        let rows = self.world.partitions[partition].slice(start as usize, (end - start) as usize);
        Polled::Ready(Chunk {
            partition: Partition { index: partition as u32, name: partition_name(partition) },
            start,
            end,
            header: None,
            payload: Payload::Rows(rows),
        })
    }

    /// Some number that looks random.
    fn roll(&mut self) -> u64 {
        self.turn = self.turn.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.turn >> 33
    }
}

impl Reader for WorldReader {
    fn poll(&mut self, _budget: usize) -> Result<Polled> {
        let world = self.world.clone();
        self.positions.retain(|(p, read)| (*read as usize) < world.partitions[*p].num_rows());
        if self.positions.is_empty() {
            return Ok(Polled::Ended);
        }
        if self.roll() % 10 < world.quiet {
            return Ok(Polled::Pending);
        }
        let length = 1 + self.roll() % world.chunk_rows as u64;
        let which = self.roll() as usize % self.positions.len();
        let (partition, start) = self.positions[which];
        let end = (start + length).min(world.partitions[partition].num_rows() as u64);
        self.positions[which].1 = end;
        Ok(self.chunk(partition, start, end))
    }

    fn replay(&mut self, span: &Span, _budget: usize) -> Result<Polled> {
        // In other pieces than before.
        let end = span.end.min(span.start + 7);
        Ok(self.chunk(partition_index(&span.partition), span.start, end))
    }

    fn partitions(&self) -> Option<Vec<Standing>> {
        let partition = |p| Partition { index: p as u32, name: partition_name(p) };
        let standing = |&(p, start): &(usize, u64)| Standing {
            partition: partition(p),
            caught_up: start as usize == self.world.partitions[p].num_rows(),
        };
        Some(self.positions.iter().map(standing).collect())
    }
}

struct WorldSink {
    world: Arc<World>,
    /// Whose sink it is, where that is known: the dead show nothing.
    process: Option<Arc<Disk>>,
    name: String,
}

impl Sink for WorldSink {
    fn writer(&self, worker: WorkerId) -> Result<Box<dyn Writer>> {
        let (world, process, name) = (self.world.clone(), self.process.clone(), self.name.clone());
        Ok(Box::new(WorldWriter { world, process, name, worker: worker.index, epoch: 0, held: Vec::new() }))
    }
}

/// Shows rows with the commit of their epoch.
struct WorldWriter {
    world: Arc<World>,
    process: Option<Arc<Disk>>,
    name: String,
    worker: usize,
    epoch: u64,
    held: Vec<Batch>,
}

impl Writer for WorldWriter {
    fn write(&mut self, epoch: Epoch, batch: &Batch) -> Result<()> {
        assert!(epoch.0 >= self.epoch, "epochs go back from {} to {epoch}", self.epoch);
        self.epoch = epoch.0;
        self.held.push(batch.clone());
        Ok(())
    }

    fn commit(&mut self, epoch: Epoch) -> Result<()> {
        let step = |step| self.process.as_ref().map_or(Ok(()), |process| process.take(step));
        if !self.held.is_empty() {
            step(SHOW)?;
            let mut shown = self.world.shown.lock().unwrap();
            let before = shown
                .entry(self.name.clone())
                .or_default()
                .insert((epoch.0, self.worker), std::mem::take(&mut self.held));
            assert!(before.is_none(), "{} shows epoch {epoch} of worker {} twice", self.name, self.worker);
            drop(shown);
            step(HEAR)?;
        }
        Ok(())
    }

    /// Half of the writers do: the others are handed rows of durable epochs only.
    fn writes_ahead(&self) -> bool {
        self.worker % 2 == 1
    }

    fn resume(&mut self, checkpoint: Epoch) -> Result<Epoch> {
        let shown = self.world.shown.lock().unwrap();
        let own = shown.get(&self.name).into_iter().flat_map(|epochs| epochs.keys());
        let last = own.filter(|(_, worker)| *worker == self.worker).map(|(epoch, _)| *epoch).max();
        Ok(checkpoint.max(Epoch(last.unwrap_or(0))))
    }

    fn finish(&mut self) -> Result<()> {
        self.commit(Epoch(self.epoch))
    }
}

/// A step of the protocols, by what is done to what: before it, or in the middle of an append, a process can die.
pub type Step = (&'static str, &'static str);

/// Rows of an epoch become visible in a sink.
pub const SHOW: Step = ("show", "epoch");
/// The process hears that they have.
pub const HEAR: Step = ("hear of", "epoch");

/// Which step it is to do `what` to the file `name`.
fn step(what: &'static str, name: &str) -> Step {
    let kinds = [("log-", "log"), ("state-", "state"), ("checkpoint-", "manifest"), ("ended", "end")];
    let kind = kinds.iter().find(|(prefix, _)| name.starts_with(prefix)).map_or("letters", |(_, kind)| kind);
    (what, kind)
}

/// When a process dies.
pub enum Death {
    /// When it has written to the disk so often.
    AfterWrites(i64),
    /// At a step that it has taken so often.
    At(Step, i64),
}

/// The world's disk, as one process sees it, which dies with its next step there at some time.
pub struct Disk {
    world: Arc<World>,
    death: Mutex<Death>,
    died_at: OnceLock<Step>,
}

impl Disk {
    /// The disk of a process that begins.
    pub fn new(world: &Arc<World>, death: Death) -> Arc<Disk> {
        let disk = Arc::new(Disk { world: world.clone(), death: Mutex::new(death), died_at: OnceLock::new() });
        *world.process.lock().unwrap() = Arc::downgrade(&disk);
        disk
    }

    /// Whether the process has died.
    pub fn is_dead(&self) -> bool {
        self.died_at().is_some()
    }

    /// The step at which it died.
    pub fn died_at(&self) -> Option<Step> {
        self.died_at.get().copied()
    }

    fn take(&self, step: Step) -> Result<()> {
        let dies = match &mut *self.death.lock().unwrap() {
            Death::AfterWrites(left) if step != SHOW && step != HEAR => is_last(left),
            Death::At(at, left) if *at == step => is_last(left),
            Death::AfterWrites(_) | Death::At(..) => false,
        };
        if !dies && !self.is_dead() {
            return Ok(());
        }
        self.died_at.get_or_init(|| step);
        Err(Error::outside("the process is dead"))
    }
}

fn is_last(left: &mut i64) -> bool {
    *left -= 1;
    *left < 0
}

/// A folder of a disk, which can be shared with the logs on it; the state is not in a folder.
#[derive(Clone)]
pub struct SharedDisk(pub Arc<Disk>, pub &'static str);

impl SharedDisk {
    fn path(&self, name: &str) -> String {
        if self.1.is_empty() { name.to_string() } else { format!("{}/{name}", self.1) }
    }

    fn step(&self, what: &'static str, name: &str) -> Step {
        step(what, &self.path(name))
    }
}

impl Storage for SharedDisk {
    fn list(&self) -> Result<Vec<String>> {
        if self.1.is_empty() {
            return Ok(self.0.world.files());
        }
        let names = self.0.world.disk.lock().unwrap();
        let own = names.keys().filter_map(|name| name.strip_prefix(self.1)?.strip_prefix('/'));
        Ok(own.map(str::to_string).collect())
    }

    fn read(&self, name: &str) -> Result<Vec<u8>> {
        self.0
            .world
            .disk
            .lock()
            .unwrap()
            .get(&self.path(name))
            .cloned()
            .ok_or_else(|| Error::outside(format!("no file {name}")))
    }

    fn write(&self, name: &str, bytes: &[u8]) -> Result<()> {
        self.0.take(self.step("write", name))?;
        self.0.world.disk.lock().unwrap().insert(self.path(name), bytes.to_vec());
        Ok(())
    }

    fn remove(&self, name: &str) -> Result<()> {
        self.0.take(self.step("remove", name))?;
        self.0.world.disk.lock().unwrap().remove(&self.path(name));
        Ok(())
    }

    fn create_log(&self, name: &str) -> Result<Box<dyn Log>> {
        self.0.take(self.step("begin", name))?;
        let name = self.path(name);
        self.0.world.disk.lock().unwrap().insert(name.clone(), Vec::new());
        Ok(Box::new(DiskLog { disk: self.0.clone(), name, length: 0 }))
    }

    fn cut_log(&self, name: &str, length: u64) -> Result<()> {
        self.0.take(self.step("cut", name))?;
        self.0.world.change_file(&self.path(name), |bytes| bytes.truncate(length as usize));
        Ok(())
    }

    fn describe(&self, name: &str) -> String {
        name.to_string()
    }
}

/// So many zeros lie behind what was appended to the epoch log, which on a real disk is written into files of zeros.
const ZEROS: usize = 64;

struct DiskLog {
    disk: Arc<Disk>,
    name: String,
    length: usize,
}

impl Log for DiskLog {
    fn append(&mut self, bytes: &[u8]) -> Result<()> {
        let alive = self.disk.take(step("append", &self.name));
        let (begin, end, half) = (self.length, self.length + bytes.len(), bytes.len() / 2);
        let is_ahead = self.name.starts_with("log-");
        self.disk.world.change_file(&self.name, |file| {
            file.truncate(begin);
            file.extend_from_slice(bytes);
            // The process that dies while appending leaves a torn record: its beginning, or, as blocks of a file of zeros
            // reach a disk in any order, its end.
            match &alive {
                Ok(()) => {}
                Err(_) if !is_ahead => file.truncate(begin + half),
                Err(_) if bytes.len().is_multiple_of(2) => file[begin + half..].fill(0),
                Err(_) => file[begin..end - half].fill(0),
            }
            if is_ahead {
                file.resize(end + ZEROS, 0);
            }
        });
        if alive.is_ok() {
            self.length = end;
        }
        alive
    }

    fn is_full(&self) -> bool {
        self.length > 1_000
    }
}
