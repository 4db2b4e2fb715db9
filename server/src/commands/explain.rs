//! `thalweg explain`: the dataflow of each view.

use crate::cli::ExplainArgs;
use crate::compile::compile_paths;
use crate::failure::Outcome;

/// Prints the dataflow to stdout.
pub fn explain(args: &ExplainArgs) -> Outcome {
    let compiled = compile_paths(std::slice::from_ref(&args.pipeline))?;
    for view in &compiled.program.dataflow.views {
        if args.view.as_ref().is_none_or(|name| *name == view.name) {
            println!("{}", view.name);
        }
    }
    Ok(())
}
