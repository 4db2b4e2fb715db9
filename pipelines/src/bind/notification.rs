//! `CREATE NOTIFIER`, `CREATE SILENCE`, `CREATE INHIBITION`: their options, checked; and what `NOTIFY` of an alert comes to.

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

fn notifiers(program: &Program) -> impl Iterator<Item = &str> {
    let notifiers = program.notifications.iter().filter(|plan| plan.kind == NotificationKind::Notifier);
    notifiers.map(|plan| plan.name.as_str())
}

/// An error for each name behind `NOTIFY` that is no notifier and had no error of its own.
pub(crate) fn unknown_notifiers(statements: &[Parsed], program: &Program, scope: &Scope) -> Vec<Error> {
    let named = statements.iter().filter_map(|statement| match &statement.ddl {
        Ddl::Alert(alert) => Some(&alert.notify),
        _ => None,
    });
    let unknown = named.flatten().filter(|name| {
        !scope.failed.contains(&name.value) && !notifiers(program).any(|notifier| notifier == name.value)
    });
    let error = |name: &crate::parse::ddl::Name| {
        let error = Error::user(format!("notifier \"{}\" does not exist", name.value)).at(name.position.clone());
        match closest(&name.value, notifiers(program)) {
            Some(near) => error.with_hint(format!("Did you mean \"{near}\"?")),
            None => error.with_hint(format!(
                "Declare it: CREATE NOTIFIER {} WITH (type = 'webhook', url = 'http://127.0.0.1:9000/alerts').",
                name.value
            )),
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
