//! `CREATE NOTIFIER`, `SILENCE`, `INHIBITION` and `CALENDAR`: their options, checked, and the names in them; and what
//! `NOTIFY` of an alert comes to.

use super::Scope;
use crate::parse::Parsed;
use crate::parse::ddl::{CreateNotification, Ddl};
use crate::program::{DeclarationKind, Program};
use thalweg_operators::plan::{Plan, Read, SinkPlan};
use thalweg_schemas::error::Error;
use thalweg_schemas::notification::{NOTIFICATIONS, NotificationKind, NotificationPlan, NotificationSpec};
use thalweg_schemas::options::Options;
use thalweg_schemas::suggest::closest;

pub(crate) fn bind(ddl: &CreateNotification, spec: &NotificationSpec) -> Result<NotificationPlan, Vec<Error>> {
    let located = |error: Error| error.at(ddl.name.position.clone());
    let given_type = ddl.options.iter().find(|option| option.name == "type").map_or("", |option| &option.value);
    let specs = (spec.options)(ddl.kind, given_type);
    let owner = format!("{} \"{}\"", ddl.kind.noun(), ddl.name.value);
    let options = Options::check(&specs, &ddl.options, &owner)
        .map_err(|errors| errors.into_iter().map(located).collect::<Vec<_>>())?;
    let plan = NotificationPlan { kind: ddl.kind, name: ddl.name.value.clone(), options };
    match (spec.check)(&plan) {
        Ok(()) => Ok(plan),
        Err(error) => Err(vec![located(error)]),
    }
}

fn declared(program: &Program, kind: NotificationKind) -> impl Iterator<Item = &str> {
    program.notifications.iter().filter(move |plan| plan.kind == kind).map(|plan| plan.name.as_str())
}

fn notifiers(program: &Program) -> impl Iterator<Item = &str> {
    declared(program, NotificationKind::Notifier)
}

/// An error for each name in the options of a statement that is nothing of its kind and had no error of its own.
pub(crate) fn unknown_names(
    statements: &[Parsed],
    program: &Program,
    spec: &NotificationSpec,
    scope: &Scope,
) -> Vec<Error> {
    let position = |plan: &NotificationPlan| {
        let statement = statements.iter().find(|statement| statement.ddl.name().value == plan.name);
        statement.map(|statement| statement.ddl.name().position.clone())
    };
    let error = |plan: &NotificationPlan, kind: NotificationKind, name: &str| {
        let (noun, owner) = (kind.noun(), plan.kind.noun());
        let said = format!("{noun} \"{name}\" of {owner} \"{}\" does not exist", plan.name);
        let hint = match closest(name, declared(program, kind)) {
            Some(near) => format!("Did you mean \"{near}\"?"),
            None if kind == NotificationKind::Calendar => {
                format!("Declare it: CREATE CALENDAR {name} WITH (weekdays = 'saturday, sunday').")
            }
            None => declare_notifier(name),
        };
        let error = Error::user(said).with_hint(hint);
        position(plan).map_or(error.clone(), |position| error.at(position))
    };
    let unknown = program.notifications.iter().flat_map(|plan| {
        let is_unknown = |(kind, name): &(NotificationKind, String)| {
            !scope.failed.contains(name) && !declared(program, *kind).any(|known| known == name)
        };
        let names = (spec.names)(plan).into_iter().filter(is_unknown);
        names.map(|(kind, name)| error(plan, kind, &name)).collect::<Vec<_>>()
    });
    unknown.collect()
}

fn declare_notifier(name: &str) -> String {
    format!("Declare it: CREATE NOTIFIER {name} WITH (type = 'webhook', url = 'http://127.0.0.1:9000/alerts').")
}

/// An error for each name behind `NOTIFY` and `TO` that is no notifier and had no error of its own.
pub(crate) fn unknown_notifiers(statements: &[Parsed], program: &Program, scope: &Scope) -> Vec<Error> {
    let named = statements.iter().filter_map(|statement| match &statement.ddl {
        Ddl::Alert(alert) => Some(alert.notify.iter().chain(alert.escalations.iter().flat_map(|step| &step.to))),
        _ => None,
    });
    let unknown = named.flatten().filter(|name| {
        !scope.failed.contains(&name.value) && !notifiers(program).any(|notifier| notifier == name.value)
    });
    let error = |name: &crate::parse::ddl::Name| {
        let error = Error::user(format!("notifier \"{}\" does not exist", name.value)).at(name.position.clone());
        match closest(&name.value, notifiers(program)) {
            Some(near) => error.with_hint(format!("Did you mean \"{near}\"?")),
            None => error.with_hint(declare_notifier(&name.value)),
        }
    };
    unknown.map(error).collect()
}

/// The sink that takes the events of all alerts: of those too that notify nobody, since they may inhibit others. `None`
/// where there is nobody to be notified.
pub(crate) fn sink(program: &Program) -> Option<SinkPlan> {
    notifiers(program).next()?;
    let alerts = program.declarations.iter().filter(|d| matches!(d.kind, DeclarationKind::Alert { .. }));
    let mut inputs: Vec<Plan> =
        alerts.map(|alert| Plan::View { name: alert.name.clone(), schema: alert.schema.clone() }).collect();
    let plan = if inputs.len() > 1 { Plan::Union { inputs } } else { inputs.pop()? };
    Some(SinkPlan {
        // No statement can declare such a name.
        name: format!("thalweg.{NOTIFICATIONS}"),
        plan,
        read: Read::Finals,
        changelog: false,
        connector: NOTIFICATIONS.to_string(),
        options: Options::default(),
    })
}
