//! `thalweg plan`: what `run` would do to the state that is there.

use crate::checkpoint_place::CheckpointPlace;
use crate::cli::{EngineOptions, PlanArgs};
use crate::compile::Pipeline;
use crate::config::Config;
use crate::deploy::told;
use crate::failure::Outcome;
use crate::state_folder::{find, look};
use thalweg_pipelines::redeploy::compare;
use thalweg_schemas::epoch::Watermark;

/// Prints it to stdout. Nothing is changed, so that it can be asked while the pipeline runs.
pub fn plan(args: &PlanArgs) -> Outcome {
    let options = EngineOptions {
        data: args.data.clone(),
        checkpoints: args.checkpoints.clone(),
        config: args.config.clone(),
        ..EngineOptions::default()
    };
    let config = Config::load(&options)?;
    let pipeline = Pipeline::read(&args.pipelines)?;
    let dataflow = pipeline.compile()?.program.dataflow;
    let Some(data) = &config.data else {
        println!("state: none is kept");
        return Ok(());
    };
    let place = config.checkpoints.as_deref().map(CheckpointPlace::open).transpose()?;
    let folder = find(data, place.as_ref(), &dataflow, &pipeline.paths)?;
    let standing = look(&folder, place.as_ref())?;
    let dataflow = match &standing {
        Some(there) => pipeline.changed_as(&there.deployed).compile()?.program.dataflow,
        None => dataflow,
    };
    match &standing {
        None => println!("state: none below {}", data.display()),
        Some(there) if there.epoch == 0 => println!("state: {}, before its first checkpoint", folder.display()),
        Some(there) => println!("state: {} as of {}", folder.display(), Watermark(there.time_ns)),
    }
    print!("{}", told(&compare(&dataflow, &standing.unwrap_or_default()).decisions));
    Ok(())
}
