//! The comparison: which objects go on, and a decision for each.

use super::build::Builder;
use super::decision::{Action, Begin, Decision, Why};
use crate::fingerprint::objects;
use std::collections::{BTreeMap, BTreeSet};
use thalweg_operators::deployed::{Object, ObjectKind, Standing, StandingSource};
use thalweg_operators::plan::{Dataflow, Plan};
use thalweg_schemas::error::{Error, Result};
use thalweg_schemas::notification::NOTIFICATIONS;

/// What another program makes of the state that is there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Redeploy {
    /// A decision for each object: sources, views and sinks, then what goes.
    pub decisions: Vec<Decision>,
    /// What the run is made of from then on.
    pub objects: BTreeMap<String, Object>,
    /// The objects whose state goes on.
    pub kept: BTreeSet<String>,
    /// For each object the views with whose rows, as they are, it begins.
    pub seeds: BTreeMap<String, BTreeSet<String>>,
    /// Whether anything differs from what the state says.
    pub changed: bool,
}

impl Redeploy {
    /// An error unless it can be carried out when the loss of the state of `allowed` is allowed.
    pub fn check(&self, allowed: &[String]) -> Result<()> {
        if let Some(Decision { name, action: Action::Refuse { source }, .. }) =
            self.decisions.iter().find(|decision| matches!(decision.action, Action::Refuse { .. }))
        {
            return Err(Error::user(format!("view \"{name}\" cannot be built from source \"{source}\""))
                .with_detail("The source says what becomes of rows that came before, and those cannot be read again.")
                .with_hint("Declare a source of another name for it."));
        }
        let lost: Vec<&str> = self
            .decisions
            .iter()
            .filter(|decision| decision.loses && !allowed.contains(&decision.name))
            .map(|decision| decision.name.as_str())
            .collect();
        if lost.is_empty() {
            return Ok(());
        }
        let flags: Vec<String> = lost.iter().map(|name| format!("--allow-state-loss {name}")).collect();
        Err(Error::user(format!("the changed pipeline would lose rows of {}", quoted(&lost)))
            .with_detail("They cannot be computed again from what can still be read.")
            .with_hint(format!("Allow it with {}, or change the pipeline back.", flags.join(" "))))
    }
}

fn quoted(names: &[&str]) -> String {
    names.iter().map(|name| format!("\"{name}\"")).collect::<Vec<_>>().join(", ")
}

/// Compares `program` with the state that is there.
pub fn compare(program: &Dataflow, standing: &Standing) -> Redeploy {
    let comparison = Comparison { program, old: standing, wanted: objects(program) };
    let reused = comparison.reused();
    let kept = comparison.kept(&reused);
    let mut builder = Builder::new(&comparison, &kept);
    let mut decisions = BTreeMap::new();
    for (name, plan) in comparison.plans() {
        let (action, loses) = comparison.decide(name, plan, &mut builder);
        decisions.insert(name.to_string(), (action, loses));
    }
    let Builder { objects, seeds, .. } = builder;
    let objects = comparison.read(objects);
    let mut told = comparison.tell_sources(&objects, &kept);
    told.extend(comparison.tell_views_and_sinks(&objects, &kept, decisions));
    told.extend(comparison.tell_dropped());
    let changed = objects != standing.deployed.objects;
    Redeploy { decisions: told, objects, kept, seeds, changed }
}

/// What is compared.
pub(super) struct Comparison<'a> {
    pub program: &'a Dataflow,
    pub old: &'a Standing,
    /// The program's objects, each reading what its statement says.
    pub wanted: BTreeMap<String, Object>,
}

