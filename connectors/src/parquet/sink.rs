//! Rows on their way into files.
//!
//! ```text
//!   rows -> split by folder -> wait as rows -> sorted and encoded as a row group -> staged as a file -> committed
//!                              RAW_BYTES_MAX                        target_file_size    commit_interval
//! ```
//!
//! A file is encoded in memory, compressed as it will be, and written in one go. So a full disk never costs more than
//! the attempt: the bytes are still here, and the same call can be made again. All files of whole epochs become visible
//! by one commit (`commit.rs`), which is remembered: so rows of these epochs are never written again.

use super::bucket::Bucket;
use super::commit::{Commit, Replaced, Staged, record_name, recover, visible};
use super::compact::{Kept, Merge, epochs_of};
use super::options::ParquetOptions;
use super::partition::{files_columns, split};
use super::store::{Disk, Store, Stored, temporary};
use crate::objects::{Objects, is_url};
use arrow::array::{Array, RecordBatch};
use arrow::compute::{SortColumn, SortOptions, concat_batches, lexsort_to_indices, take_record_batch};
use arrow::datatypes::SchemaRef;
use bytes::Bytes;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::file::metadata::SortingColumn;
use parquet::file::properties::WriterProperties;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use thalweg_schemas::batch::Batch;
use thalweg_schemas::epoch::{Epoch, WorkerId};
use thalweg_schemas::error::{Error, Result};
use thalweg_schemas::sink::{Sink, Writer};

/// Rows that wait to be encoded, of all folders of a worker: more, and those of the largest folder are.
const RAW_BYTES_MAX: usize = 32 << 20;

/// How often at least it is looked for files whose time is over.
const EXPIRY_PAUSE_MAX: Duration = Duration::from_secs(60);

/// For how long files are merged at the end of a run.
const LAST_MERGES_MAX: Duration = Duration::from_secs(3);

/// The sink.
pub(super) struct ParquetSink {
    layout: Arc<Layout>,
    store: Arc<dyn Store>,
    /// What earlier runs of this lineage have committed.
    commits: Arc<[Commit]>,
}

/// What all writers of a run have in common.
struct Layout {
    options: ParquetOptions,
    /// The columns in the files, by their position in the rows.
    schema: SchemaRef,
    sort: Vec<(usize, SortOptions)>,
    properties: WriterProperties,
    /// What the names of this run's files begin with: unique, and in the order of runs.
    run: String,
}

impl ParquetSink {
    pub(super) fn open(options: ParquetOptions) -> Result<ParquetSink> {
        let path = options.path.clone();
        let failed = |error: std::io::Error| Error::io(format!("folder '{path}' of sink \"{}\"", options.name), &error);
        let store: Arc<dyn Store> = if is_url(&path) {
            Arc::new(Bucket { files: Objects::open(&path)? })
        } else {
            std::fs::create_dir_all(&path).map_err(failed)?;
            Arc::new(Disk { root: path.clone().into() })
        };
        let sink = ParquetSink::with_store(options.clone(), store.clone())?;
        store.clean(&format!("part-{}-", plain(&options.name)), &sink.layout.run).map_err(failed)?;
        Ok(sink)
    }

    /// A sink that writes to `store`, where all that was committed is visible then.
    pub(super) fn with_store(options: ParquetOptions, store: Arc<dyn Store>) -> Result<ParquetSink> {
        let commits = recover(store.as_ref(), &plain(&options.name), &options.lineage).map_err(|(name, error)| {
            Error::io(format!("file '{}/{name}' of sink \"{}\"", options.path, options.name), &error)
        })?;
        let columns = files_columns(&options.partitions, options.schema.fields().len());
        let fields: Vec<_> = columns.iter().map(|column| options.schema.fields()[*column].clone()).collect();
        let order = |descending| SortOptions { descending, nulls_first: false };
        // A column that is in no file is the same throughout a folder: nothing to sort by.
        let sort: Vec<(usize, SortOptions)> = options
            .sort
            .iter()
            .filter_map(|s| Some((columns.iter().position(|c| *c == s.index)?, order(s.descending))))
            .collect();
        let sorting = sort.iter().map(|(column, order)| SortingColumn {
            column_idx: *column as i32,
            descending: order.descending,
            nulls_first: order.nulls_first,
        });
        // Nested columns have several Parquet columns each, so that positions would name the wrong ones.
        let flat = fields.iter().all(|field| !field.data_type().is_nested());
        let properties = WriterProperties::builder()
            .set_compression(options.compression)
            .set_created_by(concat!("thalweg ", env!("CARGO_PKG_VERSION")).to_string())
            .set_sorting_columns((flat && !sort.is_empty()).then(|| sorting.collect()))
            .build();
        let run = format!("part-{}-{:014x}", plain(&options.name), micros());
        let schema = Arc::new(arrow::datatypes::Schema::new(fields));
        let layout = Arc::new(Layout { options, schema, sort, properties, run });
        Ok(ParquetSink { layout, store, commits: commits.into() })
    }
}

