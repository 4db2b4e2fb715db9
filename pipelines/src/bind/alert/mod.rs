//! `CREATE ALERT`: its conditions as columns beside those of the relation, its key, its clock, its texts.

mod options;
mod time;

use super::{Mode, Relation, RelationKind, Scope, exemplars, messages, query};
use crate::lower::{self, LateRows};
use crate::parse::Words;
use crate::parse::ddl::{CreateAlert, DeclaredText, Length, Name};
use crate::parse::syntax::fold;
use crate::program::Escalation;
use arrow::datatypes::{DataType, SchemaRef};
use datafusion::sql::sqlparser::ast::{BinaryOperator, Expr, Ident, Query, SelectItem, SetExpr, Visit, Visitor};
use std::collections::BTreeSet;
use std::ops::ControlFlow;
use thalweg_operators::alert::format::{FORMATS, Format};
use thalweg_operators::alert::rule::{Absent, AbsentPolicy, LEVELS_MAX, Rule};
use thalweg_operators::alert::{AlertSpec, AlertTime, Part, Severity, Template};
use thalweg_operators::plan::{Dataflow, Emit, Plan, TimeOrigin, ViewPlan};
use thalweg_operators::window_aggregate::OnLate;
use thalweg_schemas::alert_event;
use thalweg_schemas::error::{Error, Position, Result};
use thalweg_schemas::options::Options;
use thalweg_schemas::suggest::closest;
use time::{own_key, time_of};

/// The severities whose order everybody knows, mildest first. Where all are of these, they need not stand in order.
const KNOWN: [&str; 8] = ["info", "notice", "minor", "warning", "major", "error", "critical", "emergency"];

/// What an alert came to.
pub(crate) struct BoundAlert {
    pub relation: Relation,
    pub plan: ViewPlan,
    pub escalations: Vec<Escalation>,
}

pub(crate) fn bind(
    alert: &CreateAlert,
    dataflow: &Dataflow,
    scope: &Scope,
    words: &Words,
) -> Result<BoundAlert, Vec<Error>> {
    let owner = format!("alert \"{}\"", alert.name.value);
    let given = Options::check(options::OPTIONS, &alert.options, &owner)
        .map_err(|errors| errors.into_iter().map(|e| e.at(alert.name.position.clone())).collect::<Vec<_>>());
    let binding = Binding { alert, scope, words };
    let spec = binding.spec(dataflow).map_err(|error| vec![error.at(words.start())]);
    let escalations = binding.escalations().map_err(|error| vec![error]);
    let (given, (mut spec, escalations)) = super::both(given, super::both(spec, escalations))?;
    options::set(&mut spec, &given).map_err(|error| vec![error.at(alert.name.position.clone())])?;
    if spec.sample_rows > 0 {
        spec.exemplars = exemplars::of(&spec, &binding.falling(), dataflow).map_err(|error| vec![error])?;
    }
    let name = alert.name.value.clone();
    let key = Some(vec![alert_event::KEY]);
    let schema = alert_event::schema();
    let plan = ViewPlan {
        name: name.clone(),
        plan: Plan::Alert(Box::new(spec)),
        emit: Emit::Changes,
        key: key.clone(),
        retain: None,
    };
    // Its events are final, and what it shows of each key is corrected: as of windows that close and those that are open.
    let relation = Relation {
        name,
        kind: RelationKind::MaterializedView,
        times: vec![None; schema.fields().len()],
        schema,
        mode: Mode::Windows,
        bounds: Vec::new(),
        key,
        tables: BTreeSet::new(),
        clock: TimeOrigin::default(),
        asked: None,
    };
    Ok(BoundAlert { relation, plan, escalations })
}

struct Binding<'a> {
    alert: &'a CreateAlert,
    scope: &'a Scope,
    words: &'a Words,
}

