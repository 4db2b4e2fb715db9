//! What bounds the state of a view, and the warning where nothing does.

use crate::bind::table;
use crate::bind::view::{REVISE_BY, STATE_TTL};
use crate::parse::Parsed;
use crate::parse::ddl::{CreateView, Ddl};
use crate::program::{DeclarationKind, Program};
use datafusion::sql::sqlparser::ast::{Distinct, SetExpr};
use thalweg_operators::join::JoinKind;
use thalweg_operators::plan::{Emit, Plan, Read, ViewPlan};
use thalweg_operators::reduce::Kept;
use thalweg_schemas::error::Error;

/// A warning for each view with state that nothing bounds.
pub(crate) fn warnings(program: &Program, statements: &[Parsed]) -> Vec<Error> {
    let named = |view: &ViewPlan, error: Error| {
        let name = statements.iter().map(|s| s.ddl.name()).find(|name| name.value == view.name);
        name.into_iter().fold(error, |error, name| error.at(name.position.clone()))
    };
    let views = program.dataflow.views.iter().filter(|view| program.declaration(&view.name).is_some());
    views
        .flat_map(|view| {
            let all = never_closed(program, view)
                .into_iter()
                .chain(kept_for_ever(view))
                .chain(idle_order(view, statements))
                .chain(idle_options(view, statements));
            all.map(move |error| named(view, error)).collect::<Vec<_>>()
        })
        .collect()
}

/// A warning where the windows of a view never close.
fn never_closed(program: &Program, view: &ViewPlan) -> Option<Error> {
    let endless = |name: &str| {
        let silent = program.dataflow.sources.iter().any(|source| source.name == name && source.is_silent());
        let kind = program.declaration(name).map(|declaration| &declaration.kind);
        silent && (table::feeds_table(name) || matches!(kind, Some(DeclarationKind::Source { bounded: false, .. })))
    };
    let source = sources_of_windows(&view.plan).find(|name| endless(name))?;
    Some(
        Error::user(format!("nothing closes the windows of view \"{}\", so nothing bounds its state", view.name))
            .with_detail(format!("Source \"{source}\" has no watermark and no end."))
            .with_hint("Declare in the source how late its rows can be: WATERMARK FOR ts AS ts - INTERVAL '5 seconds'"),
    )
}

/// A warning where a view keeps rows or groups for ever.
fn kept_for_ever(view: &ViewPlan) -> Option<Error> {
    let read = match view.emit {
        Emit::Changes => Read::Changes,
        Emit::OnWindowClose => Read::Finals,
    };
    let (kept, hint) = unbounded(&view.plan, read)?;
    Some(Error::user(format!("nothing bounds the state of view \"{}\"", view.name)).with_detail(kept).with_hint(hint))
}

/// Warnings where a view is to forget what it does not keep, or what something else bounds.
fn idle_options(view: &ViewPlan, statements: &[Parsed]) -> Vec<Error> {
    let is_it = |ddl: &&CreateView| ddl.name.value == view.name;
    let asked = statements.iter().filter_map(|statement| match &statement.ddl {
        Ddl::View(view) => Some(view),
        _ => None,
    });
    let given: Vec<&str> =
        asked.filter(is_it).flat_map(|view| view.options.iter().map(|option| option.name.as_str())).collect();
    let changes_nothing = |option: &str, why: &str| {
        Error::user(format!("option \"{option}\" changes nothing in view \"{}\"", view.name))
            .with_detail(why)
            .with_hint("Leave it out.")
    };
    let idle = |option: &str, works: fn(&Plan) -> bool| given.contains(&option) && !anywhere(&view.plan, works);
    let ttl = idle(STATE_TTL, forgets_keys)
        .then(|| changes_nothing(STATE_TTL, "It keeps no state by a key that nothing else bounds."));
    let horizon = idle(REVISE_BY, has_horizon).then(|| {
        changes_nothing(REVISE_BY, "It keeps no rows, groups or partitions by such a time that nothing else bounds.")
    });
    ttl.into_iter().chain(horizon).collect()
}