/// A sink's name as it can stand in the names of files, with no '-'.
fn plain(sink: &str) -> String {
    sink.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect()
}

fn micros() -> u128 {
    #[expect(clippy::disallowed_methods, reason = "names of files must differ from run to run")]
    let now = SystemTime::now();
    now.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_micros()
}

impl Sink for ParquetSink {
    fn writer(&self, worker: WorkerId) -> Result<Box<dyn Writer>> {
        Ok(Box::new(FolderWriter {
            layout: self.layout.clone(),
            store: self.store.clone(),
            commits: self.commits.clone(),
            worker,
            folders: BTreeMap::new(),
            raw_bytes: 0,
            oldest: None,
            epochs: None,
            staged: Vec::new(),
            publishing: Vec::new(),
            replacing: Vec::new(),
            committed: None,
            kept: None,
            looked: None,
            files: 0,
        }))
    }
}

struct FolderWriter {
    layout: Arc<Layout>,
    store: Arc<dyn Store>,
    commits: Arc<[Commit]>,
    worker: WorkerId,
    folders: BTreeMap<String, Folder>,
    /// Rows that wait to be encoded, in bytes.
    raw_bytes: usize,
    /// When the first of the rows came that are not committed yet.
    oldest: Option<Instant>,
    /// The first and the last epoch of these rows.
    epochs: Option<(Epoch, Epoch)>,
    /// Files that are whole and wait for the commit: their folders, hidden names and lengths.
    staged: Vec<(String, String, u64)>,
    /// Files that are committed and have no name yet.
    publishing: Vec<Staged>,
    /// Files that others have replaced and that are still there.
    replacing: Vec<Replaced>,
    /// The last epoch that was committed.
    committed: Option<Epoch>,
    /// The files that are there, once somebody needed to know.
    kept: Option<Kept>,
    /// When it was last looked for files whose time is over.
    looked: Option<Instant>,
    /// How many files this writer has made.
    files: u64,
}

/// Rows of one folder that are in no file yet.
#[derive(Default)]
struct Folder {
    raw: Vec<RecordBatch>,
    raw_bytes: usize,
    encoder: Option<ArrowWriter<Vec<u8>>>,
    /// A whole file that could not be staged.
    file: Option<Bytes>,
}

impl Writer for FolderWriter {
    fn write(&mut self, epoch: Epoch, batch: &Batch) -> Result<()> {
        // Room first: what fails here has taken nothing of the new rows.
        self.make_room()?;
        for (name, parts) in split(&self.layout.options.partitions, &batch.rows)? {
            let folder = self.folders.entry(name).or_default();
            let bytes = parts.iter().map(row_bytes).sum::<usize>();
            folder.raw.extend(parts);
            folder.raw_bytes += bytes;
            self.raw_bytes += bytes;
        }
        #[expect(clippy::disallowed_methods, reason = "`commit_interval` is a promise in real time")]
        self.oldest.get_or_insert_with(Instant::now);
        self.epochs = Some((self.epochs.map_or(epoch, |(first, _)| first), epoch));
        Ok(())
    }

    fn commit(&mut self, epoch: Epoch) -> Result<()> {
        let due = self.oldest.is_some_and(|oldest| oldest.elapsed() >= self.layout.options.commit_interval);
        // A file that is large enough waits for its epoch alone.
        if due || !self.staged.is_empty() || !self.publishing.is_empty() || !self.replacing.is_empty() {
            return self.flush(epoch);
        }
        self.expire();
        Ok(())
    }

