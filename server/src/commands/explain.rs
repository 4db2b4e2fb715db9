//! `thalweg explain`: the dataflow of each view.

use crate::cli::ExplainArgs;
use crate::compile::compile_paths;
use crate::failure::Outcome;

/// Prints the dataflow to stdout.
pub fn explain(args: &ExplainArgs) -> Outcome {
    let compiled = compile_paths(std::slice::from_ref(&args.pipeline))?;
    print!("{}", thalweg_pipelines::explain(&compiled.program, args.view.as_deref())?);
    Ok(())
}