impl Comparison<'_> {
    /// The views and sinks with their plans, in dependency order.
    fn plans(&self) -> impl Iterator<Item = (&str, &Plan)> {
        let views = self.program.views.iter().map(|view| (view.name.as_str(), &view.plan));
        views.chain(self.program.sinks.iter().map(|sink| (sink.name.as_str(), &sink.plan)))
    }

    pub fn plan_of(&self, declared: &str) -> Option<&Plan> {
        self.plans().find(|(name, _)| *name == declared).map(|(_, plan)| plan)
    }

    /// The object of this name that the state knows, if it is of the same kind.
    pub fn before(&self, name: &str) -> Option<&Object> {
        let kind = self.wanted.get(name)?.kind;
        self.old.deployed.objects.get(name).filter(|object| object.kind == kind)
    }

    /// Whether an object computes what it computed.
    pub fn unchanged(&self, name: &str) -> bool {
        self.before(name).is_some_and(|before| before.fingerprint == self.wanted[name].fingerprint)
    }

    pub fn source(&self, name: &str) -> StandingSource {
        self.old.sources.get(name).copied().unwrap_or_default()
    }

    fn rows(&self, view: &str) -> u64 {
        self.old.view_rows.get(view).copied().unwrap_or_default()
    }

    /// The views and sinks that go on from their state.
    fn reused(&self) -> BTreeSet<String> {
        self.plans().map(|(name, _)| name.to_string()).filter(|name| self.unchanged(name)).collect()
    }

    /// Whether a sink that says something else now reads only what has not changed: then it goes on with what comes. So
    /// does the one that takes the events of all alerts: a new alert is no reason to tell the past of the others again.
    fn goes_on(&self, name: &str, plan: &Plan) -> bool {
        self.wanted[name].kind == ObjectKind::Sink
            && self.before(name).is_some()
            && is_stateless(plan)
            && (self.wanted[name].connector == NOTIFICATIONS || reads_of(plan).iter().all(|read| self.unchanged(read)))
    }

    /// All objects whose state goes on: those that are reused, and whatever those read. What a sink that goes on reads goes on
    /// only if it is what it was: an alert that has changed does not begin with the incidents of the one before.
    fn kept(&self, reused: &BTreeSet<String>) -> BTreeSet<String> {
        let mut kept = reused.clone();
        let mut open: Vec<String> = reused.iter().cloned().collect();
        open.extend(self.plans().filter(|(name, plan)| self.goes_on(name, plan)).map(|(name, _)| name.to_string()));
        while let Some(name) = open.pop() {
            let Some(object) = self.old.deployed.objects.get(&name) else { continue };
            for declared in self.plan_of(&object.declared).map(reads_of).unwrap_or_default() {
                let read = object.reads_as(&declared).to_string();
                let wanted = self.wanted.get(&declared).map(|object| &object.fingerprint);
                let before = self.old.deployed.objects.get(&read).map(|object| &object.fingerprint);
                if before.is_some() && before == wanted && kept.insert(read.clone()) {
                    open.push(read);
                }
            }
        }
        kept
    }

    /// What is done with a view or sink; whether rows are lost by it.
    fn decide(&self, name: &str, plan: &Plan, builder: &mut Builder<'_>) -> (Action, bool) {
        let Some(before) = self.before(name) else {
            return match builder.build(name, plan) {
                Err(source) => (Action::Refuse { source }, false),
                Ok(from) => (Action::New(from), false),
            };
        };
        if self.unchanged(name) {
            let action = match before.settings == self.wanted[name].settings {
                true => Action::Reuse { rows: self.rows(name) },
                false => Action::GoOn(Why::Settings),
            };
            return (action, false);
        }
        let changed = reads_of(plan).into_iter().find(|read| self.before(read).is_some() && !self.unchanged(read));
        let why = changed.map_or(Why::Definition, Why::Reads);
        if self.goes_on(name, plan) {
            builder.go_on(name, before);
            return (Action::GoOn(why), false);
        }
        match builder.build(name, plan) {
            Err(source) => (Action::Refuse { source }, false),
            Ok(from) => {
                let rows = self.rows(name);
                let loses = rows > 0 && (from.iter().any(|b| matches!(b, Begin::Now(_))) || self.past_is_gone(plan));
                (Action::Rebuild { why, from, rows }, loses)
            }
        }
    }

    /// Whether a source beneath is another one now, so that what was read of it does not come again.
    fn past_is_gone(&self, plan: &Plan) -> bool {
        reads_of(plan).iter().any(|read| match (self.before(read), &self.wanted[read]) {
            (_, _) if self.unchanged(read) => false,
            (Some(before), now) if now.kind == ObjectKind::Source => {
                let source = self.source(read);
                source.begun && (!source.replayable || before.connector != now.connector)
            }
            (_, now) if now.kind == ObjectKind::View => self.plan_of(read).is_some_and(|plan| self.past_is_gone(plan)),
            _ => false,
        })
    }

    /// The objects without those that nothing reads.
    fn read(&self, objects: BTreeMap<String, Object>) -> BTreeMap<String, Object> {
        let mut read: BTreeSet<String> = self.plans().map(|(name, _)| name.to_string()).collect();
        let mut open: Vec<String> = read.iter().cloned().collect();
        while let Some(name) = open.pop() {
            let Some(object) = objects.get(&name) else { continue };
            for declared in self.plan_of(&object.declared).map(reads_of).unwrap_or_default() {
                let name = object.reads_as(&declared).to_string();
                if read.insert(name.clone()) {
                    open.push(name);
                }
            }
        }
        objects.into_iter().filter(|(name, _)| read.contains(name)).collect()
    }

    fn tell_sources(&self, objects: &BTreeMap<String, Object>, kept: &BTreeSet<String>) -> Vec<Decision> {
        let sources = objects.iter().filter(|(_, object)| object.kind == ObjectKind::Source);
        let told = sources.map(|(name, object)| {
            let source = self.source(name);
            let action = if kept.contains(name) || (self.unchanged(name) && !source.begun) {
                Action::Reuse { rows: source.rows_in }
            } else if object.declared != *name {
                Action::Again { of: object.declared.clone() }
            } else if self.before(name).is_none() {
                Action::New(Vec::new())
            } else if !self.unchanged(name) {
                let from = vec![Begin::Beginning(name.clone(), 0)];
                Action::Rebuild { why: Why::Definition, from, rows: source.rows_in }
            } else {
                let from = match source.replayable {
                    true => Begin::Beginning(name.clone(), source.rows_in),
                    false => Begin::Now(name.clone()),
                };
                Action::Rebuild { why: Why::NobodyGoesOn, from: vec![from], rows: source.rows_in }
            };
            Decision { kind: ObjectKind::Source, name: name.clone(), action, loses: false }
        });
        told.collect()
    }

    fn tell_views_and_sinks(
        &self,
        objects: &BTreeMap<String, Object>,
        kept: &BTreeSet<String>,
        mut decisions: BTreeMap<String, (Action, bool)>,
    ) -> Vec<Decision> {
        let mut told = Vec::new();
        for (declared, _) in self.plans() {
            let kind = self.wanted[declared].kind;
            if let Some((action, loses)) = decisions.remove(declared) {
                told.push(Decision { kind, name: declared.to_string(), action, loses });
            }
            for (name, _) in objects.iter().filter(|(name, o)| o.declared == declared && *name != declared) {
                let action = match kept.contains(name) {
                    true => Action::Reuse { rows: self.rows(name) },
                    false => Action::Again { of: declared.to_string() },
                };
                told.push(Decision { kind, name: name.clone(), action, loses: false });
            }
        }
        told
    }

    /// What was declared and is not any more.
    fn tell_dropped(&self) -> Vec<Decision> {
        let declared = self.old.deployed.objects.iter().filter(|(name, object)| **name == object.declared);
        let gone = declared.filter(|(name, object)| self.wanted.get(*name).is_none_or(|now| now.kind != object.kind));
        gone.map(|(name, object)| {
            let rows = self.rows(name);
            let loses = object.kind == ObjectKind::View && rows > 0;
            Decision { kind: object.kind, name: name.clone(), action: Action::Drop { rows }, loses }
        })
        .collect()
    }
}

