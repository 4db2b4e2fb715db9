//! From where each object begins that cannot go on from a state of its own.

use super::compare::{Comparison, reads_of};
use super::decision::Begin;
use crate::bind::Mode;
use crate::explain::mode;
use std::collections::{BTreeMap, BTreeSet};
use thalweg_operators::deployed::{Object, ObjectKind};
use thalweg_operators::plan::{Emit, Plan};
use thalweg_operators::render::{Demand, demanded, demands};

/// Puts together what the run is made of.
pub(super) struct Builder<'a> {
    comparison: &'a Comparison<'a>,
    kept: &'a BTreeSet<String>,
    pub objects: BTreeMap<String, Object>,
    pub seeds: BTreeMap<String, BTreeSet<String>>,
    /// Where the objects begin that were built.
    begins: BTreeMap<String, BTreeSet<Begin>>,
    /// What is there a second time, by its declared name.
    again: BTreeMap<String, String>,
}

impl Builder<'_> {
    pub fn new<'a>(comparison: &'a Comparison<'a>, kept: &'a BTreeSet<String>) -> Builder<'a> {
        let mut objects = comparison.wanted.clone();
        for name in kept {
            let Some(old) = comparison.old.deployed.objects.get(name) else { continue };
            let object = objects.entry(name.clone()).or_insert_with(|| old.clone());
            object.reads = old.reads.clone();
        }
        let (seeds, begins, again) = Default::default();
        Builder { comparison, kept, objects, seeds, begins, again }
    }

    /// A sink goes on reading what it read.
    pub fn go_on(&mut self, name: &str, before: &Object) {
        let reads = before.reads.iter().filter(|(_, read)| self.kept.contains(*read));
        let reads = reads.map(|(declared, read)| (declared.clone(), read.clone())).collect();
        if let Some(object) = self.objects.get_mut(name) {
            object.reads = reads;
        }
    }

    /// Builds `name`; from where, or the source that it cannot be built from.
    pub fn build(&mut self, name: &str, plan: &Plan) -> Result<Vec<Begin>, String> {
        let begins = self.begin(name, plan)?;
        self.begins.insert(name.to_string(), begins.clone());
        Ok(begins.into_iter().collect())
    }

    fn begin(&mut self, name: &str, plan: &Plan) -> Result<BTreeSet<Begin>, String> {
        let comparison = self.comparison;
        let demands = self.demands_of(name, plan);
        let reads = reads_of(plan);
        // Where one thing has to be read again, all is, so that rows that belong together come at about the same time.
        let again = reads.iter().any(|read| match self.comparison.wanted[read].kind {
            ObjectKind::Source => self.can_be_read_again(read),
            _ => self.is_reused(read) && !self.hands_over(read, demands[read]) && self.has_instances(read),
        });
        let mut begins = BTreeSet::new();
        for read in &reads {
            if comparison.wanted[read].kind == ObjectKind::Source {
                begins.insert(self.begin_with_source(name, read)?);
            } else if !self.is_reused(read) {
                begins.extend(self.begins.get(read).into_iter().flatten().cloned());
            } else if again && self.has_instances(read) {
                let copy = self.copy(read)?;
                begins.extend(self.begins.get(&copy).into_iter().flatten().cloned());
                self.read_as(name, read, copy);
            } else {
                begins.extend(self.begin_with_rows(name, read, demands[read]));
            }
        }
        Ok(begins)
    }

    /// Begins with the rows of a view as they are. Who reads only what is final hears of that from now on, unless all is.
    fn begin_with_rows(&mut self, name: &str, view: &str, demand: Demand) -> Vec<Begin> {
        let (all, now) = (self.hands_over(view, demand), Begin::Now(view.to_string()));
        if !all && !demand.changes {
            return vec![now];
        }
        self.seeds.entry(name.to_string()).or_default().insert(view.to_string());
        let rows = self.comparison.old.view_rows.get(view).copied().unwrap_or_default();
        let begin = Begin::Rows(view.to_string(), rows);
        if all { vec![begin] } else { vec![begin, now] }
    }

    fn begin_with_source(&mut self, name: &str, source: &str) -> Result<Begin, String> {
        let standing = self.comparison.source(source);
        if self.can_be_read_again(source) {
            let instance = self.instance(source);
            self.read_as(name, source, instance);
            return Ok(Begin::Beginning(source.to_string(), standing.rows_in));
        }
        if !self.comparison.unchanged(source) {
            return Ok(Begin::Beginning(source.to_string(), 0));
        }
        if !standing.begun || standing.replayable {
            return Ok(Begin::Beginning(source.to_string(), standing.rows_in));
        }
        let keyed = self.comparison.program.sources.iter().any(|plan| plan.name == source && !plan.key.is_empty());
        if keyed && self.kept.contains(source) { Err(source.to_string()) } else { Ok(Begin::Now(source.to_string())) }
    }

    fn read_as(&mut self, name: &str, declared: &str, object: String) {
        if let Some(reader) = self.objects.get_mut(name) {
            reader.reads.insert(declared.to_string(), object);
        }
    }

    /// Whether a view goes on from its state.
    fn is_reused(&self, name: &str) -> bool {
        self.comparison.unchanged(name)
    }

    /// Whether others go on reading a source that can be read a second time.
    fn can_be_read_again(&self, source: &str) -> bool {
        let standing = self.comparison.source(source);
        self.kept.contains(source) && standing.begun && standing.replayable
    }

    /// Whether a view that goes on is computed from a source that can be read a second time.
    fn has_instances(&self, view: &str) -> bool {
        let reads = self.comparison.plan_of(view).map(reads_of).unwrap_or_default();
        reads.iter().any(|read| match self.comparison.wanted[read].kind {
            ObjectKind::Source => self.was_read(read),
            _ => self.has_instances(read),
        })
    }

    /// Whether a source that can be read again, or an instance of it, has brought anything.
    fn was_read(&self, source: &str) -> bool {
        let objects = self.comparison.old.deployed.objects.iter();
        let readings = objects.filter(|(_, object)| object.kind == ObjectKind::Source && object.declared == source);
        readings.map(|(name, _)| self.comparison.source(name)).any(|standing| standing.begun && standing.replayable)
    }

    /// Whether the rows of a view are all that there is to know for somebody who reads it so.
    fn hands_over(&self, view: &str, demand: Demand) -> bool {
        let program = self.comparison.program;
        let Some(plan) = program.views.iter().find(|plan| plan.name == view) else { return false };
        plan.emit == Emit::OnWindowClose || mode(&plan.plan, program) == Mode::Append || !demand.finals
    }

    /// Which streams of the views that it reads `name` asks for.
    fn demands_of(&self, name: &str, plan: &Plan) -> BTreeMap<String, Demand> {
        let program = self.comparison.program;
        let demand = match program.sinks.iter().find(|sink| sink.name == name) {
            Some(sink) => Demand::of(sink.read),
            None => demanded(program).get(name).copied().unwrap_or_default(),
        };
        let mut views = BTreeMap::new();
        demands(plan, demand, &mut views);
        views
    }

    /// The second reading of a source.
    fn instance(&mut self, source: &str) -> String {
        if let Some(instance) = self.again.get(source) {
            return instance.clone();
        }
        self.second(source)
    }

    /// What is computed a second time in the way of a view that goes on.
    fn copy(&mut self, view: &str) -> Result<String, String> {
        if let Some(copy) = self.again.get(view) {
            return Ok(copy.clone());
        }
        let plan = self.comparison.plan_of(view).cloned();
        let name = self.second(view);
        let mut begins = BTreeSet::new();
        for read in plan.as_ref().map(reads_of).unwrap_or_default() {
            if self.comparison.wanted[&read].kind == ObjectKind::Source {
                begins.insert(self.begin_with_source(&name, &read)?);
            } else if self.has_instances(&read) {
                let copy = self.copy(&read)?;
                begins.extend(self.begins.get(&copy).into_iter().flatten().cloned());
                self.read_as(&name, &read, copy);
            } else {
                begins.extend(self.begin_with_rows(&name, &read, Demand { changes: true, finals: true }));
            }
        }
        self.begins.insert(name.clone(), begins);
        Ok(name)
    }

    /// Adds an object like `declared` under the next name that is free: `telemetry#2`.
    fn second(&mut self, declared: &str) -> String {
        let taken =
            |name: &String| self.objects.contains_key(name) || self.comparison.old.deployed.objects.contains_key(name);
        let name = (2u32..).map(|n| format!("{declared}#{n}")).find(|name| !taken(name));
        let name = name.unwrap_or_else(|| declared.to_string());
        if let Some(object) = self.comparison.wanted.get(declared) {
            self.objects.insert(name.clone(), Object { reads: BTreeMap::new(), ..object.clone() });
        }
        self.again.insert(declared.to_string(), name.clone());
        name
    }
}
