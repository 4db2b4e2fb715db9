//! `information_schema`: the relations as the SQL standard describes them, with PostgreSQL's names for types.

use crate::relations::Relations;
use arrow::array::{ArrayRef, Int32Array, RecordBatch, StringArray};
use arrow::datatypes::DataType;
use datafusion::catalog::{MemTable, MemorySchemaProvider, SchemaProvider};
use datafusion::error::Result;
use std::sync::Arc;
use thalweg_pipelines::query::{CATALOG, PUBLIC, SYSTEM};

/// The schema over `relations`, which stay the same during a run.
pub fn schema(relations: &Relations) -> Result<Arc<dyn SchemaProvider>> {
    let schema = MemorySchemaProvider::new();
    let named: Vec<(&str, String)> = [PUBLIC, SYSTEM]
        .iter()
        .flat_map(|schema| relations.names(schema).into_iter().map(|name| (*schema, name)))
        .collect();
    let is_view = |(schema, table): &(&str, String)| relations.is_plain_view(schema, table);
    let views: Vec<_> = named.iter().filter(|named| is_view(named)).cloned().collect();
    let columns = columns(relations, &named);
    let schemata = [PUBLIC, SYSTEM, "pg_catalog", "information_schema"].map(|name| ("", name.to_string()));
    let tables = [
        (
            "tables",
            relation_columns(
                &named,
                vec![
                    (
                        "table_type",
                        text(named.iter().map(|named| Some(if is_view(named) { "VIEW" } else { "BASE TABLE" }))),
                    ),
                    ("is_insertable_into", text(named.iter().map(|_| Some("NO")))),
                ],
            ),
        ),
        ("views", relation_columns(&views, vec![("view_definition", text(views.iter().map(|_| None)))])),
        ("columns", columns),
        (
            "schemata",
            vec![
                ("catalog_name", text(schemata.iter().map(|_| Some(CATALOG)))),
                ("schema_name", text(schemata.iter().map(|(_, name)| Some(name.as_str())))),
                ("schema_owner", text(schemata.iter().map(|_| Some(CATALOG)))),
            ],
        ),
        (
            "table_constraints",
            empty(&[
                "constraint_catalog",
                "constraint_schema",
                "constraint_name",
                "table_catalog",
                "table_schema",
                "table_name",
                "constraint_type",
            ]),
        ),
        (
            "key_column_usage",
            empty(&[
                "constraint_catalog",
                "constraint_schema",
                "constraint_name",
                "table_catalog",
                "table_schema",
                "table_name",
                "column_name",
                "ordinal_position",
            ]),
        ),
        ("routines", empty(&["routine_catalog", "routine_schema", "routine_name", "routine_type", "data_type"])),
    ];
    for (name, columns) in tables {
        let batch = RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, c)| (name, c, true)))?;
        let table = MemTable::try_new(batch.schema(), vec![vec![batch]])?;
        schema.register_table(name.to_string(), Arc::new(table))?;
    }
    Ok(Arc::new(schema))
}

type Column = (&'static str, ArrayRef);

fn text<'a>(values: impl Iterator<Item = Option<&'a str>>) -> ArrayRef {
    Arc::new(values.collect::<StringArray>())
}

fn empty(names: &[&'static str]) -> Vec<Column> {
    names.iter().map(|name| (*name, text(std::iter::empty()))).collect()
}

/// Catalog, schema and name of each relation, and what else there is of it.
fn relation_columns(named: &[(&str, String)], more: Vec<Column>) -> Vec<Column> {
    let mut columns = vec![
        ("table_catalog", text(named.iter().map(|_| Some(CATALOG)))),
        ("table_schema", text(named.iter().map(|(schema, _)| Some(*schema)))),
        ("table_name", text(named.iter().map(|(_, name)| Some(name.as_str())))),
    ];
    columns.extend(more);
    columns
}

fn columns(relations: &Relations, named: &[(&str, String)]) -> Vec<Column> {
    let mut owners = Vec::new();
    let mut fields = Vec::new();
    for (schema, table) in named {
        for (at, field) in relations.schema_of(schema, table).iter().flat_map(|s| s.fields().iter()).enumerate() {
            owners.push((*schema, table.clone()));
            fields.push((at as i32 + 1, field.clone()));
        }
    }
    let names: Vec<(String, String)> = fields.iter().map(|(_, field)| type_names(field.data_type())).collect();
    relation_columns(
        &owners,
        vec![
            ("column_name", text(fields.iter().map(|(_, field)| Some(field.name().as_str())))),
            ("ordinal_position", Arc::new(fields.iter().map(|(at, _)| Some(*at)).collect::<Int32Array>())),
            ("column_default", text(fields.iter().map(|_| None))),
            ("is_nullable", text(fields.iter().map(|(_, field)| Some(if field.is_nullable() { "YES" } else { "NO" })))),
            ("data_type", text(names.iter().map(|(long, _)| Some(long.as_str())))),
            ("udt_name", text(names.iter().map(|(_, short)| Some(short.as_str())))),
            ("character_maximum_length", Arc::new(fields.iter().map(|_| None).collect::<Int32Array>())),
            (
                "numeric_precision",
                Arc::new(fields.iter().map(|(_, f)| precision(f.data_type())).collect::<Int32Array>()),
            ),
            ("numeric_scale", Arc::new(fields.iter().map(|(_, f)| scale(f.data_type())).collect::<Int32Array>())),
        ],
    )
}

/// A type's name in the standard, and in PostgreSQL's catalog.
fn type_names(data_type: &DataType) -> (String, String) {
    let short =
        arrow_pg::datatypes::into_pg_type(data_type).map_or("text".to_string(), |known| known.name().to_string());
    let long = match short.as_str() {
        "bool" => "boolean",
        "int2" => "smallint",
        "int4" => "integer",
        "int8" => "bigint",
        "float4" => "real",
        "float8" => "double precision",
        "timestamp" => "timestamp without time zone",
        "timestamptz" => "timestamp with time zone",
        "time" => "time without time zone",
        "varchar" => "character varying",
        array if array.starts_with('_') => "ARRAY",
        same => same,
    };
    (long.to_string(), short)
}

fn precision(data_type: &DataType) -> Option<i32> {
    match data_type {
        DataType::Decimal128(precision, _) | DataType::Decimal256(precision, _) => Some(i32::from(*precision)),
        _ => None,
    }
}

fn scale(data_type: &DataType) -> Option<i32> {
    match data_type {
        DataType::Decimal128(_, scale) | DataType::Decimal256(_, scale) => Some(i32::from(*scale)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::datatypes::TimeUnit;

    #[test]
    fn types_have_postgres_names() {
        let long = |data_type: DataType| type_names(&data_type).0;
        assert_eq!(long(DataType::Timestamp(TimeUnit::Nanosecond, None)), "timestamp without time zone");
        assert_eq!(long(DataType::Float64), "double precision");
        assert_eq!(long(DataType::Utf8), "text");
        assert_eq!(long(DataType::Decimal128(10, 2)), "numeric");
    }
}
