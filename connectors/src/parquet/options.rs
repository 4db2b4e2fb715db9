//! What a statement says about the history to write.

use super::partition::{Partitioning, Unit};
use arrow::datatypes::{DataType, SchemaRef};
use parquet::basic::{Compression, ZstdLevel};
use std::time::Duration;
use thalweg_schemas::error::{Error, Result};
use thalweg_schemas::options::{OptionKind, OptionSpec};
use thalweg_schemas::sink::SinkRequest;
use thalweg_schemas::suggest::closest;

/// The options of the sink.
pub(super) const OPTIONS: &[OptionSpec] = &[
    OptionSpec {
        name: "path",
        kind: OptionKind::Text,
        default: None,
        required: true,
        doc: "The folder, made if it is not there, relative to the current directory; or s3://bucket/prefix.",
    },
    OptionSpec {
        name: "partition_by",
        kind: OptionKind::Text,
        default: None,
        required: false,
        doc: "Columns, or year(c), month(c), day(c), hour(c) of a time column (in UTC), with commas between: one level \
              of folders each, as in 'day(window_start), region'.",
    },
    OptionSpec {
        name: "sort_by",
        kind: OptionKind::Text,
        default: None,
        required: false,
        doc: "Columns by which rows are sorted within each row group, with commas between; 'desc' turns one around.",
    },
    OptionSpec {
        name: "target_file_size",
        kind: OptionKind::Size,
        default: Some("128MB"),
        required: false,
        doc: "A file that has grown to about this is completed before its time.",
    },
    OptionSpec {
        name: "commit_interval",
        kind: OptionKind::Duration,
        default: Some("10s"),
        required: false,
        doc: "How long rows wait at most until they are visible in a file. Shorter means more and smaller files.",
    },
    OptionSpec {
        name: "compact",
        kind: OptionKind::Flag,
        default: Some("false"),
        required: false,
        doc: "Whether small files of a folder are merged into larger ones, up to target_file_size, and small ones that a \
              run leaves are at its end.",
    },
    OptionSpec {
        name: "retention",
        kind: OptionKind::Duration,
        default: None,
        required: false,
        doc: "Files of the sink that were written longer ago than this are removed, as in '90 days'; without it none are.",
    },
    OptionSpec {
        name: "compression",
        kind: OptionKind::OneOf(&["zstd", "snappy", "lz4", "none"]),
        default: Some("zstd"),
        required: false,
        doc: "How pages are compressed.",
    },
];

/// The options, read and bound to the rows' schema.
#[derive(Clone, Debug)]
pub(super) struct ParquetOptions {
    pub name: String,
    /// The state that the run goes on from.
    pub lineage: String,
    /// A folder of this machine, or the URL of one in an object store.
    pub path: String,
    pub schema: SchemaRef,
    pub partitions: Vec<Partitioning>,
    pub sort: Vec<SortColumn>,
    pub file_bytes: usize,
    pub commit_interval: Duration,
    pub compact: bool,
    pub retention: Option<Duration>,
    pub compression: Compression,
}

/// A column to sort by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SortColumn {
    pub index: usize,
    pub descending: bool,
}

