//! What a statement says about the files to read.

use crate::objects::is_url;
use std::sync::Arc;
use thalweg_schemas::error::{Error, Result};
use thalweg_schemas::format::avro;
use thalweg_schemas::options::{OptionKind, OptionSpec};
use thalweg_schemas::source::SourceRequest;

/// The options of the source.
pub(super) const SOURCE: &[OptionSpec] = &[
    OptionSpec {
        name: "path",
        kind: OptionKind::Text,
        default: None,
        required: true,
        doc: "A file, a folder (all files in it, at any depth), a pattern such as 'logs/**/*.ndjson', or several of \
              these with commas between; relative to the current directory. Or in an object store: \
              's3://bucket/logs/*.ndjson'. Names that begin with '.' or '_' are left out unless they are written. Files \
              that end in .gz or .zst are decompressed.",
    },
    OptionSpec {
        name: "mode",
        kind: OptionKind::OneOf(&["bounded", "tail"]),
        default: Some("bounded"),
        required: false,
        doc: "'bounded' reads what is there, in the order of the names, and ends; 'tail' goes on with what is \
              appended, with new files, and through rotation (json and csv only).",
    },
    OptionSpec {
        name: "start",
        kind: OptionKind::OneOf(&["beginning", "end"]),
        default: Some("beginning"),
        required: false,
        doc: "Where 'tail' begins in the files that are there at first; later ones are read from their beginning.",
    },
    OptionSpec {
        name: "in_time_order",
        kind: OptionKind::Flag,
        default: Some("false"),
        required: false,
        doc: "Whether no bounded file has rows from before those of the file whose name comes before. Then windows close \
              while the files are read; otherwise only in the last one, since any file may begin at any time.",
    },
];

/// Whether reading ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    Bounded,
    Tail,
}

/// How records lie in the files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Layout {
    /// One record a line.
    Lines,
    /// The same, and the first line of each file names the columns.
    LinesAfterHeader,
    /// Parquet; the columns to read.
    Parquet(Arc<[String]>),
    /// Arrow IPC, file or stream; the columns to read.
    Arrow(Arc<[String]>),
    /// Avro container files; the columns to read, and the schema to read them by, if one is given.
    Avro(Arc<[String]>, Option<Arc<str>>),
}

impl Layout {
    /// Whether records are lines.
    pub(super) fn is_lines(&self) -> bool {
        matches!(self, Layout::Lines | Layout::LinesAfterHeader)
    }
}

/// The options, read.
#[derive(Clone, Debug)]
pub(super) struct FileOptions {
    pub paths: Vec<String>,
    pub mode: Mode,
    pub from_end: bool,
    pub in_time_order: bool,
    pub layout: Layout,
    /// Whether the order of records counts over all files, so that only one worker may read them.
    pub one_reader: bool,
}

impl FileOptions {
    pub(super) fn read(request: &SourceRequest) -> Result<FileOptions> {
        let path = request.options.get("path").unwrap_or_default();
        let paths: Vec<String> = path.split(',').map(|p| p.trim().to_string()).filter(|p| !p.is_empty()).collect();
        if paths.is_empty() {
            return Err(Error::user(format!("option \"path\" of source \"{}\" names no file", request.name))
                .with_hint("Name a file, a folder or a pattern such as 'logs/*.ndjson'."));
        }
        let layout = match request.format.as_deref() {
            None | Some("json" | "upsert" | "debezium") => Layout::Lines,
            Some("csv") if request.options.get("header") == Some("false") => Layout::Lines,
            Some("csv") if request.format_options.get("header") == Some("false") => Layout::Lines,
            Some("csv") => Layout::LinesAfterHeader,
            Some("parquet") => Layout::Parquet(wanted(request)),
            Some("arrow") => Layout::Arrow(wanted(request)),
            Some("avro") => {
                let schema = request.format_options.get("schema").map(avro::schema_text).transpose()?;
                Layout::Avro(wanted(request), schema.map(Arc::from))
            }
            Some(other) => {
                return Err(Error::user(format!("connector 'file' does not read format '{other}'"))
                    .with_hint("Formats: json, csv, parquet, avro, arrow, upsert, debezium."));
            }
        };
        let mode = match request.options.get("mode") {
            Some("tail") => Mode::Tail,
            _ => Mode::Bounded,
        };
        let from_end = request.options.get("start") == Some("end");
        if mode == Mode::Bounded && from_end {
            return Err(Error::user("option \"start\" = 'end' needs \"mode\" = 'tail'")
                .with_detail("A bounded source that begins at the end has nothing to read."));
        }
        if mode == Mode::Tail && !layout.is_lines() {
            let format = request.format.as_deref().unwrap_or_default();
            return Err(Error::user(format!("files of format '{format}' cannot be followed as they grow"))
                .with_hint("\"mode\" = 'tail' takes formats of lines; use \"mode\" = 'bounded' for others."));
        }
        if mode == Mode::Tail
            && let Some(url) = paths.iter().find(|path| is_url(path))
        {
            return Err(Error::user(format!("what is in an object store cannot be followed as it grows: '{url}'"))
                .with_hint("Read what is there with \"mode\" = 'bounded'."));
        }
        let in_time_order = request.options.flag("in_time_order");
        let one_reader = matches!(request.format.as_deref(), Some("upsert" | "debezium"));
        Ok(FileOptions { paths, mode, from_end, in_time_order, layout, one_reader })
    }
}

fn wanted(request: &SourceRequest) -> Arc<[String]> {
    let fields = request.fields.fields().iter().zip(&request.wanted);
    fields.filter(|(_, wanted)| **wanted).map(|(field, _)| field.name().clone()).collect()
}
