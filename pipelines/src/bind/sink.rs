//! `CREATE SINK`: its connector and options, checked, and which of a relation's streams it takes.

use super::connector::{connector, format_of, refused};
use super::{Mode, Scope, both, envelope, messages, query};
use crate::lower::{self, LateRows, Lowered};
use crate::parse::Words;
use crate::parse::ddl::{CreateSink, SinkInput};
use thalweg_operators::envelope::EnvelopeSpec;
use thalweg_operators::plan::{Plan, Read, SinkPlan};
use thalweg_operators::window_aggregate::OnLate;
use thalweg_schemas::connector::{Changelogs, ConnectorSpec, SinkSpec};
use thalweg_schemas::error::{Error, ErrorKind, Result};
use thalweg_schemas::options::{GivenOption, OptionKind, OptionSpec, Options};

/// What a sink came to.
pub(crate) struct BoundSink {
    pub plan: SinkPlan,
    pub history: Option<String>,
}

pub(crate) fn bind(
    sink: &CreateSink,
    connectors: &[ConnectorSpec],
    scope: &Scope,
    words: &Words,
) -> Result<BoundSink, Vec<Error>> {
    let name = &sink.name;
    let owner = format!("sink \"{}\"", name.value);
    let input = input(sink, scope, words).map_err(|error| vec![error.at(words.start())]);
    let ((connector, side, options), input) = both(configure(sink, connectors, &owner), input)?;
    let asked = envelope::asks_for_changes(sink.envelope.as_ref()).map_err(|error| vec![error])?;
    let given = sink.envelope.as_ref().filter(|_| !asked);
    let enveloped = given.map(|given| envelope::bind(given, &input, &owner)).transpose();
    let enveloped = enveloped.map_err(|error| vec![error])?;
    let read = match (input.mode, side.changelogs) {
        (_, Changelogs::Never) if asked => return Err(vec![cannot_change(connector.name, sink)]),
        _ if asked => Read::Changes,
        _ if enveloped.is_some() => Read::Finals,
        (Mode::Append | Mode::Windows, _) => Read::Finals,
        (Mode::Changelog, Changelogs::Always) => Read::Changes,
        (Mode::Changelog, changelogs) => {
            let position = match &sink.input {
                SinkInput::Relation(relation) => relation.position.clone(),
                SinkInput::Query(_) => name.position.clone(),
            };
            return Err(vec![changelog_into(connector.name, changelogs, sink, scope).at(position)]);
        }
    };
    let history = side.history.map(|folder| folder(&options));
    let plan = SinkPlan {
        name: name.value.clone(),
        plan: match enveloped {
            Some(envelope) => Plan::Envelope(EnvelopeSpec::new(input.plan, envelope)),
            None => input.plan,
        },
        read,
        changelog: read == Read::Changes,
        connector: connector.name.to_string(),
        options,
    };
    match side.check.map_or(Ok(()), |check| check(&plan.request(""))) {
        Err(error) if error.kind == ErrorKind::User => Err(vec![refused(error, &sink.options, name)]),
        _ => Ok(BoundSink { plan, history }),
    }
}

fn changelog_into(connector: &str, changelogs: Changelogs, sink: &CreateSink, scope: &Scope) -> Error {
    let what = match &sink.input {
        SinkInput::Relation(relation) => {
            let noun = scope.relations.get(&relation.value).map_or("view", |relation| relation.noun());
            format!("{noun} \"{}\" is a changelog", relation.value)
        }
        SinkInput::Query(_) => format!("the query of sink \"{}\" is a changelog", sink.name.value),
    };
    let also = match changelogs {
        Changelogs::Never => "",
        Changelogs::WhenAsked | Changelogs::Always => {
            " ENVELOPE changelog writes every change as a row, with a column _diff of 1 or -1."
        }
    };
    Error::user(format!("{what}, and connector '{connector}' only appends"))
        .with_detail("Its rows are corrected after they were first shown, and what is written cannot be.")
        .with_hint(format!(
            "Group by a window, so that results become final when it closes; or write what becomes of the row with each \
             key: ENVELOPE upsert (columns), or ENVELOPE debezium.{also}"
        ))
}

fn cannot_change(connector: &str, sink: &CreateSink) -> Error {
    let error = Error::user(format!("connector '{connector}' only appends, and takes no ENVELOPE changelog"))
        .with_hint("Write what becomes of the row with each key: ENVELOPE upsert (columns), or ENVELOPE debezium.");
    sink.envelope.iter().fold(error, |error, given| error.at(given.kind.position.clone()))
}

fn input(sink: &CreateSink, scope: &Scope, words: &Words) -> Result<Lowered> {
    let query = match &sink.input {
        SinkInput::Query(query) => (**query).clone(),
        SinkInput::Relation(name) => {
            if !scope.relations.contains_key(&name.value) {
                return Err(Error { position: None, ..messages::no_relation(&name.value, scope, words) }
                    .at(name.position.clone()));
            }
            query::select_all(&name.value, None)?
        }
    };
    let planned = query::plan(query, scope, words)?;
    let late = LateRows { lateness_ns: 0, on_late: OnLate::Drop };
    lower::lower(&planned, &late, scope, words)
}

type Configured<'a> = (&'a ConnectorSpec, SinkSpec, Options);

fn configure<'a>(
    sink: &CreateSink,
    connectors: &'a [ConnectorSpec],
    owner: &str,
) -> Result<Configured<'a>, Vec<Error>> {
    let found = connector(&sink.options, connectors, |c| c.sink, owner, &sink.name);
    let (connector, side) = found.map_err(|error| vec![error])?;
    let format = format_of(&sink.options, side.formats, connector.name).map_err(|error| vec![error])?;
    let mut specs: Vec<OptionSpec> = side.options.to_vec();
    if let Some(format) = format {
        specs.extend(format.options);
        specs.push(OptionSpec {
            name: "format",
            kind: OptionKind::OneOf(side.formats),
            default: Some(format.name),
            required: false,
            doc: "How rows are written.",
        });
    }
    let mut given: Vec<GivenOption> = sink.options.iter().filter(|o| o.name != "connector").cloned().collect();
    if let (Some(format), Some(written)) = (format, given.iter_mut().find(|o| o.name == "format")) {
        written.value = format.name.to_string();
    }
    let options = Options::check(&specs, &given, &format!("connector '{}'", connector.name))
        .map_err(|errors| errors.into_iter().map(|e| e.at(sink.name.position.clone())).collect::<Vec<_>>())?;
    Ok((connector, side, options))
}
