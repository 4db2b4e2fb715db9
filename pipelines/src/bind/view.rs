//! `CREATE VIEW` and `CREATE MATERIALIZED VIEW`.

use super::horizon::{Revised, clock_of};
use super::{Closes, Mode, Relation, RelationKind, Scope, both, query};
use crate::bound::{has_windows, sources_of_windows};
use crate::lower::{self, LateRows};
use crate::parse::Words;
use crate::parse::ddl::CreateView;
use arrow::datatypes::DataType;
use std::collections::BTreeSet;
use thalweg_operators::horizon::Horizon;
use thalweg_operators::plan::{Emit, Plan, TimeOrigin, ViewPlan};
use thalweg_operators::recursion::{ITERATIONS_MAX, is_recursive};
use thalweg_operators::window_aggregate::OnLate;
use thalweg_schemas::error::{Error, Result};
use thalweg_schemas::options::{GivenOption, OptionKind, OptionSpec, Options};

/// The option that bounds what no window does.
pub(crate) const STATE_TTL: &str = "state_ttl";

/// The options that bound it by event time.
const REVISE_UNTIL: &str = "revise_until";
pub(crate) const REVISE_BY: &str = "revise_by";
pub(crate) const REVISE_CLOCK: &str = "revise_clock";
const RETAIN: &str = "retain";
const RETAIN_BY: &str = "retain_by";

/// The option that bounds recursions.
const RECURSION_LIMIT: &str = "recursion_limit";

/// The options of a materialized view.
const OPTIONS: &[OptionSpec] = &[
    OptionSpec {
        name: "lateness",
        kind: OptionKind::Duration,
        default: Some("0s"),
        required: false,
        doc: "How much longer than the watermark says its windows stay open.",
    },
    OptionSpec {
        name: "on_late",
        kind: OptionKind::OneOf(&["drop", "revise"]),
        default: Some("drop"),
        required: false,
        doc: "What a row does whose windows have all closed: it is kept in thalweg.late_rows, or corrects the result.",
    },
    OptionSpec {
        name: "revise_until",
        kind: OptionKind::Duration,
        default: Some("1h"),
        required: false,
        doc: "With on_late = 'revise': how long after its close a window can still be corrected, in event time. With \
              revise_by: how long after that time what no window bounds can be.",
    },
    OptionSpec {
        name: REVISE_BY,
        kind: OptionKind::Text,
        default: None,
        required: false,
        doc: "Which columns, by their names, say to which time a row belongs: rows, groups and partitions that no window \
              bounds are forgotten revise_until after it, and what was said of them stays.",
    },
    OptionSpec {
        name: REVISE_CLOCK,
        kind: OptionKind::Text,
        default: None,
        required: false,
        doc: "With revise_by or retain: the source whose watermark tells how far event time has come; without it, those \
              that the view is made of.",
    },
    OptionSpec {
        name: RETAIN,
        kind: OptionKind::Duration,
        default: None,
        required: false,
        doc: "For how long, in event time, the view shows a row after the time in its column retain_by.",
    },
    OptionSpec {
        name: RETAIN_BY,
        kind: OptionKind::Text,
        default: None,
        required: false,
        doc: "The TIMESTAMP among the columns of the view that retain goes by.",
    },
    OptionSpec {
        name: STATE_TTL,
        kind: OptionKind::Duration,
        default: None,
        required: false,
        doc: "After how long without a row of it a key is forgotten, by the engine's clock: groups, partitions and the \
              rows of joins that no window bounds.",
    },
    OptionSpec {
        name: RECURSION_LIMIT,
        kind: OptionKind::Count,
        default: Some("1000"),
        required: false,
        doc: "After how many iterations WITH RECURSIVE ends: a row that one more would make is a dead letter.",
    },
];

/// What a view came to.
pub(crate) struct BoundView {
    pub relation: Relation,
    /// `None` for a plain view.
    pub plan: Option<ViewPlan>,
}

