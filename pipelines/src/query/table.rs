//! The relations of a running engine as DataFusion's tables.

use super::pieces::TablePieces;
use super::{Pinned, history, session};
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::catalog::{SchemaProvider, Session, TableProvider};
use datafusion::common::{DataFusionError, Result};
use datafusion::datasource::TableType;
use datafusion::datasource::ViewTable;
use datafusion::datasource::memory::MemorySourceConfig;
use datafusion::logical_expr::Expr;
use datafusion::physical_plan::ExecutionPlan;
use std::sync::Arc;

/// A schema of a running engine.
#[derive(Debug)]
pub(super) struct PinnedSchema {
    pub(super) name: String,
    pub(super) pinned: Arc<dyn Pinned>,
}

#[async_trait]
impl SchemaProvider for PinnedSchema {
    fn table_names(&self) -> Vec<String> {
        self.pinned.tables(&self.name)
    }

    fn table_exist(&self, name: &str) -> bool {
        self.pinned.schema_of(&self.name, name).is_some()
    }

    async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>> {
        let Some(columns) = self.pinned.schema_of(&self.name, name) else { return Ok(None) };
        if let Some(query) = self.pinned.query_of(&self.name, name) {
            let plan = super::plan(&session(self.pinned.clone()).state(), &query).await?;
            return Ok(Some(Arc::new(ViewTable::new(plan, Some(query)))));
        }
        if let Some(folder) = self.pinned.history(&self.name, name) {
            return history::table(&folder, &columns).await.map(Some);
        }
        let (schema, table) = (self.name.clone(), name.to_string());
        Ok(Some(Arc::new(PinnedTable { schema, table, columns, pinned: self.pinned.clone() })))
    }
}

/// A table of a running engine: its rows as of the epoch that is pinned when it is scanned.
#[derive(Debug)]
struct PinnedTable {
    schema: String,
    table: String,
    columns: SchemaRef,
    pinned: Arc<dyn Pinned>,
}

#[async_trait]
impl TableProvider for PinnedTable {
    fn schema(&self) -> SchemaRef {
        self.columns.clone()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        _state: &dyn Session,
        projection: Option<&Vec<usize>>,
        _filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        if self.pinned.streams(&self.schema, &self.table) {
            let (schema, table) = (self.schema.clone(), self.table.clone());
            let pieces = TablePieces { schema, table, columns: self.columns.clone(), pinned: self.pinned.clone() };
            return pieces.scan(projection, limit);
        }
        let batches =
            self.pinned.scan(&self.schema, &self.table).map_err(|e| DataFusionError::External(Box::new(e)))?;
        let rows = batches.into_iter().filter(|batch| batch.num_rows() > 0).collect::<Vec<RecordBatch>>();
        let scan = MemorySourceConfig::try_new_exec(&[rows], self.columns.clone(), projection.cloned())?;
        Ok(scan)
    }
}
