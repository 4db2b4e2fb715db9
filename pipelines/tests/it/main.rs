//! The crate's tests over files: plans, errors, documents.

mod breadth;
mod documents;
mod errors;
mod plans;
mod queries;
mod surroundings;
