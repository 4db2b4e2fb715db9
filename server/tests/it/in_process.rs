//! An engine inside the test: a pipeline compiled and run to its end, then asked.

use crate::equivalence::wait_until;
use arrow::array::RecordBatch;
use futures::TryStreamExt;
use std::path::Path;
use std::sync::Arc;
use thalweg_engine::clock::SystemClock;
use thalweg_engine::deployment::Surroundings;
use thalweg_engine::durability::storage::{LocalFolder, Storage};
use thalweg_engine::engine::Engine;
use thalweg_engine::settings::Settings;
use thalweg_engine::turns::Free;
use thalweg_pipelines::{Environment, Program, SqlText};
use thalweg_schemas::connector::ConnectorSpec;
use thalweg_server::relations::Relations;
use thalweg_server::session::{Request, Session, Sessions};
use thalweg_server::sql_error::{SqlError, SqlResult};

/// A run that has ended, and a session over what it left.
pub struct Ended {
    runtime: tokio::runtime::Runtime,
    session: Session,
}

/// Runs `pipeline` with `${DATA}` standing for `data`.
pub fn run(pipeline: &str, data: &Path, workers: usize) -> Ended {
    let program = compile(pipeline, data);
    let engine = start(&program, thalweg_connectors::ALL, workers, None);
    engine.wait().unwrap();
    Ended::new(engine, program)
}

/// As [`run`], but stopped in the middle with some workers, after a checkpoint, and restored with others.
pub fn run_in_two_lives(pipeline: &str, data: &Path, workers: [usize; 2]) -> Ended {
    let program = compile(pipeline, data);
    let folder = tempfile::tempdir().unwrap();
    let storage: Arc<dyn Storage> = Arc::new(LocalFolder::open(folder.path()).unwrap());
    interrupted::allow(2);
    let engine = start(&program, &interrupted::connectors(), workers[0], Some(storage.clone()));
    wait_until("what may be read is read", || interrupted::used_up() || engine.ended());
    assert!(!engine.ended(), "the first life came to the end of its sources");
    engine.stop();
    engine.wait().unwrap();
    drop(engine);
    assert!(storage.list().unwrap().iter().any(|name| name.starts_with("checkpoint")), "{:?}", storage.list());
    let engine = start(&program, thalweg_connectors::ALL, workers[1], Some(storage));
    engine.wait().unwrap();
    Ended::new(engine, program)
}

pub fn compile(pipeline: &str, data: &Path) -> Program {
    let text = SqlText { file: "pipeline.sql".into(), text: pipeline.into() };
    let folder = data.display().to_string();
    let variables = |name: &str| (name == "DATA").then(|| folder.clone());
    let environment = Environment {
        connectors: thalweg_connectors::ALL,
        notification: &thalweg_notify::statements::SPEC,
        variables: &variables,
    };
    let texts = [text];
    thalweg_pipelines::compile(&texts, &environment)
        .unwrap_or_else(|errors| panic!("{}", thalweg_pipelines::render_errors(&errors, &texts)))
}

fn start(program: &Program, connectors: &[ConnectorSpec], workers: usize, storage: Option<Arc<dyn Storage>>) -> Engine {
    let settings = Settings { workers, ..Settings::default() };
    let surroundings = Surroundings {
        clock: SystemClock::start(),
        turns: Arc::new(Free),
        sinks: std::collections::BTreeMap::new(),
        storage,
        archives: None,
    };
    Engine::start_with(program.dataflow.clone(), connectors, settings, surroundings).unwrap()
}

/// Files that are read line by line, and only so far.
mod interrupted {
    use std::collections::VecDeque;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use thalweg_schemas::connector::{ConnectorSpec, SourceSpec};
    use thalweg_schemas::epoch::WorkerId;
    use thalweg_schemas::error::Result;
    use thalweg_schemas::source::{Chunk, Outlook, Payload, Polled, Reader, Source, SourceRequest, Span, Standing};