    fn flush(&mut self, _epoch: Epoch) -> Result<()> {
        self.publish()?;
        while let Some(name) = self.folders.keys().next().cloned() {
            self.stage(&name)?;
        }
        if let Some(commit) = self.next_commit() {
            let name = record_name(&plain(&self.layout.options.name), self.worker.index);
            self.store.record(&name, &commit.text()).map_err(|error| self.failed("", &name, &error))?;
            let bytes: Vec<u64> = self.staged.iter().map(|(.., bytes)| *bytes).collect();
            self.remember(&commit, &bytes);
            (self.publishing, self.committed) = (commit.files, Some(commit.epoch));
            self.staged.clear();
        }
        (self.oldest, self.epochs) = (None, None);
        self.publish()?;
        self.merge(false)
    }

    fn resume(&mut self, checkpoint: Epoch) -> Result<Epoch> {
        visible(&self.commits, &self.layout.options.name, self.worker.index, self.worker.peers, checkpoint)
    }

    fn finish(&mut self) -> Result<()> {
        self.flush(Epoch::default())?;
        self.merge(true)
    }
}

impl FolderWriter {
    /// Encodes rows until few enough wait, and completes files that are large enough.
    fn make_room(&mut self) -> Result<()> {
        // Small files are cut from small pieces.
        let raw_max = self.layout.options.file_bytes.clamp(RAW_BYTES_MAX / 32, RAW_BYTES_MAX);
        while self.raw_bytes > raw_max {
            let Some((name, folder)) = self.folders.iter_mut().max_by_key(|(_, folder)| folder.raw_bytes) else {
                break;
            };
            self.raw_bytes -= folder.raw_bytes;
            folder.encode(&self.layout)?;
            if folder.encoded_bytes() >= self.layout.options.file_bytes {
                let name = name.clone();
                self.stage(&name)?;
            }
        }
        // Many folders with a little each are as much memory as one with a lot.
        while self.folders.values().map(Folder::encoded_bytes).sum::<usize>() > self.layout.options.file_bytes {
            let Some((name, _)) = self.folders.iter().max_by_key(|(_, folder)| folder.encoded_bytes()) else { break };
            let name = name.clone();
            self.stage(&name)?;
        }
        Ok(())
    }

    /// Makes what waits for a folder a whole file in it that no reader sees yet. After an error it still waits.
    fn stage(&mut self, name: &str) -> Result<()> {
        let Some(folder) = self.folders.get_mut(name) else { return Ok(()) };
        if folder.file.is_none() {
            self.raw_bytes -= folder.raw_bytes;
            folder.encode(&self.layout)?;
            let file = folder.encoder.take().map(ArrowWriter::into_inner).transpose().map_err(encoding)?;
            folder.file = file.map(Bytes::from);
        }
        if let Some(bytes) = &folder.file {
            let hidden = temporary(&format!("{}-{}-{}", self.layout.run, self.worker.index, self.files));
            let length = bytes.len() as u64;
            self.store.stage(name, &hidden, bytes).map_err(|error| self.failed(name, &hidden, &error))?;
            self.files += 1;
            self.staged.push((name.to_string(), hidden, length));
        }
        // Looked up again: `failed` needed the whole writer.
        if let Some(folder) = self.folders.get_mut(name) {
            folder.file = None;
            if folder.raw.is_empty() && folder.encoder.is_none() {
                self.folders.remove(name);
            }
        }
        Ok(())
    }

    /// The commit of all files that are staged; their names tell the epochs.
    fn next_commit(&self) -> Option<Commit> {
        let (first, last) = self.epochs?;
        let files = self.staged.iter().enumerate().map(|(number, (folder, hidden, _))| {
            let name = format!("{}-{}-{}-{}-{number}.parquet", self.layout.run, self.worker.index, first.0, last.0);
            Staged { folder: folder.clone(), hidden: hidden.clone(), name }
        });
        let files: Vec<_> = files.collect();
        (!files.is_empty()).then(|| self.commit_of(last, files, Vec::new()))
    }

    fn commit_of(&self, epoch: Epoch, files: Vec<Staged>, replaced: Vec<Replaced>) -> Commit {
        let WorkerId { index: worker, peers } = self.worker;
        Commit { lineage: self.layout.options.lineage.clone(), worker, peers, epoch, files, replaced }
    }

