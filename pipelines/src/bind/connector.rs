//! `WITH (..)`: the connector that a statement names, its format, and the options of both, checked.

use super::Cache;
use crate::parse::ddl::{CreateSource, Name};
use thalweg_operators::plan::{OnBad, SourcePlan, WatermarkPlan};
use thalweg_schemas::connector::{ConnectorSpec, SourceSpec};
use thalweg_schemas::error::{Error, ErrorKind, Result};
use thalweg_schemas::format::{self, FormatSpec};
use thalweg_schemas::options::{GivenOption, OptionKind, OptionSpec, Options};
use thalweg_schemas::suggest::closest;
use thalweg_schemas::table::Column;

/// The options that every source has, whatever its connector.
const ENGINE: &[OptionSpec] = &[
    OptionSpec {
        name: "on_bad",
        kind: OptionKind::OneOf(&["dead_letter", "fail"]),
        default: Some("dead_letter"),
        required: false,
        doc: "What happens to a record that is not a row: it is kept with the dead letters, or it ends the run.",
    },
    OptionSpec {
        name: "idle_timeout",
        kind: OptionKind::Duration,
        default: Some("30s"),
        required: false,
        doc: "After how long without a row a partition no longer holds the watermark back.",
    },
    OptionSpec {
        name: "future_max",
        kind: OptionKind::Duration,
        default: Some("10 minutes"),
        required: false,
        doc: "How far ahead of the clock an event time may be; beyond it the row is a dead letter.",
    },
];

/// The connector that the options name, with the side of it that is needed.
pub(super) fn connector<'a, S>(
    given: &[GivenOption],
    connectors: &'a [ConnectorSpec],
    side: impl Fn(&ConnectorSpec) -> Option<S>,
    owner: &str,
    name: &Name,
) -> Result<(&'a ConnectorSpec, S)> {
    let names = || connectors.iter().filter(|c| side(c).is_some()).map(|c| c.name);
    let known = || format!("There are: {}.", names().collect::<Vec<_>>().join(", "));
    let Some(option) = given.iter().find(|o| o.name == "connector") else {
        let near = given.iter().find(|option| closest(&option.name, ["connector"]).is_some());
        if let Some(near) = near {
            let error = Error::user(format!("option \"{}\" does not exist, and {owner} names no connector", near.name));
            return Err(near.locate(error.with_hint("Did you mean \"connector\"?")));
        }
        return Err(Error::user(format!("{owner} names no connector"))
            .with_hint(format!("Write WITH (connector = '...', ...). {}", known()))
            .at(name.position.clone()));
    };
    if let Some(again) = given.iter().filter(|o| o.name == "connector").nth(1) {
        return Err(again.locate(Error::user("option \"connector\" is given twice")));
    }
    let located = |error: Error| option.position.clone().into_iter().fold(error, Error::at);
    match connectors.iter().find(|c| c.name == option.value).map(|c| (c, side(c))) {
        Some((connector, Some(side))) => Ok((connector, side)),
        Some((connector, None)) => {
            let kind = owner.split(' ').next().unwrap_or_default();
            Err(located(Error::user(format!("connector '{}' is not a {kind}", connector.name)).with_hint(known())))
        }
        None => {
            let error = Error::user(format!("connector '{}' does not exist", option.value));
            Err(located(match closest(&option.value, names()) {
                Some(near) => error.with_hint(format!("Did you mean '{near}'?")),
                None => error.with_hint(known()),
            }))
        }
    }
}

