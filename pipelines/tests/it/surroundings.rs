//! Connectors that exist only here, so that what is tested depends on no real one.

use std::sync::Arc;
use thalweg_pipelines::{Environment, Program, SqlText, compile};
use thalweg_schemas::connector::{BuiltinColumns, Changelogs, ConnectorSpec, SinkSpec, SourceSpec};
use thalweg_schemas::error::{Error, Result};
use thalweg_schemas::notification::{NotificationKind, NotificationPlan, NotificationSpec};
use thalweg_schemas::options::{OptionKind, OptionSpec, Options};
use thalweg_schemas::sink::{Sink, SinkRequest};
use thalweg_schemas::source::{Source, SourceRequest};
use thalweg_schemas::table::{Column, Origin};

const fn of_table(name: &'static str, kind: OptionKind, default: &'static str) -> OptionSpec {
    OptionSpec { name, kind, default: Some(default), required: false, doc: "Of tables." }
}
const CACHE: OptionSpec = of_table("cache", OptionKind::OneOf(&["full", "lru"]), "full");
const CACHE_ROWS: OptionSpec = of_table("cache_rows", OptionKind::Count, "1000");
const CACHE_TTL: OptionSpec = of_table("cache_ttl", OptionKind::Duration, "1 minute");
const REFRESH: OptionSpec = of_table("refresh", OptionKind::Duration, "1 minute");
const PATH: OptionSpec =
    OptionSpec { name: "path", kind: OptionKind::Text, default: None, required: true, doc: "Where it lies." };
const MODE: OptionSpec = OptionSpec {
    name: "mode",
    kind: OptionKind::OneOf(&["bounded", "tail"]),
    default: Some("bounded"),
    required: false,
    doc: "Whether it ends.",
};
const PARTITION_BY: OptionSpec =
    OptionSpec { name: "partition_by", kind: OptionKind::Text, default: None, required: false, doc: "Its folders." };
const RATE: OptionSpec =
    OptionSpec { name: "rate", kind: OptionKind::Count, default: None, required: false, doc: "Rows a second." };

/// `feed` reads, `gauge` reads and brings its columns, `shelf` is a table, `store` appends and can be queried, `page` appends with a
/// format, `screen` takes changelogs where that is asked for.
pub const CONNECTORS: &[ConnectorSpec] = &[
    ConnectorSpec {
        name: "feed",
        doc: "Reads.",
        source: Some(SourceSpec {
            options: &[PATH, MODE],
            formats: &["json", "csv", "parquet", "upsert", "debezium"],
            columns: None,
            bounded: |options| options.get("mode") == Some("bounded"),
            check: None,
            open: no_source,
        }),
        table: None,
        sink: None,
    },
    ConnectorSpec {
        name: "gauge",
        doc: "Measures.",
        source: Some(SourceSpec {
            options: &[RATE],
            formats: &[],
            columns: Some(gauge_columns),
            bounded: |_| false,
            check: None,
            open: no_source,
        }),
        table: None,
        sink: None,
    },
    ConnectorSpec {
        name: "shelf",
        doc: "Is read again and again.",
        source: None,
        table: Some(SourceSpec {
            options: &[PATH, CACHE, CACHE_ROWS, CACHE_TTL, REFRESH],
            formats: &[],
            columns: None,
            bounded: |_| false,
            check: None,
            open: no_source,
        }),
        sink: None,
    },
    ConnectorSpec {
        name: "store",
        doc: "Stores.",
        source: None,
        table: None,
        sink: Some(SinkSpec {
            options: &[PATH, PARTITION_BY],
            formats: &[],
            changelogs: Changelogs::Never,
            history: Some(|options| options.get("path").unwrap_or_default().to_string()),
            check: None,
            open: no_sink,
        }),
    },
    ConnectorSpec {
        name: "page",
        doc: "Appends to a file.",
        source: None,
        table: None,
        sink: Some(SinkSpec {
            options: &[PATH],
            formats: &["json", "csv"],
            changelogs: Changelogs::Never,
            history: None,
            check: None,
            open: no_sink,
        }),
    },
    ConnectorSpec {
        name: "screen",
        doc: "Shows.",
        source: None,
        table: None,
        sink: Some(SinkSpec {
            options: &[],
            formats: &["json", "csv"],
            changelogs: Changelogs::WhenAsked,
            history: None,
            check: None,
            open: no_sink,
        }),
    },
];

