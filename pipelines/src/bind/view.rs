//! `CREATE VIEW` and `CREATE MATERIALIZED VIEW`.

use super::{Closes, Mode, Relation, RelationKind, Scope, both, query};
use crate::bound::{has_windows, sources_of_windows};
use crate::lower::{self, LateRows};
use crate::parse::Words;
use crate::parse::ddl::CreateView;
use thalweg_operators::plan::{Emit, Plan, ViewPlan};
use thalweg_operators::window_aggregate::OnLate;
use thalweg_schemas::error::{Error, Result};
use thalweg_schemas::options::{OptionKind, OptionSpec, Options};

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
    if let Some(option) = view.options.iter().find(|o| o.name == "state_ttl") {
        let error = Error::user("option \"state_ttl\" is not supported yet")
            .with_hint("Group by a window to bound what the view keeps.");
        return Err(vec![option.position.clone().into_iter().fold(error, Error::at)]);
    }
    let options = Options::check(OPTIONS, &view.options, &format!("view \"{name}\""))
        .map_err(|errors| errors.into_iter().map(|e| e.at(view.name.position.clone())).collect::<Vec<_>>());
    let planned = query::plan((*view.query).clone(), scope, words).map_err(|error| vec![error]);
    let (options, planned) = both(options, planned)?;
    materialized(view, &late_rows(&options), planned, scope, words).map_err(|error| vec![error.at(words.start())])
}

fn plain(view: &CreateView, scope: &Scope, words: &Words) -> Result<BoundView> {
    let planned = query::plan((*view.query).clone(), scope, words)?;
    let schema = std::sync::Arc::new(planned.schema().as_arrow().clone());
    let times = vec![None; schema.fields().len()];
    let kind = RelationKind::View(Box::new(planned));
    let name = view.name.value.clone();
    let relation = Relation { name, kind, schema, mode: Mode::Append, times, bounds: Vec::new(), key: None };
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
    if let Some(option) = view.options.first().filter(|_| !has_windows(&lowered.plan)) {
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
    let plan = ViewPlan { name: name.clone(), plan: lowered.plan, emit, key: key.clone() };
    let kind = RelationKind::MaterializedView;
    let (times, bounds) = (lowered.times, lowered.bounds);
    let relation = Relation { name, kind, schema, mode, times, bounds, key };
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
