//! How a program goes on from the state that is there, its own or that of the program before it.

use crate::compile::Pipeline;
use crate::failure::{Failure, Outcome, one_error};
use std::collections::BTreeMap;
use std::fmt::Write;
use thalweg_engine::deployment::{Deployment, Surroundings, Takeover};
use thalweg_engine::durability::standing::{log_is_empty, standing};
use thalweg_engine::engine::Engine;
use thalweg_engine::settings::Settings;
use thalweg_operators::deployed::{Deployed, Renaming, Standing, Text};
use thalweg_operators::plan::Dataflow;
use thalweg_pipelines::redeploy::{Decision, Redeploy, compare, dataflow_of};
use thalweg_schemas::connector::ConnectorSpec;
use thalweg_schemas::epoch::Epoch;
use thalweg_schemas::error::{Error, Result};

/// What is to be deployed.
pub struct Request<'a> {
    /// Its dataflow.
    pub dataflow: &'a Dataflow,
    /// Where its texts were found, see [`Deployed::paths`].
    pub paths: &'a [String],
    /// Its texts.
    pub texts: Vec<Text>,
    /// What was dropped of its files, see [`Deployed::dropped`].
    pub dropped: BTreeMap<String, String>,
    /// Compiles the texts of the program whose state is there: its epoch log is finished first.
    pub compile: &'a (dyn Fn(&[Text]) -> Result<Dataflow> + Sync),
    /// All connectors.
    pub connectors: &'a [ConnectorSpec],
    /// How it follows on what ran before.
    pub transition: Transition<'a>,
}

/// How a program follows on the one before it.
#[derive(Default)]
pub struct Transition<'a> {
    /// The views whose rows may be lost.
    pub allowed: &'a [String],
    /// The last epoch that readers have seen.
    pub seen: Epoch,
    /// What is called by another name from now on.
    pub renaming: Option<Renaming>,
}

/// Starts an engine for `pipeline`, which is `dataflow`; see [`start`] and [`Request`] for the others.
pub fn start_pipeline(
    pipeline: &Pipeline,
    dataflow: &Dataflow,
    transition: Transition<'_>,
    settings: Settings,
    surroundings: Surroundings,
) -> Outcome<Engine> {
    let request = Request {
        dataflow,
        paths: &pipeline.paths,
        texts: pipeline.kept_texts(),
        dropped: pipeline.dropped.clone(),
        compile: &|texts| pipeline.compile_kept(texts),
        connectors: thalweg_connectors::ALL,
        transition,
    };
    start(&request, settings, surroundings)
}

/// Starts an engine on the state of `storage`; what another program left is taken over.
pub fn start(request: &Request<'_>, settings: Settings, surroundings: Surroundings) -> Outcome<Engine> {
    let connectors = request.connectors;
    let Some(storage) = surroundings.storage.clone() else {
        let deployment = Deployment { dataflow: request.dataflow.clone(), ..Deployment::default() };
        return Ok(Engine::deploy(deployment, connectors, settings, surroundings)?);
    };
    let mut there = standing(storage.as_ref())?;
    if let Some(renaming) = &request.transition.renaming {
        if !log_is_empty(storage.as_ref())? {
            return Err(Error::retry("nothing can be renamed before the epoch log is in a checkpoint").into());
        }
        there = there.map(|there| renaming.standing(there));
    }
    let mut redeploy = compare(request.dataflow, &there.clone().unwrap_or_default());
    if let Some(old) = there.as_ref().filter(|_| redeploy.changed) {
        check(&redeploy, request.transition.allowed)?;
        Engine::finish_log(|| running_before(request, old), connectors, settings.clone(), surroundings.clone())?;
        there = standing(storage.as_ref())?;
        redeploy = compare(request.dataflow, &there.clone().unwrap_or_default());
        check(&redeploy, request.transition.allowed)?;
        redeploy.decisions.iter().for_each(|decision| tracing::info!("{decision}"));
    }
    let (paths, texts, dropped) = (request.paths.to_vec(), request.texts.clone(), request.dropped.clone());
    let deployed = Deployed { paths, texts, dropped, objects: redeploy.objects };
    // Where the log is empty, other texts can be written down at once.
    let says_more =
        there.as_ref().is_some_and(|there| there.deployed.texts != deployed.texts) && log_is_empty(storage.as_ref())?;
    let takeover = (there.is_some() && (redeploy.changed || says_more)).then_some(Takeover {
        kept: redeploy.kept,
        seeds: redeploy.seeds,
        seen: request.transition.seen,
        renaming: request.transition.renaming.clone(),
    });
    let deployment = Deployment { dataflow: dataflow_of(request.dataflow, &deployed), deployed, takeover };
    Ok(Engine::deploy(deployment, connectors, settings, surroundings)?)
}

/// An error with the whole plan, unless it may be carried out.
fn check(redeploy: &Redeploy, allowed: &[String]) -> Outcome {
    redeploy
        .check(allowed)
        .map_err(|error| Failure::Mistakes(format!("{}{}\n", told(&redeploy.decisions), one_error(&error))))
}

/// The decisions, a line each.
pub fn told(decisions: &[Decision]) -> String {
    decisions.iter().fold(String::new(), |mut text, decision| {
        // Writing to a string does not fail.
        let _ = writeln!(text, "{decision}");
        text
    })
}

/// The program whose state is there, from the texts that are kept with it.
fn running_before(request: &Request<'_>, old: &Standing) -> Result<Deployment> {
    let deployed = old.deployed.clone();
    let refused = |why: String| {
        Error::user("the epoch log cannot be finished: its pipeline is not what it was")
            .with_detail(why)
            .with_hint("Run the pipeline as it was once more and stop it with Ctrl-C; then change it.")
    };
    let dataflow = (request.compile)(&deployed.texts).map_err(|error| refused(one_error(&error)))?;
    let changed = compare(&dataflow, old);
    if changed.changed {
        return Err(refused(told(&changed.decisions)));
    }
    Ok(Deployment { dataflow: dataflow_of(&dataflow, &deployed), deployed, takeover: None })
}
