//! `thalweg demo`: this machine's own telemetry, live.

use crate::cli::DemoArgs;
use crate::config::Config;
use crate::failure::Outcome;

/// Runs it.
pub fn demo(args: &DemoArgs) -> Outcome {
    let config = Config::load(&args.options)?;
    println!("{:?} {:?}", config.workers, args.duration);
    Ok(())
}