    /// Lets readers see what is committed.
    fn publish(&mut self) -> Result<()> {
        while let Some(file) = self.publishing.last() {
            let published = self.store.publish(&file.folder, &file.hidden, &file.name);
            published.map_err(|error| self.failed(&file.folder, &file.name, &error))?;
            self.publishing.pop();
        }
        while let Some((folder, name)) = self.replacing.last() {
            let removed = self.store.remove(folder, name);
            removed.map_err(|error| self.failed(folder, name, &error))?;
            self.replacing.pop();
        }
        Ok(())
    }

    /// What the names of this sink's files begin with.
    fn prefix(&self) -> String {
        format!("part-{}-", plain(&self.layout.options.name))
    }

    /// The files that are there; looked for once, when somebody first needs to know.
    fn kept(&mut self) -> std::io::Result<&mut Kept> {
        let kept = match self.kept.take() {
            Some(kept) => kept,
            None => Kept::find(self.store.as_ref(), &self.prefix(), self.worker.index, self.worker.peers)?,
        };
        Ok(self.kept.insert(kept))
    }

    /// Keeps in mind the files of `commit`, whose lengths are `bytes`.
    fn remember(&mut self, commit: &Commit, bytes: &[u64]) {
        let Some(kept) = &mut self.kept else { return };
        for (file, bytes) in commit.files.iter().zip(bytes) {
            #[expect(clippy::disallowed_methods, reason = "`retention` is about real time")]
            let modified = SystemTime::now();
            kept.add(Stored { folder: file.folder.clone(), name: file.name.clone(), bytes: *bytes, modified });
        }
    }

