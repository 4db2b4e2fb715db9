//! The statements about notification, read: what they have for options, and the rules that they come to.

use crate::calendar::{Calendar, list};
use crate::config::{Config, Escalation};
use crate::inhibition::Inhibition;
use crate::matchers;
use crate::notifier;
use crate::silence::{Silence, span};
use crate::speaker::Speaker;
use std::collections::BTreeMap;
use thalweg_schemas::error::{Error, Result};
use thalweg_schemas::notification::{NotificationKind, NotificationPlan, NotificationSpec};
use thalweg_schemas::options::{OptionKind, OptionSpec, Options};

/// What the planner needs.
pub const SPEC: NotificationSpec = NotificationSpec { options, check, names };

const fn text(name: &'static str, required: bool, doc: &'static str) -> OptionSpec {
    OptionSpec { name, kind: OptionKind::Text, default: None, required, doc }
}

const SILENCE: &[OptionSpec] = &[
    text("matchers", true, "What the alerts are like: 'alertname=\"slow_service\", region=~\"eu-.*\"'."),
    text("start", false, "From when: '2026-12-01T06:00:00Z'."),
    text("end", false, "Until when: '2026-12-01T08:00:00Z'."),
    OptionSpec {
        name: "duration",
        kind: OptionKind::Duration,
        default: None,
        required: false,
        doc: "For how long, instead of an end.",
    },
    text("calendars", false, "Only at the times of these calendars: 'nights, first_sundays'."),
    text("author", false, "Who wants it."),
    text("comment", false, "Why."),
];

const INHIBITION: &[OptionSpec] = &[
    text("source_matchers", true, "The alerts that mute others while they fire: 'severity=\"critical\"'."),
    text("target_matchers", true, "The alerts that are muted: 'severity=\"warning\"'."),
    text("equal", false, "The labels that both must have with the same value: 'service, region'."),
];

const CALENDAR: &[OptionSpec] = &[
    text("times", false, "Times of a day: '22:00-24:00, 00:00-06:00'."),
    text("weekdays", false, "Days of the week: 'monday:friday, sunday'."),
    text("days_of_month", false, "Days of a month, from its end where they are negative: '1:7, -1'."),
    text("months", false, "Months: 'january:march, 12'."),
    text("years", false, "Years: '2026:2028'."),
    text("location", false, "The time zone of all that, UTC unless it is given: 'Europe/Berlin'."),
];

fn options(kind: NotificationKind, notifier_type: &str) -> Vec<OptionSpec> {
    match kind {
        NotificationKind::Notifier => notifier::options_of(notifier_type),
        NotificationKind::Silence => SILENCE.to_vec(),
        NotificationKind::Inhibition => INHIBITION.to_vec(),
        NotificationKind::Calendar => CALENDAR.to_vec(),
    }
}

/// The calendars that a notifier or a silence names, and the notifiers.
fn names(plan: &NotificationPlan) -> Vec<(NotificationKind, String)> {
    let options = [
        (NotificationKind::Calendar, "calendars"),
        (NotificationKind::Calendar, "mute_calendars"),
        (NotificationKind::Calendar, "active_calendars"),
        (NotificationKind::Notifier, "fallback"),
    ];
    let given = options.iter().filter_map(|(kind, option)| Some((*kind, plan.options.get(option)?)));
    given.flat_map(|(kind, names)| list(names).map(move |name| (kind, name.to_string()))).collect()
}

fn check(plan: &NotificationPlan) -> Result<()> {
    match plan.kind {
        NotificationKind::Notifier => {
            notifier::policy(&plan.name, &plan.options)?;
            Speaker::new(&plan.name, &plan.options, "").map(drop)
        }
        // A pipeline is started again and again: what it declares is not about the moment at which that happens.
        NotificationKind::Silence => declared_silence(plan).map(drop),
        NotificationKind::Inhibition => inhibition(plan).map(drop),
        NotificationKind::Calendar => calendar(plan).map(drop),
    }
}

fn about(plan: &NotificationPlan) -> impl Fn(Error) -> Error {
    let owner = format!("{} \"{}\"", plan.kind.noun(), plan.name);
    move |error| Error { message: format!("{} in {owner}", error.message), ..error }
}