/// A warning where the query of a view orders rows, all of which it keeps.
fn idle_order(view: &ViewPlan, statements: &[Parsed]) -> Option<Error> {
    let statement = statements.iter().find(|statement| statement.ddl.name().value == view.name)?;
    let query = statement.ddl.query()?;
    let chooses = match query.body.as_ref() {
        SetExpr::Select(select) => matches!(select.distinct, Some(Distinct::On(_))),
        _ => false,
    };
    let orders = query.order_by.is_some() && query.limit_clause.is_none() && query.fetch.is_none() && !chooses;
    orders.then(|| {
        Error::user(format!("ORDER BY changes nothing in view \"{}\"", view.name))
            .with_detail("A view is a set of rows, whatever the order in which they were asked for.")
            .with_hint("Order what you read from the view: SELECT .. FROM view ORDER BY ..")
    })
}

fn anywhere(plan: &Plan, works: fn(&Plan) -> bool) -> bool {
    works(plan) || plan.inputs().into_iter().any(|input| anywhere(input, works))
}

/// Whether the operator forgets keys.
fn forgets_keys(plan: &Plan) -> bool {
    let own = match plan {
        Plan::Reduce(spec) => spec.state_ttl_ns,
        Plan::TopN(spec) => spec.state_ttl_ns,
        Plan::Over(spec) => spec.state_ttl_ns,
        Plan::Join(spec) => spec.state_ttl_ns,
        Plan::AsofJoin(spec) => spec.state_ttl_ns,
        _ => None,
    };
    own.is_some()
}

/// Whether the operator forgets what is behind a horizon.
fn has_horizon(plan: &Plan) -> bool {
    match plan {
        Plan::Reduce(spec) => spec.horizon.is_some(),
        Plan::TopN(spec) => spec.horizon.is_some(),
        Plan::Over(spec) => spec.horizon.is_some(),
        Plan::Join(spec) => spec.has_horizon(),
        Plan::AsofJoin(spec) => spec.horizon.is_some(),
        _ => false,
    }
}

