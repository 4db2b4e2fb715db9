//! The history of a sink: a folder of Parquet files, partitioned as Hive does it, as one table.
//!
//! It may lie in an object store, which is made known first ([`super::know_store`]).
//! Which columns are folders is seen from the folders. Their values are text in paths, and become what the sink
//! declared; folders that are no column of the sink (`day=2026-11-21`) come after its columns, as text.

use crate::registry;
use arrow::array::{AsArray, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::catalog::TableProvider;
use datafusion::common::{DataFusionError, Result};
use datafusion::datasource::file_format::parquet::ParquetFormat;
use datafusion::datasource::listing::{ListingOptions, ListingTable, ListingTableConfig, ListingTableUrl};
use datafusion::datasource::{ViewTable, provider_as_source};
use datafusion::logical_expr::{
    ColumnarValue, Expr, LogicalPlanBuilder, ScalarUDF, Volatility, cast, create_udf, ident,
};
use datafusion::object_store::path::Path;
use std::sync::{Arc, OnceLock};

/// How Hive writes NULL into a path.
const NULL_FOLDER: &str = "__HIVE_DEFAULT_PARTITION__";
/// The name of the listing inside the view that is the table.
const LISTING: &str = "files";

/// The table of the files in `folder`, with the columns of the sink. No files yet: no rows.
pub(super) async fn table(folder: &str, columns: &SchemaRef) -> Result<Arc<dyn TableProvider>> {
    let url = url(folder)?;
    let folders = partition_folders(&url).await?;
    let in_files: Vec<_> = columns.fields().iter().filter(|f| !folders.contains(f.name())).cloned().collect();
    let options = ListingOptions::new(Arc::new(ParquetFormat::default()))
        .with_file_extension(".parquet")
        .with_table_partition_cols(folders.iter().map(|name| (name.clone(), DataType::Utf8)).collect());
    let nullable = in_files.iter().map(|f: &Arc<Field>| f.as_ref().clone().with_nullable(true)).collect::<Vec<_>>();
    let config =
        ListingTableConfig::new(url).with_listing_options(options).with_schema(Arc::new(Schema::new(nullable)));
    let listing = ListingTable::try_new(config)?;
    if folders.is_empty() {
        return Ok(Arc::new(listing));
    }
    let declared = columns.fields().iter().map(|field| match folders.contains(field.name()) {
        true => cast(from_folder(field.name()), field.data_type().clone()).alias(field.name()),
        false => ident(field.name()),
    });
    let extra = folders.iter().filter(|name| columns.field_with_name(name).is_err());
    let exprs: Vec<Expr> = declared.chain(extra.map(|name| from_folder(name).alias(name))).collect();
    let scan = LogicalPlanBuilder::scan(LISTING, provider_as_source(Arc::new(listing)), None)?;
    Ok(Arc::new(ViewTable::new(scan.project(exprs)?.build()?, None)))
}

/// What a folder's name says: percent-decoded, and NULL where it says so.
fn from_folder(name: &str) -> Expr {
    static DECODE: OnceLock<ScalarUDF> = OnceLock::new();
    let decode = DECODE.get_or_init(|| {
        let decoded = |values: &StringArray| values.iter().map(|v| v.and_then(decode)).collect::<StringArray>();
        let function = move |arguments: &[ColumnarValue]| {
            let arrays = ColumnarValue::values_to_arrays(arguments)?;
            Ok(ColumnarValue::Array(Arc::new(decoded(arrays[0].as_string()))))
        };
        let text = DataType::Utf8;
        create_udf("from_folder", vec![text.clone()], text, Volatility::Immutable, Arc::new(function))
    });
    decode.call(vec![ident(name)])
}

fn decode(value: &str) -> Option<String> {
    if value == NULL_FOLDER {
        return None;
    }
    let (mut bytes, mut rest) = (Vec::with_capacity(value.len()), value.as_bytes());
    while let Some((first, tail)) = rest.split_first() {
        let code = (*first == b'%').then(|| std::str::from_utf8(tail.get(..2)?).ok()).flatten();
        match code.and_then(|code| u8::from_str_radix(code, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &tail[2..];
            }
            None => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// The names of the partition folders, outermost first, as the first file's path shows them.
async fn partition_folders(url: &ListingTableUrl) -> Result<Vec<String>> {
    let store = registry::base().runtime_env().object_store(url)?;
    let (mut names, mut here) = (Vec::new(), url.prefix().clone());
    loop {
        let mut folders = store.list_with_delimiter(Some(&here)).await?.common_prefixes;
        folders.sort();
        let name = |folder: &Path| Some(folder.filename()?.split_once('=')?.0.to_string());
        let Some((folder, name)) = folders.into_iter().find_map(|f| name(&f).map(|name| (f, name))) else {
            return Ok(names);
        };
        here = folder;
        names.push(name);
    }
}

/// The folder as a URL; a folder that is not there yet is an empty one.
fn url(folder: &str) -> Result<ListingTableUrl> {
    // With the slash at its end it is a folder whether or not it is there.
    if folder.contains("://") {
        return ListingTableUrl::parse(format!("{}/", folder.trim_end_matches('/')));
    }
    let absolute = std::path::absolute(folder).map_err(DataFusionError::IoError)?;
    ListingTableUrl::parse(format!("{}/", absolute.display()))
}
