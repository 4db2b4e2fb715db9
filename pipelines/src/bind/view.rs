//! `CREATE VIEW` and `CREATE MATERIALIZED VIEW`.

use super::{Closes, Mode, Relation, RelationKind, Scope, both, query};
use crate::bound::{has_windows, sources_of_windows};
use crate::lower::{self, LateRows};
use crate::parse::Words;
use crate::parse::ddl::CreateView;
use std::collections::BTreeSet;
use thalweg_operators::plan::{Emit, Plan, ViewPlan};
use thalweg_operators::recursion::{ITERATIONS_MAX, is_recursive};
use thalweg_operators::window_aggregate::OnLate;
use thalweg_schemas::error::{Error, Result};
use thalweg_schemas::options::{OptionKind, OptionSpec, Options};

/// The option that bounds what no window does.
pub(crate) const STATE_TTL: &str = "state_ttl";

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
        doc: "With on_late = 'revise': how long after its close a window can still be corrected, in event time.",
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
    let of_windows = view.options.iter().find(|option| ![STATE_TTL, RECURSION_LIMIT].contains(&option.name.as_str()));
    if let Some(option) = of_windows.filter(|_| !has_windows(&lowered.plan)) {
        let error = Error::user(format!("option \"{}\" has no meaning for view \"{name}\"", option.name))
            .with_detail("It groups by no window, so no row is ever late.")
            .with_hint("Leave it out, or group by window_start and window_end of TUMBLE(..) or HOP(..).");
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
    let tables = lower::tables_of(&lowered.plan, scope);
    let plan = ViewPlan { name: name.clone(), plan: lowered.plan, emit, key: key.clone() };
    let kind = RelationKind::MaterializedView;
    let (times, bounds) = (lowered.times, lowered.bounds);
    let relation = Relation { name, kind, schema, mode, times, bounds, key, tables };
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