/// What the operator of the plan, read as `read`, keeps whose state nothing bounds, if there is one, and what would bound it.
fn unbounded(plan: &Plan, read: Read) -> Option<(&'static str, &'static str)> {
    const GROUPS: &str = "It keeps every group that it has ever seen.";
    const ROWS: &str = "It keeps the rows that it reads, since each may be taken back.";
    const WINDOWS: &str = "Group by a window of TUMBLE(..) or HOP(..) where groups keep coming.";
    const KEYED: &str = "Group by a window of TUMBLE(..) or HOP(..) where groups keep coming, or forget what nothing comes \
                         for any more: WITH (state_ttl = '1 day').";
    const APART: &str = "Say how far apart in event time the rows of a pair can be where rows keep coming on both sides: \
                         AND b.ts BETWEEN a.ts - INTERVAL '1 minute' AND a.ts + INTERVAL '1 minute'.";
    let by_key = |keys: usize| if keys == 0 { WINDOWS } else { KEYED };
    let own = match plan {
        plan if forgets_keys(plan) || has_horizon(plan) => None,
        Plan::Reduce(spec) if spec.by_rows() => match spec.kept() {
            Ok(Kept::Totals) if spec.keys.is_empty() => None,
            Ok(Kept::Totals) => Some(("It keeps every group that has rows.", KEYED)),
            Ok(Kept::Values) if !spec.retracts => {
                Some(("It keeps the values that it counts, each once.", by_key(spec.keys.len())))
            }
            Ok(Kept::Values) => Some((
                "It keeps the values of every group that has rows, since each may be taken back.",
                by_key(spec.keys.len()),
            )),
            Ok(Kept::Rows) | Err(_) => Some((ROWS, by_key(spec.keys.len()))),
        },
        // Without keys there is one group.
        Plan::Reduce(spec) if !spec.keys.is_empty() => Some((GROUPS, KEYED)),
        Plan::TopN(spec) if spec.closes.is_some() => None,
        Plan::TopN(spec) if spec.retracts => Some((ROWS, by_key(spec.partition.len()))),
        Plan::TopN(spec) if spec.limit == u64::MAX => {
            Some(("It keeps every row that it has ever seen.", by_key(spec.partition.len())))
        }
        Plan::TopN(spec) if !spec.partition.is_empty() => {
            Some(("It keeps the first rows of every partition that it has ever seen.", KEYED))
        }
        // Its last rows alone are kept.
        Plan::Over(spec) if spec.in_order.is_some() && read == Read::Finals => None,
        Plan::Over(spec) if spec.closes.is_none() => {
            Some(("It keeps every row that it reads, since later ones may change it.", by_key(spec.partition.len())))
        }
        Plan::Join(spec) if !spec.lets_go() => match spec.kind {
            JoinKind::Semi | JoinKind::Anti | JoinKind::Mark => {
                Some(("It keeps the rows that it reads, and the keys that it looks for.", APART))
            }
            JoinKind::Inner | JoinKind::Left | JoinKind::Right | JoinKind::Full => {
                Some(("It joins two relations and keeps the rows of both, since a partner may always come.", APART))
            }
        },
        Plan::LookupJoin(spec) if spec.left_retracts => Some((
            "It keeps the rows that it looks up with what was found for each, since each may be taken back.",
            "Look up before rows are grouped, or in a view that forgets its rows, where these keep coming.",
        )),
        Plan::AsofJoin(_) => Some((
            "It keeps the rows of both relations, since a late or corrected version corrects the rows behind it.",
            "Filter what it reads, forget keys that nothing comes for any more, WITH (state_ttl = '1 day'), or leave it so \
             where both are known to stay small.",
        )),
        Plan::Recursion(_) => Some((
            "It keeps every row that the recursion has found, and the rows that it was made from.",
            "Read a view that forgets: where its rows go, what was made from them goes. CREATE MATERIALIZED VIEW recent AS \
             SELECT .. GROUP BY .. WITH (state_ttl = '1 hour')",
        )),
        Plan::Alert(spec) if spec.rule.absent.is_some() && spec.rule.ttl_ns.is_none() && !spec.keys.is_empty() => {
            Some((
                "It keeps every key that it has ever seen, since its silence matters.",
                "Say after how long without a row a key is forgotten where keys keep coming: WITH (ttl = '7 days').",
            ))
        }
        Plan::Reduce(_)
        | Plan::Alert(_)
        | Plan::TopN(_)
        | Plan::Over(_)
        | Plan::Join(_)
        | Plan::LookupJoin(_)
        | Plan::Source { .. }
        | Plan::View { .. }
        | Plan::Filter(_)
        | Plan::Within(_)
        | Plan::Project(_)
        | Plan::Union { .. }
        | Plan::AssignWindows(_)
        | Plan::WindowAggregate(_)
        | Plan::SessionAggregate(_)
        | Plan::Series(_)
        | Plan::Recursive { .. }
        | Plan::Expand(_)
        | Plan::Repeat(_)
        | Plan::Envelope(_)
        | Plan::Unnest(_) => None,
    };
    let below = |input: usize| match plan {
        // Only what is looked up changes.
        Plan::LookupJoin(spec) if input == 0 && !spec.left_retracts => Read::Finals,
        Plan::LookupJoin(_) => Read::Changes,
        Plan::WindowAggregate(_) | Plan::SessionAggregate(_) | Plan::Series(_) => Read::Finals,
        Plan::Reduce(_) | Plan::Join(_) | Plan::AsofJoin(_) => Read::Changes,
        _ => read,
    };
    let mut inputs = plan.inputs().into_iter().enumerate();
    own.or_else(|| inputs.find_map(|(at, input)| unbounded(input, below(at))))
}

/// Whether the plan closes windows.
pub(crate) fn has_windows(plan: &Plan) -> bool {
    sources_of_windows(plan).next().is_some()
}

/// The sources whose watermarks close the windows of the plan.
pub(crate) fn sources_of_windows(plan: &Plan) -> Box<dyn Iterator<Item = &str> + '_> {
    let own = match plan {
        Plan::WindowAggregate(spec) => spec.time_origin.sources.as_slice(),
        Plan::Join(spec) => spec.within.as_ref().map_or(&[] as &[_], |within| within.origin.sources.as_slice()),
        Plan::SessionAggregate(spec) => spec.time_origin.sources.as_slice(),
        Plan::TopN(spec) => spec.closes.as_ref().map_or(&[][..], |closes| closes.origin.sources.as_slice()),
        Plan::Over(spec) => spec.origin().map_or(&[][..], |origin| origin.sources.as_slice()),
        Plan::Series(spec) => spec.origin.sources.as_slice(),
        _ => &[],
    };
    let below = plan.inputs().into_iter().flat_map(sources_of_windows);
    Box::new(own.iter().map(|(name, _)| name.as_str()).chain(below))
}