impl ParquetOptions {
    pub(super) fn read(request: &SinkRequest) -> Result<ParquetOptions> {
        let options = &request.options;
        let path = options.get("path").unwrap_or_default();
        if path.is_empty() {
            return Err(Error::user(format!("option \"path\" of sink \"{}\" names no folder", request.name))
                .with_hint("Name a folder such as 'out/latency', or 's3://bucket/latency'."));
        }
        let partitions: Vec<Partitioning> =
            parts(options.get("partition_by")).map(|part| partitioning(part, request)).collect::<Result<_>>()?;
        let plain = partitions.iter().filter(|p| p.unit.is_none());
        if plain.count() >= request.schema.fields().len() {
            return Err(Error::user(format!(
                "option \"partition_by\" of sink \"{}\" names every column",
                request.name
            ))
            .with_detail("Columns in the folders' names are not in the files, which would be empty."));
        }
        let sort = parts(options.get("sort_by")).map(|part| sort_column(part, request)).collect::<Result<_>>()?;
        let compression = match options.get("compression") {
            Some("snappy") => Compression::SNAPPY,
            Some("lz4") => Compression::LZ4_RAW,
            Some("none") => Compression::UNCOMPRESSED,
            _ => Compression::ZSTD(ZstdLevel::default()),
        };
        Ok(ParquetOptions {
            name: request.name.clone(),
            lineage: request.lineage.clone(),
            path: path.to_string(),
            schema: request.schema.clone(),
            partitions,
            sort,
            file_bytes: options.size("target_file_size").unwrap_or(128 << 20) as usize,
            commit_interval: options.duration("commit_interval").unwrap_or(Duration::from_secs(10)),
            compact: options.flag("compact"),
            retention: options.duration("retention"),
            compression,
        })
    }
}

fn parts(list: Option<&str>) -> impl Iterator<Item = &str> {
    list.unwrap_or_default().split(',').map(str::trim).filter(|part| !part.is_empty())
}

fn partitioning(part: &str, request: &SinkRequest) -> Result<Partitioning> {
    let Some((function, argument)) = part.strip_suffix(')').and_then(|part| part.split_once('(')) else {
        let column = column("partition_by", part, request)?;
        return Ok(Partitioning { column, unit: None });
    };
    let units = [("year", Unit::Year), ("month", Unit::Month), ("day", Unit::Day), ("hour", Unit::Hour)];
    let function = function.trim().to_ascii_lowercase();
    let Some((_, unit)) = units.iter().find(|(name, _)| *name == function) else {
        return Err(Error::user(format!(
            "option \"partition_by\" of sink \"{}\" does not take '{part}'",
            request.name
        ))
        .with_hint("Use a column, or year(c), month(c), day(c), hour(c) of a time column."));
    };
    let column = column("partition_by", argument.trim(), request)?;
    let field = request.schema.field(column);
    if !matches!(field.data_type(), DataType::Timestamp(..) | DataType::Date32 | DataType::Date64) {
        return Err(Error::user(format!("{function}() of column \"{}\" needs a time", field.name()))
            .with_detail(format!("In sink \"{}\" its type is {}.", request.name, field.data_type()))
            .with_hint(format!("Partition by the column itself, or by {function}() of a timestamp or date.")));
    }
    Ok(Partitioning { column, unit: Some(*unit) })
}

fn sort_column(part: &str, request: &SinkRequest) -> Result<SortColumn> {
    let mut words = part.rsplitn(2, char::is_whitespace);
    let last = words.next().unwrap_or_default();
    let (name, descending) = match (words.next(), last.to_ascii_lowercase().as_str()) {
        (Some(name), "desc") => (name.trim(), true),
        (Some(name), "asc") => (name.trim(), false),
        _ => (part, false),
    };
    Ok(SortColumn { index: column("sort_by", name, request)?, descending })
}

/// The column that SQL would find by `name`: as it is in double quotes, else in lower case.
fn column(option: &str, name: &str, request: &SinkRequest) -> Result<usize> {
    let found = match name.strip_prefix('"').and_then(|name| name.strip_suffix('"')) {
        Some(quoted) => quoted.to_string(),
        None => name.to_lowercase(),
    };
    request.schema.index_of(&found).map_err(|_| {
        let names = request.schema.fields().iter().map(|f| f.name().as_str());
        let error = Error::user(format!(
            "column \"{name}\" in option \"{option}\" does not exist in the rows of sink \"{}\"",
            request.name
        ));
        match closest(&found, names.clone()) {
            Some(name) => error.with_hint(format!("Did you mean \"{name}\"?")),
            None => error.with_hint(format!("Columns: {}.", names.collect::<Vec<_>>().join(", "))),
        }
    })
}