pub(crate) fn bind(view: &CreateView, scope: &Scope, words: &Words) -> Result<BoundView, Vec<Error>> {
    let name = &view.name.value;
    if !view.materialized {
        if let Some(option) = view.options.first() {
            let error = Error::user(format!("view \"{name}\" takes no options"))
                .with_hint("Options belong to CREATE MATERIALIZED VIEW.");
            return Err(vec![option.position.clone().into_iter().fold(error, Error::at)]);
        }
        return plain(view, scope, words).map_err(|error| vec![error]);
    }
    let options = Options::check(OPTIONS, &view.options, &format!("view \"{name}\""))
        .map_err(|errors| errors.into_iter().map(|e| e.at(view.name.position.clone())).collect::<Vec<_>>());
    let planned = query::plan((*view.query).clone(), scope, words).map_err(|error| vec![error]);
    let (options, planned) = both(options, planned)?;
    let state_ttl_ns = state_ttl(view, &options).map_err(|error| vec![error])?;
    let mut bound = materialized(view, &late_rows(&options), planned, scope, words)
        .map_err(|error| vec![error.at(words.start())])?;
    let limit = recursion_limit(view, &options, bound.plan.as_ref()).map_err(|error| vec![error])?;
    if let Some(plan) = &mut bound.plan {
        let clock = clock(view, &options, plan, scope).map_err(|error| vec![error])?;
        revise(view, &options, plan, &clock).map_err(|error| vec![error])?;
        plan.retain = retain(view, &options, plan, clock).map_err(|error| vec![error])?;
        state_ttl_ns.into_iter().for_each(|ttl_ns| forget_after(&mut plan.plan, ttl_ns));
        limit_recursion(&mut plan.plan, limit);
    }
    Ok(bound)
}

fn plain(view: &CreateView, scope: &Scope, words: &Words) -> Result<BoundView> {
    let planned = query::plan((*view.query).clone(), scope, words)?;
    let schema = std::sync::Arc::new(planned.schema().as_arrow().clone());
    let times = vec![None; schema.fields().len()];
    let kind = RelationKind::View(Box::new(planned));
    let name = view.name.value.clone();
    let relation = Relation {
        name,
        kind,
        schema,
        mode: Mode::Append,
        times,
        bounds: Vec::new(),
        key: None,
        tables: BTreeSet::new(),
        clock: TimeOrigin::default(),
        asked: None,
    };
    Ok(BoundView { relation, plan: None })
}

fn materialized(
    view: &CreateView,
    late: &LateRows,
    planned: datafusion::logical_expr::LogicalPlan,
    scope: &Scope,
    words: &Words,
) -> Result<BoundView> {
    let name = view.name.value.clone();
    let lowered = lower::lower(&planned, late, scope, words)?;
    let revised = view.options.iter().any(|option| option.name == REVISE_BY);
    let of_others: &[&str] = &[STATE_TTL, RECURSION_LIMIT, REVISE_BY, REVISE_CLOCK, RETAIN, RETAIN_BY];
    let of_other = |option: &str| of_others.contains(&option) || revised && option == REVISE_UNTIL;
    let of_windows = view.options.iter().find(|option| !of_other(&option.name));
    if let Some(option) = of_windows.filter(|_| !has_windows(&lowered.plan)) {
        let error = Error::user(format!("option \"{}\" has no meaning for view \"{name}\"", option.name))
            .with_detail("It groups by no window, so no row is ever late.")
            .with_hint(match option.name == REVISE_UNTIL {
                true => "Say by which time: WITH (revise_until = '7 days', revise_by = 'hour'), or leave it out.",
                false => "Leave it out, or group by window_start and window_end of TUMBLE(..) or HOP(..).",
            });
        return Err(option.position.clone().into_iter().fold(error, Error::at));
    }
    let (emit, mode) = match (&view.emit, lowered.mode) {
        (None | Some((Emit::Changes, _)), mode) => (Emit::Changes, mode),
        (Some((Emit::OnWindowClose, position)), Mode::Changelog) => {
            return Err(Error::user(format!("view \"{name}\" has no windows that could close"))
                .with_hint("Group by window_start and window_end of TUMBLE(..) or HOP(..), or leave EMIT out.")
                .at(position.clone()));
        }
        (Some((Emit::OnWindowClose, _)), Mode::Append) => (Emit::Changes, Mode::Append),
        (Some((Emit::OnWindowClose, position)), Mode::Windows) => {
            if let Some(error) = never_closed(&name, &lowered.plan, scope) {
                return Err(error.at(position.clone()));
            }
            (Emit::OnWindowClose, Mode::Append)
        }
    };
    let schema = lowered.plan.schema();
    let key = lowered.simple_key();
    let (tables, clock) = (lower::tables_of(&lowered.plan, scope), clock_of(&lowered.plan, scope));
    let plan = ViewPlan { name: name.clone(), plan: lowered.plan, emit, key: key.clone(), retain: None };
    let kind = RelationKind::MaterializedView;
    let (times, bounds) = (lowered.times, lowered.bounds);
    let relation = Relation { name, kind, schema, mode, times, bounds, key, tables, clock, asked: None };
    Ok(BoundView { relation, plan: Some(plan) })
}

