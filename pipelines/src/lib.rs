//! From what the user wrote to a plan: parse, bind, check, lower, explain; and ad-hoc queries over snapshots.

pub mod bytea;
pub mod catalog;
mod compile;
mod explain;
mod fingerprint;
mod functions;
mod insert;
mod program;
pub mod prometheus;
pub mod query;
pub mod redeploy;
mod report;
mod rewrite;
mod statement;
pub mod testfile;

mod parse;

mod bind;
mod bound;
mod lower;
mod registry;
mod to_char;
mod types;
mod wanted;

pub use compile::{alert_history_of, compile};
pub use explain::explain;
pub use fingerprint::{fingerprint, fingerprint_of};
pub use functions::Functions;
pub use insert::Insert;
pub use lower::constant::{CONNECTOR as ONCE, is_constant};
pub use program::{Declaration, DeclarationKind, Environment, Escalation, Program, SqlText};
pub use report::{render_errors, render_warnings};
pub use rewrite::{Rewrite, Set};
pub use statement::{Acknowledge, Change, Replay, Shown, Statement, Subscribe, parse_statement};
pub use types::sql_type;
