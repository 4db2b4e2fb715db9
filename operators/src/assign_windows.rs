//! Windows without aggregation: each row once for every window that it falls into. Keeps no state.

use crate::plan::Plan;
use crate::window::Window;
use arrow::datatypes::SchemaRef;

/// `SELECT .. FROM TUMBLE(..)` without a grouping by window.
#[derive(Clone, Debug)]
pub struct AssignWindowsSpec {
    /// Where the rows come from.
    pub input: Box<Plan>,
    /// The event time column of `input`, a timestamp. A row where it is NULL falls into no window: it is dead.
    pub time: usize,
    /// The windows.
    pub window: Window,
    /// The columns of `input`, then `window_start` and `window_end` with the type of the time column, not NULL.
    pub schema: SchemaRef,
}
