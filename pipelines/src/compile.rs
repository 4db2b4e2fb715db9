//! `compile`: texts to a program, every error at once.

use crate::bind::RelationKind;
use crate::bind::{Relation, Scope, alert, notification, order, sink, source, table, view};
use crate::functions::Functions;
use crate::lower::constant;
use crate::parse::ddl::{CreateSource, Ddl, Name, SinkInput};
use crate::parse::{Outcome, Parsed, parse_all};
use crate::program::{Declaration, DeclarationKind, Environment, Program, SqlText};
use crate::wanted;
use arrow::datatypes::{Schema, SchemaRef};
use std::collections::BTreeMap;
use std::sync::Arc;
use thalweg_operators::ordered::OrderBy;
use thalweg_operators::plan::{Emit, Plan, ViewPlan};
use thalweg_operators::top_n::{Rank, TopNSpec};
use thalweg_schemas::alert_event;
use thalweg_schemas::error::Error;

/// The view that keeps the last events of an alert for `thalweg.alert_events`. It is nobody's declaration.
pub fn alert_history_of(alert: &str) -> String {
    format!("{alert}.alert_events")
}

/// How many events of an alert are kept.
const ALERT_EVENTS_KEPT: u64 = 10_000;

/// Compiles all statements of `texts`, whatever their order. Every error is reported, each with its position.
pub fn compile(texts: &[SqlText], environment: &Environment) -> Result<Program, Vec<Error>> {
    let Outcome { statements, mut errors, unparsed } = parse_all(texts, environment);
    let statements = without_duplicates(statements, &mut errors);
    let (functions, wrong) = Functions::of(&statements);
    errors.extend(wrong);
    let (mut statements, mut failed) = (statements, unparsed);
    failed.extend(functions.without_end.iter().cloned());
    statements.retain_mut(|statement| match functions.put_in_statement(&mut statement.ddl, &statement.words) {
        Ok(()) => true,
        Err(error) => {
            errors.push(error);
            failed.push(statement.ddl.name().value.clone());
            false
        }
    });
    let (order, cyclic, cycles) = order::sort(&statements);
    errors.extend(cycles);

    let program = Program { functions, ..Program::default() };
    let mut compiler = Compiler { environment, program, scope: Scope::default() };
    compiler.scope.failed.extend(failed);
    compiler.scope.failed.extend(cyclic.iter().map(|at| statements[*at].ddl.name().value.clone()));
    for at in order {
        let statement = &statements[at];
        if let Err(found) = compiler.declare(statement) {
            let name = &statement.ddl.name().value;
            let of_itself = found.into_iter().filter(|error| !compiler.is_cascade(error));
            errors.extend(of_itself);
            compiler.scope.failed.insert(name.clone());
        }
    }
    errors.extend(notification::unknown_notifiers(&statements, &compiler.program, &compiler.scope));
    let (program, spec) = (&compiler.program, environment.notification);
    errors.extend(notification::unknown_names(&statements, program, spec, &compiler.scope));
    if !errors.is_empty() {
        let file = |error: &Error| error.position.as_ref().map(|p| texts.iter().position(|t| t.file == p.file));
        errors.sort_by_key(|error| (file(error), error.position.clone()));
        errors.dedup();
        return Err(errors);
    }
    let sink = notification::sink(&compiler.program);
    compiler.program.dataflow.sinks.extend(sink);
    compiler.program.dataflow.sources.push(constant::source());
    wanted::mark(&mut compiler.program.dataflow);
    compiler.program.warnings = crate::bound::warnings(&compiler.program, &statements);
    Ok(compiler.program)
}

/// The statements with each name once. `IF NOT EXISTS` keeps the first silently.
fn without_duplicates(statements: Vec<Parsed>, errors: &mut Vec<Error>) -> Vec<Parsed> {
    let mut seen: BTreeMap<String, Name> = BTreeMap::new();
    let mut kept = Vec::new();
    for statement in statements {
        let name = statement.ddl.name().clone();
        match seen.get(&name.value) {
            None => {
                seen.insert(name.value.clone(), name);
                kept.push(statement);
            }
            Some(_) if statement.ddl.if_not_exists() => {}
            Some(first) => errors.push(
                Error::user(format!("\"{}\" is declared twice", name.value))
                    .with_detail(format!("It is declared first at {}.", first.position))
                    .at(name.position),
            ),
        }
    }
    kept
}

/// The view that keeps the last events of an alert.
fn alert_history(alert: &ViewPlan) -> ViewPlan {
    let schema = alert.plan.schema();
    let by = |column: usize| OrderBy { column, descending: true, nulls_first: false };
    let spec = TopNSpec {
        state_ttl_ns: None,
        horizon: None,
        input: Box::new(Plan::View { name: alert.name.clone(), schema: schema.clone() }),
        retracts: false,
        partition: Vec::new(),
        order: vec![by(alert_event::EVENT_TIME)],
        rank: Rank::RowNumber,
        skip: 0,
        limit: ALERT_EVENTS_KEPT,
        numbered: false,
        closes: None,
        schema,
    };
    let name = alert_history_of(&alert.name);
    ViewPlan { name, plan: Plan::TopN(Box::new(spec)), emit: Emit::Changes, key: None, retain: None }
}