    /// How many lines may still be read.
    static LEFT: AtomicUsize = AtomicUsize::new(0);

    pub fn allow(lines: usize) {
        LEFT.store(lines, Ordering::Release);
    }

    pub fn used_up() -> bool {
        LEFT.load(Ordering::Acquire) == 0
    }

    /// All connectors, of which `file` is as told here.
    pub fn connectors() -> Vec<ConnectorSpec> {
        let mut all = thalweg_connectors::ALL.to_vec();
        for connector in all.iter_mut().filter(|connector| connector.name == "file") {
            connector.source = connector.source.map(|source| SourceSpec { open, ..source });
        }
        all
    }

    fn open(request: SourceRequest) -> Result<Arc<dyn Source>> {
        let file = thalweg_connectors::by_name("file").and_then(|connector| connector.source);
        Ok(Arc::new(InLines((file.unwrap().open)(request)?)))
    }

    struct InLines(Arc<dyn Source>);

    impl Source for InLines {
        fn reader(&self, worker: WorkerId) -> Result<Box<dyn Reader>> {
            Ok(Box::new(LineReader { reader: self.0.reader(worker)?, lines: VecDeque::new() }))
        }

        fn bounded(&self) -> bool {
            self.0.bounded()
        }

        fn replayable(&self) -> bool {
            self.0.replayable()
        }

        fn resume(&self, done: &[Span]) -> Result<()> {
            self.0.resume(done)
        }
    }

    struct LineReader {
        reader: Box<dyn Reader>,
        lines: VecDeque<Chunk>,
    }

    impl Reader for LineReader {
        fn poll(&mut self, budget: usize) -> Result<Polled> {
            if self.lines.is_empty() {
                match self.reader.poll(budget)? {
                    Polled::Ready(chunk) => self.lines.extend(split(chunk)),
                    _ if used_up() => return Ok(Polled::Pending),
                    other => return Ok(other),
                }
            }
            let take = |left: usize| left.checked_sub(1);
            if LEFT.fetch_update(Ordering::AcqRel, Ordering::Acquire, take).is_err() {
                return Ok(Polled::Pending);
            }
            Ok(self.lines.pop_front().map_or(Polled::Pending, Polled::Ready))
        }

        fn replay(&mut self, span: &Span, budget: usize) -> Result<Polled> {
            self.reader.replay(span, budget)
        }

        fn partitions(&self) -> Option<Vec<Standing>> {
            self.reader.partitions()
        }

        fn outlook(&self) -> Outlook {
            self.reader.outlook()
        }
    }

    /// A chunk of its lines, each a chunk.
    fn split(chunk: Chunk) -> Vec<Chunk> {
        let Payload::Bytes(bytes) = &chunk.payload else { panic!("files of lines are read as bytes") };
        let mut start = chunk.start;
        let lines = bytes.split_inclusive(|byte| *byte == b'\n').map(|line| {
            let end = start + line.len() as u64;
            let (partition, header) = (chunk.partition.clone(), chunk.header.clone());
            let payload = Payload::Bytes(line.to_vec());
            let line = Chunk { partition, start, end, header, payload };
            start = end;
            line
        });
        lines.collect()
    }
}

impl Ended {
    fn new(engine: Engine, program: Program) -> Ended {
        let relations = Relations {
            engine: Arc::new(engine),
            program: Arc::new(program),
            pipeline: "pipeline.sql".into(),
            notifications: None,
        };
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let session = Sessions::new(Arc::new(relations)).open().unwrap();
        Ended { runtime, session }
    }

    /// The rows of a query.
    pub fn ask(&self, text: &str) -> SqlResult<Vec<RecordBatch>> {
        self.runtime.block_on(async {
            let Request::Query(prepared) = self.session.request(text).await? else {
                return Err(SqlError::user("0A000", "not a query"));
            };
            let answer = self.session.execute(&prepared, vec![]).await?;
            answer.rows.try_collect().await.map_err(|error| self.session.explain(&error, text))
        })
    }
}
