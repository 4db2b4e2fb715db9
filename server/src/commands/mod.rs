//! The commands, one file each.

pub mod check;
pub mod demo;
pub mod explain;
pub mod import;
pub mod plan;
pub mod run;
pub mod sql;
pub mod test;