/// Rows that are shown once their window has closed are never shown where no window ever closes.
fn never_closed(view: &str, plan: &Plan, scope: &Scope) -> Option<Error> {
    let endless = |name: &&str| {
        let kind = scope.relations.get(*name).map(|relation| &relation.kind);
        matches!(kind, Some(RelationKind::Source(Closes::Never)))
    };
    let source = sources_of_windows(plan).find(endless)?;
    Some(
        Error::user(format!("view \"{view}\" would never show a row: no window over source \"{source}\" ever closes"))
            .with_detail("The source has no watermark and no end.")
            .with_hint(
                "Declare in the source how late its rows can be, WATERMARK FOR ts AS ts - INTERVAL '5 seconds', or \
                 leave EMIT ON WINDOW CLOSE out.",
            ),
    )
}

/// After how long without a row keys are forgotten, if they are.
fn state_ttl(view: &CreateView, options: &Options) -> Result<Option<i64>> {
    let Some(ttl) = options.duration(STATE_TTL) else { return Ok(None) };
    if ttl.is_zero() {
        let error = Error::user(format!("with state_ttl = '0' view \"{}\" would forget everything", view.name.value))
            .with_hint("Say how long a key is kept that nothing comes for: state_ttl = '1 day'. Without it, for ever.");
        let option = view.options.iter().find(|option| option.name == STATE_TTL);
        return Err(option.and_then(|option| option.position.clone()).into_iter().fold(error, Error::at));
    }
    Ok(Some(i64::try_from(ttl.as_nanos()).unwrap_or(i64::MAX)))
}

fn given<'a>(view: &'a CreateView, option: &str) -> Option<&'a GivenOption> {
    view.options.iter().find(|given| given.name == option)
}

/// `error` at the place where `option` is given.
fn located(view: &CreateView, option: &str, error: Error) -> Error {
    given(view, option).and_then(|given| given.position.clone()).into_iter().fold(error, Error::at)
}

/// By which watermarks event time is told, for what goes by it; an error where it is asked for and nothing tells it.
fn clock(view: &CreateView, options: &Options, plan: &ViewPlan, scope: &Scope) -> Result<TimeOrigin> {
    let name = &view.name.value;
    let Some(asked) = [REVISE_BY, RETAIN].into_iter().find(|option| given(view, option).is_some()) else {
        if given(view, REVISE_CLOCK).is_none() {
            return Ok(TimeOrigin::default());
        }
        let error = Error::user(format!("option \"{REVISE_CLOCK}\" has no meaning for view \"{name}\""))
            .with_detail(format!("It goes with {REVISE_BY} or {RETAIN}."))
            .with_hint("Say by which column rows belong to a time, or leave it out.");
        return Err(located(view, REVISE_CLOCK, error));
    };
    if let Some(source) = options.get(REVISE_CLOCK) {
        return clock_of_source(source, scope).ok_or_else(|| {
            let error = Error::user(format!("there is no source \"{source}\" with a watermark"))
                .with_hint("Name a source that has WATERMARK FOR ts AS ts - INTERVAL '5 seconds'.");
            located(view, REVISE_CLOCK, error)
        });
    }
    let clock = clock_of(&plan.plan, scope);
    if clock.sources.is_empty() {
        let error = Error::user(format!("nothing tells view \"{name}\" how far event time has come"))
            .with_detail("No source that it is made of has a watermark.")
            .with_hint(
                "Declare in one how late its rows can be, WATERMARK FOR ts AS ts - INTERVAL '5 seconds', or name another \
                 source: revise_clock = 'events'",
            );
        return Err(located(view, asked, error));
    }
    Ok(clock)
}

/// Lets the view forget what is behind its horizon, if it has one.
fn revise(view: &CreateView, options: &Options, plan: &mut ViewPlan, clock: &TimeOrigin) -> Result<()> {
    let (name, Some(by)) = (&view.name.value, options.get(REVISE_BY)) else { return Ok(()) };
    let Some(until) = options.duration(REVISE_UNTIL).filter(|_| given(view, REVISE_UNTIL).is_some()) else {
        let error = Error::user(format!("view \"{name}\" says by which time it is revised, and not until when"))
            .with_hint(format!("Say how long after {by} it can be corrected: revise_until = '7 days'"));
        return Err(located(view, REVISE_BY, error));
    };
    let by: Vec<String> = by.split(',').map(|column| column.trim().to_string()).collect();
    let until_ns = i64::try_from(until.as_nanos()).unwrap_or(i64::MAX);
    let revised = Revised { by, until_ns, clock: clock.clone() };
    if !revised.bound(&mut plan.plan) {
        let error = Error::user(format!("view \"{name}\" reads no TIMESTAMP called {}", revised.by.join(" or ")))
            .with_hint("Name a column of what it reads, or one that a query in FROM computes.");
        return Err(located(view, REVISE_BY, error));
    }
    Ok(())
}

