//! The file source and sink against real files.

mod bounded;
mod columns;
mod resume;
mod sink;
mod tail;