fn inhibition(plan: &NotificationPlan) -> Result<Inhibition> {
    let read = |option: &str| matchers::parse(plan.options.get(option).unwrap_or_default()).map_err(about(plan));
    Ok(Inhibition {
        name: plan.name.clone(),
        source: read("source_matchers")?,
        target: read("target_matchers")?,
        equal: list(plan.options.get("equal").unwrap_or_default()).map(str::to_string).collect(),
    })
}

fn calendar(plan: &NotificationPlan) -> Result<Calendar> {
    Calendar::of(&plan.options).map_err(about(plan))
}

/// The silence that a pipeline declares.
pub(crate) fn declared_silence(plan: &NotificationPlan) -> Result<Silence> {
    let options = &plan.options;
    if ["start", "end", "calendars"].iter().all(|option| options.get(option).is_none()) {
        return Err(about(plan)(
            Error::user("a duration has no start").with_hint("Write start = '2026-12-01T06:00:00Z', or an end."),
        ));
    }
    silence(&plan.name, options, 0).map(|silence| Silence { declared: true, ..silence }).map_err(about(plan))
}

/// The silence that options say at `now_ns`, from when it lasts where no start is given.
pub fn silence(name: &str, options: &Options, now_ns: i64) -> Result<Silence> {
    let duration = options.duration("duration").map(|length| i64::try_from(length.as_nanos()).unwrap_or(i64::MAX));
    let calendars: Vec<String> = list(options.get("calendars").unwrap_or_default()).map(str::to_string).collect();
    // One that comes again and again may do so for ever.
    let duration = duration.or((!calendars.is_empty() && options.get("end").is_none()).then_some(i64::MAX));
    let (starts_at_ns, ends_at_ns) = span(options.get("start"), options.get("end"), duration, now_ns)?;
    let silence = Silence {
        id: name.to_string(),
        matchers: matchers::parse(options.get("matchers").unwrap_or_default())?,
        starts_at_ns,
        ends_at_ns,
        created_by: options.get("author").unwrap_or_default().to_string(),
        comment: options.get("comment").unwrap_or_default().to_string(),
        calendars,
        declared: false,
    };
    silence.checked()
}

/// Whom the `NOTIFY` of alerts names, by alert.
#[derive(Clone, Debug, Default)]
pub struct Routes {
    /// What stands for the definition of an alert.
    pub rules: BTreeMap<String, String>,
    /// Who is told at once.
    pub notifiers: BTreeMap<String, Vec<String>>,
    /// Who is told later, if it goes on.
    pub escalations: BTreeMap<String, Vec<Escalation>>,
}

