//! `host`: what this machine says of itself: processors, memory, disks, network, processes, temperatures, energy.
//!
//! One long table instead of many wide ones: a row is one reading, `metric` says of what and `label` of which part.

mod energy;
mod readings;
mod source;

use arrow::datatypes::{DataType, TimeUnit};
use source::{Host, Tick};
use std::sync::Arc;
use std::time::Duration;
use thalweg_schemas::connector::{BuiltinColumns, ConnectorSpec, SourceSpec};
use thalweg_schemas::error::{Error, Result};
use thalweg_schemas::options::{OptionKind, OptionSpec, Options};
use thalweg_schemas::source::{Source, SourceRequest};
use thalweg_schemas::table::{Column, Origin};

/// The connector's description.
pub(crate) const SPEC: ConnectorSpec = ConnectorSpec {
    name: "host",
    doc: "Reads this machine's processors, memory, disks, network, processes, temperatures and energy counters.",
    source: Some(SourceSpec {
        options: OPTIONS,
        formats: &[],
        columns: Some(builtin),
        bounded: |_| false,
        check: Some(|request| interval(request).map(drop)),
        open,
    }),
    table: None,
    sink: None,
};

const OPTIONS: &[OptionSpec] = &[
    OptionSpec {
        name: "interval",
        kind: OptionKind::Duration,
        default: Some("1s"),
        required: false,
        doc: "Time between two readings, at least 200ms.",
    },
    OptionSpec {
        name: "top",
        kind: OptionKind::Count,
        default: Some("10"),
        required: false,
        doc: "How many processes are reported with each reading: those that use the processors most.",
    },
];

/// The columns by name, type and whether they may be NULL.
fn fields() -> [(&'static str, DataType, bool); 7] {
    [
        ("ts", DataType::Timestamp(TimeUnit::Nanosecond, None), false),
        ("host", DataType::Utf8, true),
        ("metric", DataType::Utf8, true),
        ("label", DataType::Utf8, true),
        ("pid", DataType::Int64, true),
        ("value", DataType::Float64, true),
        ("unit", DataType::Utf8, true),
    ]
}

fn builtin(_options: &Options) -> Result<BuiltinColumns> {
    let columns = fields().into_iter().map(|(name, data_type, nullable)| Column {
        name: name.into(),
        data_type,
        nullable,
        origin: Origin::Field,
    });
    Ok(BuiltinColumns { columns: columns.collect(), watermark: Some(("ts".into(), 0)) })
}

fn interval(request: &SourceRequest) -> Result<Duration> {
    let interval = request.options.duration("interval").unwrap_or(Duration::from_secs(1));
    if interval < sysinfo::MINIMUM_CPU_UPDATE_INTERVAL {
        let given = request.options.get("interval").unwrap_or_default();
        let least = sysinfo::MINIMUM_CPU_UPDATE_INTERVAL.as_millis();
        return Err(Error::user(format!("option \"interval\" takes at least {least}ms, not '{given}'"))
            .with_detail("The system does not count the use of processors more finely."));
    }
    Ok(interval)
}

fn open(request: SourceRequest) -> Result<Arc<dyn Source>> {
    let interval = interval(&request)?;
    let top = request.options.count("top").unwrap_or(10) as usize;
    let wanted = request.fields.fields().iter().zip(&request.wanted).filter(|(_, wanted)| **wanted);
    let columns = wanted.map(|(field, _)| field.name().clone()).collect();
    Ok(Arc::new(Host::new(Tick { interval, first: sysinfo::MINIMUM_CPU_UPDATE_INTERVAL }, top, columns)))
}

#[cfg(test)]
mod tests;
