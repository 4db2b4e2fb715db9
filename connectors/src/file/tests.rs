//! The file source and sink against real files.

mod bounded;