/// The rules that all statements come to.
pub(crate) fn config(plans: &[NotificationPlan], routes: Routes) -> Result<Config> {
    let of = |kind| plans.iter().filter(move |plan: &&NotificationPlan| plan.kind == kind);
    let notifiers = of(NotificationKind::Notifier)
        .map(|plan| Ok((plan.name.clone(), notifier::policy(&plan.name, &plan.options)?)))
        .collect::<Result<_>>()?;
    let inhibitions = of(NotificationKind::Inhibition).map(inhibition).collect::<Result<_>>()?;
    let calendars =
        of(NotificationKind::Calendar).map(|plan| Ok((plan.name.clone(), calendar(plan)?))).collect::<Result<_>>()?;
    let Routes { rules, notifiers: routes, mut escalations } = routes;
    escalations.values_mut().for_each(|steps| steps.sort_by_key(|step| step.after_ns));
    Ok(Config { notifiers, routes, rules, escalations, inhibitions, calendars })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::GroupBy;
    use crate::time::SECOND;
    use thalweg_schemas::options::GivenOption;

    fn plan(kind: NotificationKind, given: &[(&str, &str)]) -> Result<NotificationPlan> {
        let kind_of = given.iter().find(|(name, _)| *name == "type").map_or("", |(_, value)| value);
        let given: Vec<GivenOption> = given
            .iter()
            .map(|(name, value)| GivenOption { name: name.to_string(), value: value.to_string(), position: None })
            .collect();
        let options = Options::check(&options(kind, kind_of), &given, "it").map_err(|mut errors| errors.remove(0))?;
        let plan = NotificationPlan { kind, name: "ops".into(), options };
        check(&plan).map(|()| plan)
    }

    fn policy(given: &[(&str, &str)]) -> crate::config::Policy {
        let webhook = [("type", "webhook"), ("url", "http://127.0.0.1:9/")];
        let plan = plan(NotificationKind::Notifier, &[&webhook, given].concat()).unwrap();
        config(&[plan], Routes::default()).unwrap().notifiers.remove("ops").unwrap()
    }

    #[test]
    fn grouping_is_alertmanagers_where_it_is_asked_for() {
        let at_once = policy(&[]);
        assert_eq!((at_once.group_by, at_once.group_wait_ns, at_once.group_interval_ns), (GroupBy::Key, 0, 0));
        let grouped = policy(&[("group_by", "alertname, region"), ("repeat_interval", "1h")]);
        assert_eq!(grouped.group_by, GroupBy::Labels(vec!["alertname".into(), "region".into()]));
        let times = (grouped.group_wait_ns, grouped.group_interval_ns, grouped.repeat_interval_ns);
        assert_eq!(times, (30 * SECOND, 300 * SECOND, 3_600 * SECOND));
        assert_eq!(policy(&[("group_by", "...")]).group_by, GroupBy::All);
        let waiting = policy(&[("group_wait", "2s"), ("matchers", "severity=critical")]);
        assert_eq!((waiting.group_by, waiting.group_wait_ns), (GroupBy::Labels(Vec::new()), 2 * SECOND));
        assert_eq!(waiting.only.len(), 1);
    }

    #[test]
    fn the_types_have_their_options() {
        let notifier = |given: &[(&str, &str)]| plan(NotificationKind::Notifier, given);
        assert!(notifier(&[("type", "slack"), ("url", "http://127.0.0.1:9/hook")]).is_ok());
        let alertmanager = notifier(&[("type", "alertmanager"), ("url", "http://127.0.0.1:9093/")]).unwrap();
        assert_eq!(
            config(&[alertmanager], Routes::default()).unwrap().notifiers["ops"].repeat_interval_ns,
            60 * SECOND
        );
        assert_eq!(notifier(&[("type", "pagerduty")]).unwrap_err().message, "option \"routing_key\" is missing for it");
        assert_eq!(notifier(&[]).unwrap_err().message, "option \"type\" is missing for it");
        let template = [("type", "webhook"), ("url", "http://127.0.0.1:9"), ("format", "template")];
        assert_eq!(
            notifier(&template).unwrap_err().message,
            "notifier \"ops\" has format = 'template' and no template"
        );
        let wrong = [("type", "webhook"), ("url", "http://127.0.0.1:9"), ("matchers", "nonsense")];
        assert_eq!(notifier(&wrong).unwrap_err().message, "'nonsense' is not a list of matchers in notifier \"ops\"");
    }

    #[test]
    fn the_manual_names_every_option() {
        let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/notifiers.md")).unwrap();
        let of_types = notifier::TYPES.iter().flat_map(|kind| options(NotificationKind::Notifier, kind));
        let others = NotificationKind::ALL.into_iter().flat_map(|kind| options(kind, ""));
        let missing: Vec<&str> =
            of_types.chain(others).map(|spec| spec.name).filter(|name| !page.contains(name)).collect();
        assert!(missing.is_empty(), "docs/notifiers.md does not name {missing:?}");
    }

    #[test]
    fn silences_and_inhibitions() {
        let silence =
            |given: &[(&str, &str)]| plan(NotificationKind::Silence, given).and_then(|p| declared_silence(&p));
        let known = silence(&[("matchers", "team=core"), ("end", "1970-01-01T00:01:00Z"), ("author", "ada")]).unwrap();
        assert_eq!((known.id.as_str(), known.starts_at_ns, known.ends_at_ns), ("ops", 0, 60 * SECOND));
        assert!(known.declared && known.created_by == "ada");
        let again = silence(&[("matchers", "team=core"), ("calendars", "nights, sundays")]).unwrap();
        assert_eq!((again.calendars.len(), again.starts_at_ns, again.ends_at_ns), (2, 0, i64::MAX));
        let error = silence(&[("matchers", "team=core"), ("duration", "1h")]).unwrap_err();
        assert_eq!(error.message, "a duration has no start in silence \"ops\"");
        let rule =
            [("source_matchers", "severity=critical"), ("target_matchers", "severity=warning"), ("equal", "a, b")];
        let rule = inhibition(&plan(NotificationKind::Inhibition, &rule).unwrap()).unwrap();
        assert_eq!((rule.name.as_str(), rule.equal), ("ops", vec!["a".to_string(), "b".to_string()]));
    }
}