/// Whether a plan knows nothing of the rows that came before.
fn is_stateless(plan: &Plan) -> bool {
    match plan {
        Plan::Source { .. }
        | Plan::View { .. }
        | Plan::Filter(_)
        | Plan::Within(_)
        | Plan::Project(_)
        | Plan::Union { .. }
        | Plan::AssignWindows(_)
        | Plan::Expand(_)
        | Plan::Repeat(_)
        | Plan::Envelope(_)
        | Plan::Unnest(_) => plan.inputs().into_iter().all(is_stateless),
        Plan::WindowAggregate(_)
        | Plan::SessionAggregate(_)
        | Plan::Reduce(_)
        | Plan::Join(_)
        | Plan::AsofJoin(_)
        | Plan::LookupJoin(_)
        | Plan::TopN(_)
        | Plan::Over(_)
        | Plan::Recursion(_)
        | Plan::Recursive { .. }
        | Plan::Series(_)
        | Plan::Alert(_) => false,
    }
}

/// The declared names that a plan reads.
pub(super) fn reads_of(plan: &Plan) -> BTreeSet<String> {
    match plan {
        Plan::Source { name, .. } | Plan::View { name, .. } => BTreeSet::from([name.clone()]),
        _ => plan.inputs().into_iter().flat_map(reads_of).collect(),
    }
}