/// The format that the options name, or the first that the connector takes.
pub(super) fn format_of(
    given: &[GivenOption],
    formats: &[&'static str],
    connector: &str,
) -> Result<Option<&'static FormatSpec>> {
    let option = given.iter().find(|o| o.name == "format");
    let located = |error: Error| option.and_then(|o| o.position.clone()).into_iter().fold(error, Error::at);
    if let Some(again) = given.iter().filter(|o| o.name == "format").nth(1) {
        return Err(again.locate(Error::user("option \"format\" is given twice")));
    }
    let written = match (option, formats) {
        (None, []) => return Ok(None),
        (Some(option), []) => {
            return Err(located(
                Error::user(format!("connector '{connector}' takes no format, and '{}' is given", option.value))
                    .with_hint("Leave the option out: the rows have types of their own."),
            ));
        }
        (None, [first, ..]) => by_suffix(given).filter(|name| formats.contains(name)).unwrap_or(first),
        (Some(option), _) => match option.value.as_str() {
            "ndjson" | "jsonl" => "json",
            written => written,
        },
    };
    match format::by_name(written).filter(|f| formats.contains(&f.name)) {
        Some(format) => Ok(Some(format)),
        None => {
            let error = Error::user(format!("connector '{connector}' has no format '{written}'"));
            Err(located(match closest(written, formats.iter().copied()) {
                Some(near) => error.with_hint(format!("Did you mean '{near}'?")),
                None => error.with_hint(format!("It has: {}.", formats.join(", "))),
            }))
        }
    }
}

/// The format that the end of the path tells, compressed or not.
fn by_suffix(given: &[GivenOption]) -> Option<&'static str> {
    let path = given.iter().find(|o| o.name == "path")?.value.to_lowercase();
    let path = [".gz", ".zst"].iter().find_map(|suffix| path.strip_suffix(suffix)).unwrap_or(&path);
    match path.rsplit_once('.')?.1 {
        "json" | "ndjson" | "jsonl" => Some("json"),
        suffix => format::ALL.iter().map(|f| f.name).find(|name| *name == suffix),
    }
}

/// A source's options, each with whom it belongs to.
pub(super) struct Configured {
    pub connector: &'static str,
    pub options: Options,
    pub format: Option<&'static FormatSpec>,
    pub format_options: Options,
    pub bounded: bool,
    /// Whether it is a table of another system, read whole again and again.
    pub is_table: bool,
    side: SourceSpec,
    engine: Options,
    given: Vec<GivenOption>,
}

impl Configured {
    /// Which answers are kept of a table that is asked for the rows of keys; `None` where it is read whole.
    pub(super) fn cache(&self) -> Result<Option<Cache>> {
        let asked = self.options.get("cache") == Some("lru");
        let (idle, other) =
            if asked { (["refresh", "size_max"], "lru") } else { (["cache_rows", "cache_ttl"], "full") };
        if let Some(option) = self.given.iter().find(|given| idle.contains(&given.name.as_str())) {
            let error = Error::user(format!("option \"{}\" has no meaning with cache = '{other}'", option.name))
                .with_hint(match asked {
                    true => {
                        "A table that is asked for the rows of keys is never read whole: leave it out, or say for how \
                             long an answer is used, cache_ttl = '1 minute'."
                    }
                    false => "It is for a table that is asked for the rows of keys: cache = 'lru'.",
                });
            return Err(option.position.clone().into_iter().fold(error, Error::at));
        }
        let ttl = self.options.duration("cache_ttl").unwrap_or_default();
        let ttl_ns = i64::try_from(ttl.as_nanos()).unwrap_or(i64::MAX);
        let rows = self.options.count("cache_rows").unwrap_or(u64::MAX);
        Ok(asked.then_some(Cache { rows, ttl_ns }))
    }
}

/// What a statement means by a connector: with a primary key a table, unless the format's records say what becomes of rows.
fn side(connector: &ConnectorSpec, source: &CreateSource) -> Option<(SourceSpec, bool)> {
    let format = source.options.iter().find(|option| option.name == "format").and_then(|o| format::by_name(&o.value));
    let has_rows = source.key.is_some() && format.is_none_or(|format| !format.changelog);
    let table = connector.table.filter(|_| has_rows || connector.source.is_none()).map(|side| (side, true));
    table.or(connector.source.map(|side| (side, false)))
}

