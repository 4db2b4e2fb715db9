//! A table that is read piece by piece while its rows are asked for, so that it need not fit into memory.

use super::Pinned;
use arrow::datatypes::SchemaRef;
use datafusion::common::{DataFusionError, Result};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::stream::RecordBatchReceiverStreamBuilder;
use datafusion::physical_plan::streaming::{PartitionStream, StreamingTableExec};
use std::sync::Arc;

/// How many pieces may be read ahead of who asks for them.
const AHEAD: usize = 1;

/// The rows of a table, to be read.
#[derive(Debug)]
pub(super) struct TablePieces {
    pub(super) schema: String,
    pub(super) table: String,
    pub(super) columns: SchemaRef,
    pub(super) pinned: Arc<dyn Pinned>,
}

impl TablePieces {
    /// A plan that reads them.
    pub(super) fn scan(self, projection: Option<&Vec<usize>>, limit: Option<usize>) -> Result<Arc<dyn ExecutionPlan>> {
        let columns = self.columns.clone();
        let scan = StreamingTableExec::try_new(columns, vec![Arc::new(self)], projection, [], false, limit)?;
        Ok(Arc::new(scan))
    }
}

impl PartitionStream for TablePieces {
    fn schema(&self) -> &SchemaRef {
        &self.columns
    }

    fn execute(&self, _context: Arc<TaskContext>) -> SendableRecordBatchStream {
        let mut builder = RecordBatchReceiverStreamBuilder::new(self.columns.clone(), AHEAD);
        let (rows, pinned) = (builder.tx(), self.pinned.clone());
        let (schema, table) = (self.schema.clone(), self.table.clone());
        builder.spawn_blocking(move || {
            let failed = |error| DataFusionError::External(Box::new(error));
            for piece in pinned.stream(&schema, &table).map_err(failed)? {
                if rows.blocking_send(piece.map_err(failed)).is_err() {
                    // Nobody asks any more.
                    return Ok(());
                }
            }
            Ok(())
        });
        builder.build()
    }
}
