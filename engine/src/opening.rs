//! What a run opens before its workers start: archives, sources and sinks, and each worker's share of them.

use crate::archive::Archive;
use crate::archive::memory::MemoryFolder;
use crate::archive::shelf::Shelf;
use crate::delivery::Reunion;
use crate::deployment::{Archives, Place};
use crate::ending::Until;
use crate::ingest::Ingest;
use crate::ledger::Ledger;
use crate::settings::Settings;
use crate::worker::{Job, Past, Share};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::thread::JoinHandle;
use thalweg_operators::plan::SourcePlan;
use thalweg_schemas::connector::{ConnectorSpec, SinkSpec, SourceSpec};
use thalweg_schemas::epoch::{Epoch, WorkerId};
use thalweg_schemas::error::{Error, Result};
use thalweg_schemas::sink::Sink;
use thalweg_schemas::source::Source;

/// How many bytes of dead letters a run keeps that keeps no state.
const MEMORY_BYTES_MAX: u64 = 16 << 20;

/// Opens the archives, to go on after the checkpoint of an epoch, or anew.
pub(crate) fn open_archives(
    places: Option<&Archives>,
    settings: &Settings,
    (anew, checkpoint): (bool, u64),
    complete: &Arc<AtomicU64>,
) -> Result<(Archive, Archive)> {
    let in_memory = || {
        let place = || Place { lineage: "memory".into(), storage: Arc::new(MemoryFolder::default()) };
        Archives { dead: place(), others: Vec::new(), late: place() }
    };
    let limit = if places.is_some() { u64::MAX } else { MEMORY_BYTES_MAX };
    let Archives { dead, others, late } = places.cloned().unwrap_or_else(in_memory);
    let bytes_max = settings.dead_letters_max.min(limit);
    let dead = Shelf::open("dead letters", dead, others, bytes_max, anew)?;
    let late = Shelf::open("late rows", late, Vec::new(), bytes_max / 4, anew)?;
    Ok((Archive::new(dead, checkpoint, complete.clone())?, Archive::new(late, checkpoint, complete.clone())?))
}

/// Starts the threads that write the archives.
pub(crate) fn start_archivists(ledger: &Arc<Ledger>) -> Result<Vec<JoinHandle<()>>> {
    let archives: [(&str, fn(&Ledger) -> &Archive); 2] =
        [("dead letters", |ledger| &ledger.dead), ("late rows", |ledger| &ledger.late)];
    let start = |(name, archive): (&str, fn(&Ledger) -> &Archive)| {
        let ledger = ledger.clone();
        let serve = move || {
            if let Err(error) = archive(&ledger).serve() {
                archive(&ledger).crash();
                ledger.fail(error.with_detail("in the archive of rejected rows"));
            }
        };
        let thread = std::thread::Builder::new().name(name.to_string()).spawn(serve);
        thread.map_err(|e| Error::io("starting a thread for rejected rows", &e))
    };
    archives.into_iter().map(start).collect()
}

fn connector<'a>(connectors: &'a [ConnectorSpec], name: &str) -> Result<&'a ConnectorSpec> {
    let found = connectors.iter().find(|c| c.name == name);
    found.ok_or_else(|| Error::bug(format!("the plan names the connector '{name}', which is not linked in")))
}

pub(crate) fn open_source(plan: &SourcePlan, connectors: &[ConnectorSpec]) -> Result<Arc<dyn Source>> {
    let spec = connector(connectors, &plan.connector)?;
    // What the program hands over by itself stands for tables as well.
    let side: Option<SourceSpec> = if plan.is_table { spec.table.or(spec.source) } else { spec.source };
    let spec = side.ok_or_else(|| Error::bug(format!("connector '{}' is no source", plan.connector)))?;
    (spec.open)(plan.request())
}

pub(crate) fn open_sink(
    plan: &thalweg_operators::plan::SinkPlan,
    connectors: &[ConnectorSpec],
    lineage: &str,
) -> Result<Arc<dyn Sink>> {
    let spec: SinkSpec = connector(connectors, &plan.connector)?
        .sink
        .ok_or_else(|| Error::bug(format!("connector '{}' is no sink", plan.connector)))?;
    (spec.open)(plan.request(lineage))
}

pub(crate) fn share(
    job: &Arc<Job>,
    sources: &[Arc<dyn Source>],
    sinks: &[Arc<dyn Sink>],
    worker: WorkerId,
    (resume, past): (Option<(Epoch, Vec<Reunion>)>, Option<Arc<Past>>),
) -> Result<Share> {
    let ingests = job.dataflow.sources.iter().zip(sources).enumerate().map(|(position, (plan, source))| {
        Ingest::new(position, worker, plan.clone(), source.clone(), job.ledger.clone())
    });
    let writers = sinks.iter().enumerate().map(|(position, sink)| {
        if (worker.index > 0 && sink.single_writer()) || job.ending.until() == Until::Opened {
            return Ok(None);
        }
        let writer = sink.writer(worker)?;
        if let Some(durability) = &job.durability {
            durability.flushes.expect(position, worker.index);
        }
        let resume = resume.as_ref().map(|(checkpoint, reunions)| (*checkpoint, reunions[position].clone()));
        Ok(Some((writer, resume)))
    });
    Ok(Share { ingests: ingests.collect::<Result<_>>()?, writers: writers.collect::<Result<_>>()?, past })
}
