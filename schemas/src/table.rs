//! What a source, table or view looks like from outside: its columns and what is promised of them.

use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use std::sync::Arc;

/// A column as declared in `CREATE SOURCE`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    /// Its name, as SQL sees it (lower case unless it was quoted).
    pub name: String,
    /// Its Arrow type.
    pub data_type: DataType,
    /// Whether NULL is allowed. A row with NULL where it is not goes to the dead letters.
    pub nullable: bool,
    /// Where its values come from.
    pub origin: Origin,
}

/// Where the values of a column come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A field of the record, by the column's name.
    Field,
    /// What the engine knows of the record.
    Metadata(Metadata),
    /// Computed from the other columns (`AS (expr)`).
    Generated,
}

/// What the engine can say about a record besides its fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Metadata {
    /// `_source`: the name of the source, text.
    Source,
    /// `_partition`: the partition's name (a file's path, a topic's partition), text.
    Partition,
    /// `_offset`: where in the partition the record starts, big integer.
    Offset,
    /// `_ingest_time`: when its epoch began, timestamp.
    IngestTime,
    /// `_key`: the record's key, binary or text (wrong bytes replaced); NULL where the system knows none.
    Key,
    /// `_headers`: the record's headers as a JSON object, text; NULL where the system knows none.
    Headers,
}

impl Metadata {
    /// The metadata that the column name `name` stands for.
    pub fn by_name(name: &str) -> Option<Metadata> {
        Some(match name {
            "_source" => Metadata::Source,
            "_partition" => Metadata::Partition,
            "_offset" => Metadata::Offset,
            "_ingest_time" => Metadata::IngestTime,
            "_key" => Metadata::Key,
            "_headers" => Metadata::Headers,
            _ => return None,
        })
    }

    /// The types that such a column may be declared with, the first being its own.
    pub fn data_types(self) -> Vec<DataType> {
        match self {
            Metadata::Source | Metadata::Partition | Metadata::Headers => vec![DataType::Utf8],
            Metadata::Offset => vec![DataType::Int64],
            Metadata::IngestTime => {
                let nanos = |zone| DataType::Timestamp(TimeUnit::Nanosecond, zone);
                vec![nanos(None), nanos(Some("+00:00".into()))]
            }
            Metadata::Key => vec![DataType::Binary, DataType::Utf8],
        }
    }
}

/// The Arrow schema of `columns`, in their order.
pub fn schema_of(columns: &[Column]) -> SchemaRef {
    let fields = columns.iter().map(|c| Field::new(&c.name, c.data_type.clone(), c.nullable));
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}