struct Compiler<'a> {
    environment: &'a Environment<'a>,
    program: Program,
    scope: Scope,
}

impl Compiler<'_> {
    fn declare(&mut self, statement: &Parsed) -> Result<(), Vec<Error>> {
        let (scope, words, connectors) = (&self.scope, &statement.words, self.environment.connectors);
        match &statement.ddl {
            Ddl::Source(ddl) => {
                let bound = match source::bind(ddl, connectors, scope, words) {
                    Ok(bound) => bound,
                    Err(errors) => return Err(self.stand_in(ddl, errors)),
                };
                let kind = DeclarationKind::Source { connector: bound.plan.connector.clone(), bounded: bound.bounded };
                self.program.dataflow.sources.push(bound.plan);
                self.add(statement, kind, bound.relation.schema.clone(), Some(bound.relation));
            }
            Ddl::Table(ddl) => {
                let bound = match table::bind(ddl, connectors, scope, words) {
                    Ok(bound) => bound,
                    Err(errors) => return Err(self.stand_in(ddl, errors)),
                };
                let kind = DeclarationKind::Table { source: bound.source.name.clone(), defaults: bound.defaults };
                self.program.dataflow.sources.push(bound.source);
                self.program.dataflow.views.push(bound.view);
                self.add(statement, kind, bound.relation.schema.clone(), Some(bound.relation));
            }
            Ddl::Function(_) => {
                let schema = Arc::new(arrow::datatypes::Schema::empty());
                self.add(statement, DeclarationKind::Function, schema, None);
            }
            Ddl::View(ddl) => {
                let bound = view::bind(ddl, scope, words)?;
                let kind = match bound.plan {
                    Some(_) => DeclarationKind::MaterializedView,
                    None => DeclarationKind::View { query: ddl.query.to_string() },
                };
                self.program.dataflow.views.extend(bound.plan);
                self.add(statement, kind, bound.relation.schema.clone(), Some(bound.relation));
            }
            Ddl::Sink(ddl) => {
                if let SinkInput::Relation(name) = &ddl.input
                    && scope.failed.contains(&name.value)
                {
                    return Ok(());
                }
                let bound = sink::bind(ddl, connectors, scope, words)?;
                let kind = DeclarationKind::Sink { connector: bound.plan.connector.clone(), history: bound.history };
                let schema = bound.plan.plan.schema();
                self.program.dataflow.sinks.push(bound.plan);
                self.add(statement, kind, schema, None);
            }
            Ddl::Notification(ddl) => {
                let plan = notification::bind(ddl, self.environment.notification)?;
                let kind = DeclarationKind::Notification(plan.kind);
                self.program.notifications.push(plan);
                self.add(statement, kind, Arc::new(Schema::empty()), None);
            }
            Ddl::Alert(ddl) => {
                if std::iter::once(&ddl.over).chain(&ddl.expected).any(|name| scope.failed.contains(&name.value)) {
                    return Err(Vec::new());
                }
                let bound = alert::bind(ddl, &self.program.dataflow, scope, words)?;
                let notify = ddl.notify.iter().map(|name| name.value.clone()).collect();
                let kind =
                    DeclarationKind::Alert { over: ddl.over.value.clone(), notify, escalations: bound.escalations };
                let history = alert_history(&bound.plan);
                self.program.dataflow.views.extend([bound.plan, history]);
                self.add(statement, kind, bound.relation.schema.clone(), Some(bound.relation));
            }
        }
        Ok(())
    }

    /// Puts a relation in the place of one that has `errors`, so that what reads it is checked in the same go.
    fn stand_in(&mut self, ddl: &CreateSource, errors: Vec<Error>) -> Vec<Error> {
        let relation = source::stand_in(ddl).map(|relation| (relation.name.clone(), Arc::new(relation)));
        self.scope.relations.extend(relation);
        errors
    }

    fn add(&mut self, statement: &Parsed, kind: DeclarationKind, schema: SchemaRef, relation: Option<Relation>) {
        let name = statement.ddl.name().value.clone();
        if let Some(relation) = relation {
            debug_assert!(
                !matches!(relation.kind, RelationKind::View(_)) || matches!(kind, DeclarationKind::View { .. })
            );
            self.scope.relations.insert(name.clone(), Arc::new(relation));
        }
        self.program.declarations.push(Declaration { name, kind, schema, ddl: statement.text.clone() });
    }

    /// Whether an error only says that something is missing which had an error of its own.
    fn is_cascade(&self, error: &Error) -> bool {
        let missing = ["relation \"", "function \""].iter().find_map(|kind| error.message.strip_prefix(kind));
        let missing = missing.and_then(|rest| rest.strip_suffix("\" does not exist"));
        missing.is_some_and(|name| self.scope.failed.contains(name))
    }
}