/// For how long the view shows its rows, if not for ever.
fn retain(view: &CreateView, options: &Options, plan: &ViewPlan, clock: TimeOrigin) -> Result<Option<Horizon>> {
    let name = &view.name.value;
    let (retain, by) = match (options.duration(RETAIN), options.get(RETAIN_BY)) {
        (Some(retain), Some(by)) => (retain, by),
        (None, None) => return Ok(None),
        (Some(_), None) => {
            let error = Error::user(format!("view \"{name}\" says how long it shows rows, and not after which time"))
                .with_hint("Name the column: retain_by = 'hour'");
            return Err(located(view, RETAIN, error));
        }
        (None, Some(by)) => {
            let error = Error::user(format!("view \"{name}\" says after which time rows go, and not how long after"))
                .with_hint(format!("Say how long after {by} it shows a row: retain = '90 days'"));
            return Err(located(view, RETAIN_BY, error));
        }
    };
    let schema = plan.plan.schema();
    let is_it =
        |field: &arrow::datatypes::FieldRef| field.name() == by && matches!(field.data_type(), DataType::Timestamp(..));
    let Some(column) = schema.fields().iter().position(is_it) else {
        let error = Error::user(format!("view \"{name}\" has no TIMESTAMP called \"{by}\""))
            .with_hint("Name one of its columns.");
        return Err(located(view, RETAIN_BY, error));
    };
    let keep_ns = i64::try_from(retain.as_nanos()).unwrap_or(i64::MAX);
    Ok(Some(Horizon { column, keep_ns, origin: clock }))
}

fn clock_of_source(name: &str, scope: &Scope) -> Option<TimeOrigin> {
    let relation = scope.relations.get(name)?;
    matches!(relation.kind, RelationKind::Source(Closes::ByWatermark)).then(|| relation.clock.clone())
}

/// After how many iterations the recursions of `plan` end.
fn recursion_limit(view: &CreateView, options: &Options, plan: Option<&ViewPlan>) -> Result<u32> {
    let given = view.options.iter().find(|option| option.name == RECURSION_LIMIT);
    let located = |error| given.and_then(|option| option.position.clone()).into_iter().fold(error, Error::at);
    let name = &view.name.value;
    let limit = options.count(RECURSION_LIMIT).unwrap_or(u64::from(ITERATIONS_MAX));
    if given.is_some() && !plan.is_some_and(|plan| recurses(&plan.plan)) {
        let error = Error::user(format!("option \"{RECURSION_LIMIT}\" has no meaning for view \"{name}\""))
            .with_detail("There is no WITH RECURSIVE in its query.")
            .with_hint("Leave it out.");
        return Err(located(error));
    }
    if limit == 0 {
        let error = Error::user(format!("with {RECURSION_LIMIT} = '0' the recursion of view \"{name}\" never begins"))
            .with_hint("Say how many iterations there may be: the depth of the deepest tree, or more.");
        return Err(located(error));
    }
    Ok(u32::try_from(limit).unwrap_or(u32::MAX))
}

fn recurses(plan: &Plan) -> bool {
    matches!(plan, Plan::Recursion(_)) || plan.inputs().into_iter().any(recurses)
}

fn limit_recursion(plan: &mut Plan, limit: u32) {
    if let Plan::Recursion(spec) = plan {
        spec.iterations_max = limit;
    }
    plan.inputs_mut().into_iter().for_each(|input| limit_recursion(input, limit));
}

/// Lets all operators of the plan forget keys by which they have state that nothing else bounds. What a recursion joins
/// its rows with is part of them, and stays as long as they can be taken back.
fn forget_after(plan: &mut Plan, ttl_ns: i64) {
    if !is_recursive(plan) {
        plan.state_ttl_ns_mut().into_iter().for_each(|own| *own = Some(ttl_ns));
    }
    plan.inputs_mut().into_iter().for_each(|input| forget_after(input, ttl_ns));
}

fn late_rows(options: &Options) -> LateRows {
    let ns = |name: &str| {
        let length = options.duration(name).unwrap_or_default();
        i64::try_from(length.as_nanos()).unwrap_or(i64::MAX)
    };
    let on_late = match options.get("on_late") {
        Some("revise") => OnLate::Revise { until_ns: ns("revise_until") },
        _ => OnLate::Drop,
    };
    LateRows { lateness_ns: ns("lateness"), on_late }
}
