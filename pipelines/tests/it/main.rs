//! The crate's tests over files: plans, errors, documents.

mod plans;
mod surroundings;