impl Binding<'_> {
    fn spec(&self, dataflow: &Dataflow) -> Result<AlertSpec> {
        let alert = self.alert;
        let Some(over) = self.scope.relations.get(&alert.over.value) else {
            let error = messages::no_relation(&alert.over.value, self.scope, self.words);
            return Err(Error { position: None, ..error }.at(alert.over.position.clone()));
        };
        let severities = self.ranked()?;
        let planned = query::plan(self.query(&severities)?, self.scope, self.words);
        let planned = planned.map_err(|error| self.without_aggregates(error))?;
        let late = LateRows { lateness_ns: 0, on_late: OnLate::Drop };
        let lowered = lower::lower(&planned, &late, self.scope, self.words)?;
        let schema = lowered.plan.schema();
        let conditions =
            severities.iter().map(|at| 1 + usize::from(alert.severities[*at].clear.is_some())).sum::<usize>();
        let width = schema.fields().len() - conditions;
        let severities_bound = self.severities(&severities, &schema, width)?;
        let (time, read) = time_of(&lowered, width, &alert.over, dataflow);
        let keys = match &alert.by {
            Some(by) => self.key(by, &schema, width, &time)?,
            None => own_key(&lowered, width),
        };
        let expected = match &alert.expected {
            Some(inventory) => Some(Box::new(self.expected(inventory, &keys, &schema)?)),
            None => None,
        };
        let names: Vec<&str> = severities_bound.iter().map(|severity| severity.name.as_str()).collect();
        let default_for = self.length(alert.for_.as_ref())?;
        let for_of = |at: &usize| match &alert.severities[*at].for_ {
            Some(length) => self.length(Some(length)),
            None => Ok(default_for),
        };
        let rule = Rule {
            for_ns: severities.iter().map(for_of).collect::<Result<_>>()?,
            keep_ns: self.length(alert.keep.as_ref())?,
            absent: self.absent(&names)?,
            ttl_ns: None,
            flap: None,
            keep_resolved_ns: 0,
            standing: lowered.mode == Mode::Changelog,
        };
        Ok(AlertSpec {
            name: alert.name.value.clone(),
            read,
            width,
            values: self.values(&schema, width, &keys),
            labels: self.texts(&alert.labels, &schema, width)?,
            annotations: self.texts(&alert.annotations, &schema, width)?,
            keys,
            time,
            severities: severities_bound,
            rule,
            mute_older_than_ns: None,
            notify_revisions: false,
            expected,
            sample_rows: 0,
            exemplars: None,
            input: Box::new(lowered.plan),
        })
        .inspect(|_| debug_assert!(over.schema.fields().len() == width))
    }

    /// The positions of the severities, mildest first.
    fn ranked(&self) -> Result<Vec<usize>> {
        let severities = &self.alert.severities;
        let mut seen = BTreeSet::new();
        if let Some(twice) = severities.iter().find(|severity| !seen.insert(severity.name.value.as_str())) {
            return Err(Error::user(format!("severity \"{}\" is declared twice", twice.name.value))
                .with_hint("Join its conditions with OR, or give one of them another name.")
                .at(twice.name.position.clone()));
        }
        if let Some(one) = severities.get(LEVELS_MAX) {
            return Err(
                Error::user(format!("an alert has at most {LEVELS_MAX} severities")).at(one.name.position.clone())
            );
        }
        let mut order: Vec<usize> = (0..severities.len()).collect();
        let rank = |at: &usize| KNOWN.iter().position(|known| *known == severities[*at].name.value);
        if order.iter().all(|at| rank(at).is_some()) {
            order.sort_by_key(rank);
        }
        Ok(order)
    }

    /// `SELECT *, conditions FROM over WHERE ..`
    fn query(&self, severities: &[usize]) -> Result<Query> {
        let mut query = query::select_all(&self.alert.over.value, None)?;
        let SetExpr::Select(select) = query.body.as_mut() else { return Err(Error::bug("a query without a SELECT")) };
        select.selection.clone_from(&self.alert.filter);
        for at in severities {
            let severity = &self.alert.severities[*at];
            for (what, expr) in
                [("when", Some(&severity.when)), ("clear", severity.clear.as_ref().map(|(expr, _)| expr))]
            {
                let alias = Ident::with_quote('"', format!("{} {what}", severity.name.value));
                select.projection.extend(expr.map(|expr| SelectItem::ExprWithAlias { expr: expr.clone(), alias }));
            }
        }
        Ok(query)
    }

    /// An aggregate in a condition, in the words of an alert: to the planner it is one in a query without a GROUP BY.
    fn without_aggregates(&self, error: Error) -> Error {
        if !error.message.ends_with("is neither grouped by nor in an aggregate") {
            return error;
        }
        Error::user("a condition looks at one row at a time and cannot hold an aggregate")
            .with_hint(
                "Compute it in a view, SELECT service, avg(ms) AS mean .. GROUP BY .., and write WHEN mean > 250.",
            )
            .at(self.alert.severities[0].when_position.clone())
    }

    fn severities(&self, order: &[usize], schema: &SchemaRef, width: usize) -> Result<Vec<Severity>> {
        let mut next = width;
        let mut condition = |text: String, position: &Position| -> Result<(usize, String)> {
            let at = next;
            next += 1;
            match schema.field(at).data_type() {
                DataType::Boolean => Ok((at, text)),
                other => Err(Error::user(format!("condition \"{text}\" is no truth value"))
                    .with_detail(format!("It is of type {}.", crate::types::sql_type(other)))
                    .with_hint("Compare it with something: p99 > 250.")
                    .at(position.clone())),
            }
        };
        let severity = |at: &usize| -> Result<Severity> {
            let declared = &self.alert.severities[*at];
            let (when, text) = condition(declared.when.to_string(), &declared.when_position)?;
            let clear = match &declared.clear {
                Some((expr, position)) => Some(condition(expr.to_string(), position)?),
                None => None,
            };
            let (clear, clear_condition) = clear.unzip();
            Ok(Severity { name: declared.name.value.clone(), when, clear, condition: text, clear_condition })
        };
        order.iter().map(severity).collect()
    }

    fn key(&self, by: &[Name], schema: &SchemaRef, width: usize, time: &AlertTime) -> Result<Vec<usize>> {
        let mut keys = Vec::new();
        for name in by {
            let at = self.column(&name.value, schema, width).map_err(|error| error.at(name.position.clone()))?;
            if matches!(time, AlertTime::Event { column, .. } if *column == at) {
                return Err(Error::user(format!(
                    "\"{}\" is the time of the alert and cannot be part of its key",
                    name.value
                ))
                .with_detail("Every row would be a key of its own, seen once.")
                .with_hint("Leave it out of BY.")
                .at(name.position.clone()));
            }
            if !keys.contains(&at) {
                keys.push(at);
            }
        }
        Ok(keys)
    }

    fn column(&self, name: &str, schema: &SchemaRef, width: usize) -> Result<usize> {
        let names = || schema.fields()[..width].iter().map(|field| field.name().as_str());
        names().position(|column| column == name).ok_or_else(|| {
            let noun = self.scope.relations.get(&self.alert.over.value).map_or("view", |relation| relation.noun());
            let error =
                Error::user(format!("column \"{name}\" does not exist in {noun} \"{}\"", self.alert.over.value));
            match closest(name, names()) {
                Some(near) => error.with_hint(format!("Did you mean \"{near}\"?")),
                None => error.with_hint(format!("There are: {}.", names().collect::<Vec<_>>().join(", "))),
            }
        })
    }

    fn length(&self, length: Option<&Length>) -> Result<i64> {
        let Some(length) = length else { return Ok(0) };
        let located = |error: Error| error.at(length.position.clone());
        let ns = query::interval_ns(&length.value, self.scope, self.words).map_err(located)?;
        match ns {
            0.. => Ok(ns),
            _ => Err(located(Error::user("a length of time cannot be negative"))),
        }
    }

    fn escalations(&self) -> Result<Vec<Escalation>> {
        let steps = self.alert.escalations.iter().map(|step| {
            let notifiers = step.to.iter().map(|name| name.value.clone()).collect();
            Ok(Escalation { after_ns: self.length(Some(&step.after))?, notifiers })
        });
        steps.collect()
    }

    fn absent(&self, severities: &[&str]) -> Result<Option<Absent>> {
        let Some(declared) = &self.alert.absent else { return Ok(None) };
        let after_ns = self.length(Some(&declared.after))?;
        let policy = match &declared.then {
            None => AbsentPolicy::Fire(1),
            Some(then) => match severities.iter().position(|name| *name == then.value) {
                Some(at) => AbsentPolicy::Fire(at + 1),
                None if then.value == "resolve" => AbsentPolicy::Resolve,
                None if then.value == "keep" => AbsentPolicy::Keep,
                None => {
                    return Err(Error::user(format!("\"{}\" is no severity of the alert", then.value))
                        .with_hint(format!("Write THEN and one of: {}, RESOLVE, KEEP.", severities.join(", ")))
                        .at(then.position.clone()));
                }
            },
        };
        Ok(Some(Absent { after_ns, policy }))
    }

    /// The keys of the relation `inventory`: its columns that are called as those of the key.
    fn expected(&self, inventory: &Name, keys: &[usize], schema: &SchemaRef) -> Result<Plan> {
        let located = |error: Error| Error { position: None, ..error }.at(inventory.position.clone());
        let Some(relation) = self.scope.relations.get(&inventory.value) else {
            return Err(located(messages::no_relation(&inventory.value, self.scope, self.words)));
        };
        if keys.is_empty() {
            return Err(located(
                Error::user("keys are expected, and the alert has none")
                    .with_hint("Write BY and the columns of its key."),
            ));
        }
        let mut query = query::select_all(&inventory.value, None)?;
        let SetExpr::Select(select) = query.body.as_mut() else { return Err(Error::bug("a query without a SELECT")) };
        select.projection.clear();
        for at in keys {
            let key = schema.field(*at);
            let Some((_, field)) = relation.schema.column_with_name(key.name()) else {
                return Err(located(
                    Error::user(format!(
                        "{} \"{}\" has no column \"{}\"",
                        relation.noun(),
                        inventory.value,
                        key.name()
                    ))
                    .with_hint(
                        "Its keys are the columns that are called as those of BY: put a view over it that has them.",
                    ),
                ));
            };
            if field.data_type() != key.data_type() {
                let types = [field, key].map(|field| crate::types::sql_type(field.data_type()));
                return Err(located(
                    Error::user(format!("column \"{}\" is of another type in \"{}\"", key.name(), inventory.value))
                        .with_detail(format!("It is {} there and {} in the alert.", types[0], types[1]))
                        .with_hint("Put a view over it that has a CAST."),
                ));
            }
            let ident = Ident::with_quote('"', key.name());
            select.projection.push(SelectItem::UnnamedExpr(Expr::Identifier(ident)));
        }
        let planned = query::plan(query, self.scope, self.words).map_err(located)?;
        let late = LateRows { lateness_ns: 0, on_late: OnLate::Drop };
        Ok(lower::lower(&planned, &late, self.scope, self.words).map_err(located)?.plan)
    }

    /// The columns that the conditions look at, besides the key.
    fn values(&self, schema: &SchemaRef, width: usize, keys: &[usize]) -> Vec<usize> {
        let mut named = Named(BTreeSet::new());
        for severity in &self.alert.severities {
            let _ = severity.when.visit(&mut named);
            let _ = severity.clear.as_ref().map(|(clear, _)| clear.visit(&mut named));
        }
        let looked_at = |at: &usize| named.0.contains(schema.field(*at).name()) && !keys.contains(at);
        (0..width).filter(looked_at).collect()
    }

    /// The columns that a condition asks whether they are too small.
    fn falling(&self) -> BTreeSet<String> {
        let mut falling = Falling(BTreeSet::new());
        for severity in &self.alert.severities {
            let _ = severity.when.visit(&mut falling);
        }
        falling.0
    }

    fn texts(&self, texts: &[DeclaredText], schema: &SchemaRef, width: usize) -> Result<Vec<(String, Template)>> {
        let one = |text: &DeclaredText| -> Result<(String, Template)> {
            let template = self.template(&text.text, schema, width).map_err(|error| error.at(text.position.clone()))?;
            Ok((text.name.value.clone(), template))
        };
        texts.iter().map(one).collect()
    }

    /// `text {{column}} text {{column | format}}`
    fn template(&self, text: &str, schema: &SchemaRef, width: usize) -> Result<Template> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("{{") {
            let Some((name, behind)) = after.split_once("}}") else {
                return Err(Error::user("a \"{{\" is not closed").with_hint("Write {{column}}."));
            };
            parts.extend((!before.is_empty()).then(|| Part::Text(before.to_string())));
            parts.push(self.place(name.trim(), schema, width)?);
            rest = behind;
        }
        parts.extend((!rest.is_empty()).then(|| Part::Text(rest.to_string())));
        Ok(Template(parts))
    }

    fn place(&self, place: &str, schema: &SchemaRef, width: usize) -> Result<Part> {
        let mut steps = place.split('|').map(str::trim);
        let name = steps.next().unwrap_or_default();
        let format = |step: &str| {
            Format::parse(step).ok_or_else(|| {
                Error::user(format!("there is no format \"{step}\" for a value in a text"))
                    .with_hint(format!("There are {FORMATS}."))
            })
        };
        let formats: Vec<Format> = steps.map(format).collect::<Result<_>>()?;
        match self.column(name, schema, width) {
            Ok(at) => Ok(Part::Column(at, formats)),
            Err(_) if name == "alert" => Ok(Part::Alert),
            Err(_) if name == "severity" => Ok(Part::Severity),
            Err(error) if name.starts_with(['$', '.']) => {
                Err(error.with_hint("Values go by the names of their columns: {{service}} is {{p99}} ms."))
            }
            Err(error) => Err(error),
        }
    }
}

/// The names that an expression says.
struct Named(BTreeSet<String>);

impl Visitor for Named {
    type Break = ();

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        match expr {
            Expr::Identifier(ident) => drop(self.0.insert(fold(ident))),
            Expr::CompoundIdentifier(parts) => self.0.extend(parts.last().map(fold)),
            _ => {}
        }
        ControlFlow::Continue(())
    }
}

/// The names on the smaller side of comparisons.
struct Falling(BTreeSet<String>);

impl Visitor for Falling {
    type Break = ();

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        if let Expr::BinaryOp { left, op, right } = expr {
            let smaller = match op {
                BinaryOperator::Lt | BinaryOperator::LtEq => Some(left),
                BinaryOperator::Gt | BinaryOperator::GtEq => Some(right),
                _ => None,
            };
            let mut named = Named(BTreeSet::new());
            let _ = smaller.map(|smaller| smaller.visit(&mut named));
            self.0.extend(named.0);
        }
        ControlFlow::Continue(())
    }
}