    /// Makes one file of many small ones, as often as there are enough. What cannot be merged now stays as it is.
    fn merge(&mut self, end: bool) -> Result<()> {
        let Some(epoch) = self.committed.filter(|_| self.layout.options.compact) else { return Ok(()) };
        let target = self.layout.options.file_bytes as u64;
        #[expect(clippy::disallowed_methods, reason = "the end of a run is not to wait for long")]
        let begun = Instant::now();
        while end.then(|| begun.elapsed()).is_none_or(|passed| passed < LAST_MERGES_MAX)
            && let Some(merge) = self.kept().ok().and_then(|kept| kept.due(target, end))
        {
            match self.merge_once(&merge, epoch) {
                Ok(()) => self.publish()?,
                Err(error) => {
                    tracing::warn!(sink = %self.layout.options.name, "small files stay as they are for now: {error}");
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// Commits one file in the place of those of `merge`, unless some of these are not what they were.
    fn merge_once(&mut self, merge: &Merge, epoch: Epoch) -> Result<()> {
        let Some(merged) = self.merged(merge)? else { return Ok(()) };
        let hidden = temporary(&format!("{}-{}-{}", self.layout.run, self.worker.index, self.files));
        self.store.stage(&merge.folder, &hidden, &merged).map_err(|e| self.failed(&merge.folder, &hidden, &e))?;
        let (first, last) = epochs_of(&merge.names).unwrap_or((epoch.0, epoch.0));
        // No other file has this number, and none of a commit an `m`.
        let name = format!("{}-{}-{first}-{last}-{}m.parquet", self.layout.run, self.worker.index, self.files);
        self.files += 1;
        let folder = merge.folder.clone();
        let replaced = merge.names.iter().map(|name| (folder.clone(), name.clone())).collect();
        let commit = self.commit_of(epoch, vec![Staged { folder, hidden, name }], replaced);
        let record = record_name(&plain(&self.layout.options.name), self.worker.index);
        self.store.record(&record, &commit.text()).map_err(|error| self.failed("", &record, &error))?;
        if let Some(kept) = &mut self.kept {
            kept.forget(&merge.folder, &merge.names);
        }
        self.remember(&commit, &[merged.len() as u64]);
        (self.publishing, self.replacing) = (commit.files, commit.replaced);
        Ok(())
    }

    /// The rows of all files of `merge` as one; `None` if there are files among them that cannot be merged, which are
    /// then forgotten.
    fn merged(&mut self, merge: &Merge) -> Result<Option<Bytes>> {
        let layout = self.layout.clone();
        let mut whole = Folder::default();
        for name in &merge.names {
            let read = self.store.read(&merge.folder, name).ok().and_then(|bytes| {
                let builder = ParquetRecordBatchReaderBuilder::try_new(bytes).ok()?;
                let same = builder.schema().fields() == layout.schema.fields();
                let rows = same.then(|| builder.build().ok()).flatten()?;
                let formed = |batch: RecordBatch| batch.with_schema(layout.schema.clone());
                rows.map(|batch| batch.and_then(formed)).collect::<Result<Vec<_>, _>>().ok()
            });
            let Some(rows) = read else {
                if let Some(kept) = &mut self.kept {
                    kept.forget(&merge.folder, std::slice::from_ref(name));
                }
                return Ok(None);
            };
            for batch in rows {
                whole.raw_bytes += row_bytes(&batch);
                whole.raw.push(batch);
                if whole.raw_bytes > RAW_BYTES_MAX {
                    whole.encode(&layout)?;
                }
            }
        }
        whole.encode(&layout)?;
        let file = whole.encoder.take().map(ArrowWriter::into_inner).transpose().map_err(encoding)?;
        Ok(file.map(Bytes::from))
    }

    /// Removes files whose time is over, looking for them every now and then. What cannot be removed now is later.
    fn expire(&mut self) {
        let Some(retention) = self.layout.options.retention else { return };
        #[expect(clippy::disallowed_methods, reason = "`retention` is about real time")]
        let (now, today) = (Instant::now(), SystemTime::now());
        let pause = (retention / 10).min(EXPIRY_PAUSE_MAX);
        if self.looked.is_some_and(|looked| now.duration_since(looked) < pause) {
            return;
        }
        self.looked = Some(now);
        let expired = self.kept().map(|kept| kept.expired(today, retention)).unwrap_or_default();
        for file in expired {
            if self.store.remove(&file.folder, &file.name).is_ok()
                && let Some(kept) = &mut self.kept
            {
                kept.forget(&file.folder, &[file.name]);
            }
        }
    }

    fn failed(&self, folder: &str, name: &str, error: &std::io::Error) -> Error {
        let path = std::path::Path::new(&self.layout.options.path).join(folder).join(name);
        Error::io(format!("file '{}' of sink \"{}\"", path.display(), self.layout.options.name), error)
    }
}

impl Folder {
    fn encoded_bytes(&self) -> usize {
        let encoder = self.encoder.as_ref().map_or(0, |encoder| encoder.bytes_written() + encoder.in_progress_size());
        encoder + self.file.as_ref().map_or(0, Bytes::len)
    }

    /// Makes the rows that wait a row group, sorted.
    fn encode(&mut self, layout: &Layout) -> Result<()> {
        self.raw_bytes = 0;
        let raw = std::mem::take(&mut self.raw);
        if raw.is_empty() {
            return Ok(());
        }
        let encoder = match &mut self.encoder {
            Some(encoder) => encoder,
            None => {
                let encoder = ArrowWriter::try_new(Vec::new(), layout.schema.clone(), Some(layout.properties.clone()));
                self.encoder.insert(encoder.map_err(encoding)?)
            }
        };
        for batch in sorted(layout, raw)? {
            encoder.write(&batch).map_err(encoding)?;
        }
        encoder.flush().map_err(encoding)
    }
}

fn sorted(layout: &Layout, raw: Vec<RecordBatch>) -> Result<Vec<RecordBatch>> {
    if layout.sort.is_empty() {
        return Ok(raw);
    }
    let rows = concat_batches(&layout.schema, &raw)?;
    let columns = layout
        .sort
        .iter()
        .map(|(column, order)| SortColumn { values: rows.column(*column).clone(), options: Some(*order) });
    let indices = lexsort_to_indices(&columns.collect::<Vec<_>>(), None)?;
    Ok(vec![take_record_batch(&rows, &indices)?])
}

fn encoding(error: parquet::errors::ParquetError) -> Error {
    Error::bug(format!("rows could not be encoded as Parquet: {error}"))
}

/// The bytes that the rows themselves take, however large the buffers are that they are a part of.
fn row_bytes(rows: &RecordBatch) -> usize {
    let sizes = rows.columns().iter().map(|c| c.to_data().get_slice_memory_size().unwrap_or(0));
    sizes.sum::<usize>() + rows.num_rows()
}