fn gauge_columns(_options: &Options) -> Result<BuiltinColumns> {
    let column =
        |name: &str, data_type, nullable| Column { name: name.into(), data_type, nullable, origin: Origin::Field };
    use arrow::datatypes::{DataType, TimeUnit};
    Ok(BuiltinColumns {
        columns: vec![
            column("ts", DataType::Timestamp(TimeUnit::Nanosecond, None), false),
            column("host", DataType::Utf8, false),
            column("value", DataType::Float64, true),
        ],
        watermark: Some(("ts".into(), 1_000_000_000)),
    })
}

fn no_source(_request: SourceRequest) -> Result<Arc<dyn Source>> {
    Err(Error::bug("nothing is opened here"))
}

fn no_sink(_request: SinkRequest) -> Result<Arc<dyn Sink>> {
    Err(Error::bug("nothing is opened here"))
}

/// Statements about notification with an option or two.
const NOTIFICATION: NotificationSpec = NotificationSpec {
    options: notification_options,
    check: check_notification,
    names: |plan| {
        let calendars = plan.options.get("calendars").map(str::to_string);
        calendars.into_iter().map(|name| (NotificationKind::Calendar, name)).collect()
    },
};

fn notification_options(kind: NotificationKind, notifier_type: &str) -> Vec<OptionSpec> {
    let text = |name, required, doc| OptionSpec { name, kind: OptionKind::Text, default: None, required, doc };
    match (kind, notifier_type) {
        (NotificationKind::Notifier, "webhook") => {
            vec![text("type", true, "What is told."), text("url", true, "Where messages go.")]
        }
        (NotificationKind::Notifier, _) => vec![text("type", true, "What is told.")],
        (NotificationKind::Silence, _) => {
            vec![text("matchers", true, "What the alerts are like."), text("calendars", false, "When.")]
        }
        (NotificationKind::Inhibition, _) => vec![text("equal", false, "Labels.")],
        (NotificationKind::Calendar, _) => vec![text("times", false, "Times of a day.")],
    }
}

fn check_notification(plan: &NotificationPlan) -> Result<()> {
    match plan.options.get("matchers") {
        Some("nonsense") => {
            Err(Error::user(format!("'nonsense' is not a list of matchers in silence \"{}\"", plan.name)))
        }
        _ => Ok(()),
    }
}

pub fn text(file: &str, text: &str) -> SqlText {
    SqlText { file: file.into(), text: text.into() }
}

pub fn compiled(texts: &[SqlText]) -> Result<Program, Vec<Error>> {
    compiled_with(texts, CONNECTORS)
}

pub fn compiled_with(texts: &[SqlText], connectors: &[ConnectorSpec]) -> Result<Program, Vec<Error>> {
    let variables = |name: &str| (name == "DATA").then(|| "/data".to_string());
    compile(texts, &Environment { connectors, notification: &NOTIFICATION, variables: &variables })
}

/// Compares what `render` makes of each `tests/FOLDER/x.sql` with `x.EXTENSION` beside it; `UPDATE=1` rewrites those.
pub fn golden(folder: &str, extension: &str, render: impl Fn(&str, &str) -> String) {
    let folder = std::path::Path::new("tests").join(folder);
    let mut paths: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|e| e == "sql"));
    paths.sort();
    assert!(!paths.is_empty());
    let mut different = Vec::new();
    for path in paths {
        let file = path.file_name().unwrap().to_str().unwrap().to_string();
        let found = render(&file, &std::fs::read_to_string(&path).unwrap());
        let beside = path.with_extension(extension);
        if std::env::var_os("UPDATE").is_some() {
            std::fs::write(&beside, &found).unwrap();
        }
        let expected = std::fs::read_to_string(&beside).unwrap_or_default();
        if found != expected {
            different.push(format!("{file}\n--- expected\n{expected}\n--- found\n{found}"));
        }
    }
    assert!(different.is_empty(), "{}", different.join("\n"));
}
