//! `generator`: rows out of nothing, the same for the same seed: for trying things out, for tests, for measuring.

mod agents;
mod nexmark;
mod source;
mod telemetry;

use arrow::datatypes::{DataType, TimeUnit};
use source::Generator;
use std::sync::Arc;
use thalweg_schemas::connector::{BuiltinColumns, ConnectorSpec, SourceSpec};
use thalweg_schemas::error::{Error, Result};
use thalweg_schemas::options::{OptionKind, OptionSpec, Options};
use thalweg_schemas::source::{Source, SourceRequest};
use thalweg_schemas::table::{Column, Origin};

/// The connector's description.
pub(crate) const SPEC: ConnectorSpec = ConnectorSpec {
    name: "generator",
    doc: "Makes rows of service telemetry, of AI agents' events or of the Nexmark auction, the same for the same seed.",
    source: Some(SourceSpec {
        options: OPTIONS,
        formats: &[],
        columns: Some(builtin),
        bounded: |options| options.count("rows").is_some(),
        check: Some(|request| Wishes::read(&request.options).map(drop)),
        open,
    }),
    table: None,
    sink: None,
};

const OPTIONS: &[OptionSpec] = &[
    OptionSpec {
        name: "kind",
        kind: OptionKind::OneOf(&["telemetry", "agents", "nexmark"]),
        default: Some("telemetry"),
        required: false,
        doc: "What the rows are about: requests to services, events of AI agents, or the auction of the Nexmark benchmark.",
    },
    OptionSpec {
        name: "rate",
        kind: OptionKind::Count,
        default: None,
        required: false,
        doc: "Rows a second, over all workers; without it, as fast as they are taken.",
    },
    OptionSpec {
        name: "rows",
        kind: OptionKind::Count,
        default: None,
        required: false,
        doc: "How many rows there are; without it, the source never ends.",
    },
    OptionSpec {
        name: "seed",
        kind: OptionKind::Count,
        default: Some("42"),
        required: false,
        doc: "The same seed gives the same rows, whatever the number of workers.",
    },
    OptionSpec {
        name: "start_time",
        kind: OptionKind::Text,
        default: None,
        required: false,
        doc: "Event time of the first row; by default now if there is a `rate`, else 2026-01-01T00:00:00Z.",
    },
    OptionSpec {
        name: "interval",
        kind: OptionKind::Duration,
        default: None,
        required: false,
        doc: "Event time between two rows; by default what `rate` says, else 100us.",
    },
    OptionSpec {
        name: "keys",
        kind: OptionKind::Count,
        default: Some("100"),
        required: false,
        doc: "How many hosts (telemetry) or sessions at a time (agents) there are.",
    },
];

/// What the rows are about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Telemetry,
    Agents,
    Nexmark,
}

impl Kind {
    fn of(options: &Options) -> Kind {
        match options.get("kind") {
            Some("agents") => Kind::Agents,
            Some("nexmark") => Kind::Nexmark,
            _ => Kind::Telemetry,
        }
    }

    /// The column that is the event time.
    pub(super) fn time(self) -> &'static str {
        match self {
            Kind::Telemetry | Kind::Agents => "ts",
            Kind::Nexmark => "date_time",
        }
    }

    /// Its columns by name, type and whether they may be NULL; the event time comes first.
    pub(super) fn fields(self) -> Vec<(&'static str, DataType, bool)> {
        let ts = ("ts", DataType::Timestamp(TimeUnit::Nanosecond, None), false);
        match self {
            Kind::Nexmark => nexmark::columns(),
            Kind::Telemetry => vec![
                ts,
                ("host", DataType::Utf8, true),
                ("service", DataType::Utf8, true),
                ("region", DataType::Utf8, true),
                ("latency_ms", DataType::Float64, true),
                ("status", DataType::Int32, true),
            ],
            Kind::Agents => vec![
                ts,
                ("session_id", DataType::Utf8, true),
                ("agent", DataType::Utf8, true),
                ("model", DataType::Utf8, true),
                ("event_type", DataType::Utf8, true),
                ("tool", DataType::Utf8, true),
                ("input_tokens", DataType::Int64, true),
                ("output_tokens", DataType::Int64, true),
                ("duration_ms", DataType::Float64, true),
                ("cost_usd", DataType::Float64, true),
                ("ok", DataType::Boolean, true),
            ],
        }
    }
}

fn builtin(options: &Options) -> Result<BuiltinColumns> {
    let columns = Kind::of(options).fields().into_iter().map(|(name, data_type, nullable)| Column {
        name: name.into(),
        data_type,
        nullable,
        origin: Origin::Field,
    });
    // Workers that keep a pace take turns, so that their rows may cross; at full speed each has a partition in order.
    let lateness_ns = if options.count("rate").is_some() { 1_000_000_000 } else { 0 };
    let time = Kind::of(options).time().to_string();
    Ok(BuiltinColumns { columns: columns.collect(), watermark: Some((time, lateness_ns)) })
}

/// What a statement asked for, read from its options.
#[derive(Clone, Debug)]
pub(super) struct Wishes {
    pub kind: Kind,
    pub rate: Option<u64>,
    pub rows: Option<u64>,
    pub seed: u64,
    /// Nanoseconds since 1970; `None`: when reading begins.
    pub start_ns: Option<i64>,
    pub interval_ns: i64,
    pub keys: u64,
}

impl Wishes {
    fn read(options: &Options) -> Result<Wishes> {
        let rate = options.count("rate");
        if rate == Some(0) {
            return Err(Error::user("option \"rate\" takes at least 1 row a second, not '0'")
                .with_hint("Leave it out to get rows as fast as they are taken."));
        }
        let keys = options.count("keys").unwrap_or(100);
        if keys == 0 || keys > 1_000_000 {
            return Err(Error::user(format!("option \"keys\" takes 1 to 1000000, not '{keys}'")));
        }
        let start_ns = match options.get("start_time") {
            Some(text) => {
                Some(arrow::compute::kernels::cast_utils::string_to_timestamp_nanos(text).map_err(|error| {
                    Error::user(format!("option \"start_time\" takes a timestamp, not '{text}'"))
                        .with_detail(error.to_string())
                        .with_hint("Write it as '2026-01-01T00:00:00Z'.")
                })?)
            }
            None if rate.is_some() => None,
            None => Some(1_767_225_600_000_000_000),
        };
        let interval_ns = match (options.duration("interval"), rate) {
            (Some(interval), _) => i64::try_from(interval.as_nanos())
                .map_err(|_| Error::user("option \"interval\" is longer than 292 years"))?,
            (None, Some(rate)) => (1_000_000_000 / rate).max(1) as i64,
            (None, None) => 100_000,
        };
        Ok(Wishes {
            kind: Kind::of(options),
            rate,
            rows: options.count("rows"),
            seed: options.count("seed").unwrap_or(42),
            start_ns,
            interval_ns,
            keys,
        })
    }
}

fn open(request: SourceRequest) -> Result<Arc<dyn Source>> {
    let wishes = Wishes::read(&request.options)?;
    let wanted = request.fields.fields().iter().zip(&request.wanted).filter(|(_, wanted)| **wanted);
    let columns = wanted.map(|(field, _)| field.name().clone()).collect();
    Ok(Arc::new(Generator::new(wishes, columns)))
}

#[cfg(test)]
mod tests;
