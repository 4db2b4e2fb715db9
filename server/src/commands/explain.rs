//! `thalweg explain`: the dataflow of each view.

use crate::cli::ExplainArgs;
use crate::compile::compile_paths;
use crate::failure::Outcome;
use thalweg_pipelines::render_warnings;

/// Prints the dataflow to stdout.
pub fn explain(args: &ExplainArgs) -> Outcome {
    let compiled = compile_paths(std::slice::from_ref(&args.pipeline))?;
    eprint!("{}", render_warnings(&compiled.program.warnings, &compiled.texts));
    print!("{}", thalweg_pipelines::explain(&compiled.program, args.view.as_deref())?);
    Ok(())
}
