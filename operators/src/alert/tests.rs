//! The state machine against its table and against what must always hold; the operator over batches and epochs.

mod cases;
mod machine;
mod many;
mod operator;