/// Checks the options of a source.
pub(super) fn configure(
    source: &CreateSource,
    connectors: &[ConnectorSpec],
    owner: &str,
) -> Result<Configured, Vec<Error>> {
    let found = connector(&source.options, connectors, |c| side(c, source), owner, &source.name);
    let (connector, (side, is_table)) = found.map_err(|error| vec![error])?;
    let format = format_of(&source.options, side.formats, connector.name).map_err(|error| vec![error])?;
    let of_format = format.map_or(&[][..], |f| f.options);
    let given: Vec<GivenOption> =
        source.options.iter().filter(|o| o.name != "connector" && o.name != "format").cloned().collect();
    let all: Vec<OptionSpec> = side.options.iter().chain(of_format).chain(ENGINE).copied().collect();
    let owner = format!("connector '{}'", connector.name);
    let check = |specs: &[OptionSpec], given: &[GivenOption]| {
        let located = |error: Error| error.at(source.name.position.clone());
        Options::check(specs, given, &owner).map_err(|errors| errors.into_iter().map(located).collect::<Vec<_>>())
    };
    check(&all, &given)?;
    let part = |specs: &[OptionSpec]| {
        let is = |spec: &OptionSpec, name: &str| {
            spec.name == name || spec.name.ends_with('.') && name.starts_with(spec.name)
        };
        let belongs = |o: &&GivenOption| specs.iter().any(|spec| is(spec, &o.name));
        check(specs, &given.iter().filter(belongs).cloned().collect::<Vec<_>>())
    };
    let options = part(side.options)?;
    let bounded = (side.bounded)(&options);
    let (format_options, engine) = (part(of_format)?, part(ENGINE)?);
    let connector = connector.name;
    Ok(Configured { connector, options, format, format_options, bounded, is_table, side, engine, given })
}

/// What a connector says of options, at the place of the one that it names.
pub(super) fn refused(error: Error, given: &[GivenOption], name: &Name) -> Error {
    let named = given.iter().find(|option| error.message.contains(&format!("\"{}\"", option.name)));
    match named {
        Some(option) => option.locate(error),
        None => error.at(name.position.clone()),
    }
}

/// Columns, and the event time among them with how late rows may be, in nanoseconds.
type Builtin = (Vec<Column>, Option<(String, i64)>);

impl Configured {
    /// What happens to a record that is not a row.
    pub(super) fn on_bad(&self) -> OnBad {
        if self.engine.get("on_bad") == Some("fail") { OnBad::Fail } else { OnBad::DeadLetter }
    }

    /// The columns that the connector brings along.
    pub(super) fn builtin(&self, owner: &str) -> Result<Builtin> {
        match self.side.columns {
            Some(columns) => columns(&self.options).map(|c| (c.columns, c.watermark)),
            None => Err(Error::user(format!("{owner} declares no columns"))
                .with_hint("Write them after its name: (ts TIMESTAMP NOT NULL, host TEXT, ...).")),
        }
    }

    /// What the connector says of the source before it is opened.
    pub(super) fn check(&self, plan: &SourcePlan, name: &Name) -> Result<()> {
        match self.side.check.map_or(Ok(()), |check| check(&plan.request())) {
            Err(error) if error.kind == ErrorKind::User => Err(refused(error, &self.given, name)),
            _ => Ok(()),
        }
    }

    /// The promise about event time.
    pub(super) fn watermark(&self, column: usize, lateness_ns: i64) -> WatermarkPlan {
        let ns = |name: &str| {
            let length = self.engine.duration(name).unwrap_or_default();
            i64::try_from(length.as_nanos()).unwrap_or(i64::MAX)
        };
        WatermarkPlan { column, lateness_ns, idle_timeout_ns: ns("idle_timeout"), future_max_ns: ns("future_max") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_tells_the_format() {
        let of = |path: &str| by_suffix(&[GivenOption { name: "path".into(), value: path.into(), position: None }]);
        assert_eq!(of("a/b.*/x.CSV.gz"), Some("csv"));
        assert_eq!(of("a/*.ndjson"), Some("json"));
        assert_eq!(of("a/*.parquet"), Some("parquet"));
        assert_eq!(of("a/*.txt"), None);
        assert_eq!(of("folder"), None);
    }
}
