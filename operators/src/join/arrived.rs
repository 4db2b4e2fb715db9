//! What came for both sides of a join in the current epoch, in the order in which it is taken in.

use super::process::{LEFT, RIGHT};
use crate::rows::Rows;
use arrow::array::BooleanArray;
use thalweg_schemas::batch::Batch;
use thalweg_schemas::error::Result;

/// The rows of an epoch, by side.
#[derive(Default)]
pub(super) struct Arrived([Vec<Batch>; 2]);

/// Rows of one side, which all come or all go.
pub(super) struct Part {
    pub side: usize,
    pub rows: Batch,
    pub retracted: bool,
}

impl Arrived {
    /// Keeps rows of a side.
    pub fn add(&mut self, side: usize, rows: Rows) {
        self.0[side].extend(rows.into_batch());
    }

    /// What came for one side, as it came.
    pub fn whole(&mut self, side: usize) -> Vec<Batch> {
        std::mem::take(&mut self.0[side])
    }

    /// What came for one side: what comes before what goes.
    pub fn of(&mut self, side: usize) -> Result<Vec<Part>> {
        let mut alone = Arrived::default();
        alone.0[side] = self.whole(side);
        alone.parts()
    }

    /// All of it: what comes before what goes, so that nothing is ever less than not there; and the right side first, where
    /// what is looked up tends to be: there it is found at once.
    pub fn parts(&mut self) -> Result<Vec<Part>> {
        let arrived = std::mem::take(&mut self.0);
        let mut parts = Vec::new();
        for retracted in [false, true] {
            for side in [RIGHT, LEFT] {
                for batch in &arrived[side] {
                    parts.extend(of_sign(batch, retracted)?.map(|rows| Part { side, rows, retracted }));
                }
            }
        }
        Ok(parts)
    }
}

/// The rows of `batch` that come, or those that go.
fn of_sign(batch: &Batch, retracted: bool) -> Result<Option<Batch>> {
    let Some(diffs) = &batch.diffs else { return Ok((!retracted).then(|| batch.clone())) };
    let wanted: BooleanArray = diffs.values().iter().map(|diff| Some((*diff < 0) == retracted)).collect();
    match wanted.true_count() {
        0 => Ok(None),
        count if count == batch.num_rows() => Ok(Some(batch.clone())),
        _ => Ok(Some(batch.filter(&wanted)?)),
    }
}
