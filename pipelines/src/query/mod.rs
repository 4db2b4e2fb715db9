//! Ad-hoc SQL over snapshots: a DataFusion session whose tables are the relations of a running engine.

mod all_time;
mod as_of;
mod history;
mod names;
mod pieces;
mod table;
mod windows;

pub use all_time::{AllTime, with_all_time};
pub use as_of::split_as_of;
pub use windows::{plan, plan_statement};

use crate::registry;
use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use datafusion::catalog::CatalogProviderList;
use datafusion::catalog::{CatalogProvider, MemoryCatalogProvider, MemoryCatalogProviderList};
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::object_store::ObjectStore;
use datafusion::prelude::SessionContext;
use std::fmt::Debug;
use std::sync::Arc;
use table::PinnedSchema;
use thalweg_schemas::error::{Error, Result};

/// The catalog that sessions see.
pub const CATALOG: &str = "thalweg";
/// The schema of views, and of sinks whose history can be queried.
pub const PUBLIC: &str = "public";
/// The schema of the system tables.
pub const SYSTEM: &str = "thalweg";

/// The rows of a table, piece by piece.
pub type Pieces = Box<dyn Iterator<Item = Result<RecordBatch>> + Send>;

/// All relations as of one epoch. Rows are asked for when a statement is carried out, not when it is planned.
pub trait Pinned: Send + Sync + Debug {
    /// The names of the schemas.
    fn schemas(&self) -> Vec<String>;
    /// The names of the tables in `schema`.
    fn tables(&self, schema: &str) -> Vec<String>;
    /// The columns of a table; `None` where there is no such table.
    fn schema_of(&self, schema: &str, table: &str) -> Option<SchemaRef>;
    /// The rows of a table that does not [stream](Self::stream).
    fn scan(&self, schema: &str, table: &str) -> Result<Vec<RecordBatch>>;
    /// Whether a table may be larger than memory, so that its rows are to be [streamed](Self::stream).
    fn streams(&self, schema: &str, table: &str) -> bool;
    /// The rows of a table as they are read.
    fn stream(&self, schema: &str, table: &str) -> Result<Pieces>;
    /// For a sink whose history can be queried, its Parquet folder, partitioned as Hive does it: a path, or the URL of one
    /// in a store that is known ([`know_store`]).
    fn history(&self, schema: &str, table: &str) -> Option<String>;
    /// For a materialized view that a sink keeps the history of, where that is and how its rows are told apart.
    fn all_time(&self, view: &str) -> Option<AllTime>;
    /// For a plain view, the text of its query.
    fn query_of(&self, schema: &str, table: &str) -> Option<String>;
}

/// Lets all sessions read the files of `store`, whose URL is such as `s3://bucket`.
pub fn know_store(url: &str, store: Arc<dyn ObjectStore>) -> Result<()> {
    let url = ObjectStoreUrl::parse(url).map_err(|error| Error::user(format!("{url}: {error}")))?;
    registry::base().runtime_env().register_object_store(url.as_ref(), store);
    Ok(())
}

/// A DataFusion context over `pinned`. Cheap: what does not depend on the tables is shared by all sessions.
pub fn session(pinned: Arc<dyn Pinned>) -> SessionContext {
    let catalog = MemoryCatalogProvider::new();
    for name in pinned.schemas() {
        let schema = Arc::new(PinnedSchema { name: name.clone(), pinned: pinned.clone() });
        // Names are distinct, and a catalog in memory takes any schema.
        let _ = catalog.register_schema(&name, schema);
    }
    let _ = catalog.register_schema(all_time::ALL_TIME, Arc::new(all_time::AllTimeSchema { pinned }));
    let catalogs = MemoryCatalogProviderList::new();
    catalogs.register_catalog(CATALOG.to_string(), Arc::new(catalog));
    let mut state = registry::base().clone();
    state.register_catalog_list(Arc::new(catalogs));
    SessionContext::new_with_state(state)
}
