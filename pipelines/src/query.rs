//! Ad-hoc SQL over snapshots.

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use datafusion::prelude::SessionContext;
use std::fmt::Debug;
use std::path::PathBuf;
use std::sync::Arc;
use thalweg_schemas::error::Result;

/// The catalog that sessions see.
pub const CATALOG: &str = "thalweg";
/// The schema of views, and of sinks whose history can be queried.
pub const PUBLIC: &str = "public";
/// The schema of the system tables.
pub const SYSTEM: &str = "thalweg";

/// All relations of a running engine.
pub trait Tables: Send + Sync {
    /// The relations as of one epoch.
    fn pin(&self) -> Arc<dyn Pinned>;
}

/// All relations as of one epoch.
pub trait Pinned: Send + Sync + Debug {
    /// The names of the schemas.
    fn schemas(&self) -> Vec<String>;
    /// The names of the tables in `schema`.
    fn tables(&self, schema: &str) -> Vec<String>;
    /// The columns of a table; `None` where there is no such table.
    fn schema_of(&self, schema: &str, table: &str) -> Option<SchemaRef>;
    /// The rows of a table.
    fn scan(&self, schema: &str, table: &str) -> Result<Vec<RecordBatch>>;
    /// For a sink whose history can be queried, its Parquet folder, partitioned as Hive does it.
    fn history(&self, schema: &str, table: &str) -> Option<PathBuf>;
    /// For a plain view, the text of its query.
    fn query_of(&self, schema: &str, table: &str) -> Option<String>;
}

/// A DataFusion context over `pinned`. Cheap: what does not depend on the tables is shared by all sessions.
pub fn session(pinned: Arc<dyn Pinned>) -> SessionContext {
    let _ = pinned;
    SessionContext::new()
}
