//! `CREATE NOTIFIER`, `CREATE SILENCE`, `CREATE INHIBITION`: their options, checked.

use crate::parse::ddl::CreateNotification;
use thalweg_schemas::error::Error;
use thalweg_schemas::notification::{NotificationPlan, NotificationSpec};
use thalweg_schemas::options::Options;

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
