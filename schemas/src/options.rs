//! The options of a connector as data: each describes itself once, for checking, for defaults and for the manual.

use crate::error::{Error, Position, Result};
use std::collections::BTreeMap;
use std::time::Duration;

/// One option of a connector.
#[derive(Clone, Copy, Debug)]
pub struct OptionSpec {
    /// Its name in `WITH (...)`.
    pub name: &'static str,
    /// What it takes.
    pub kind: OptionKind,
    /// The default, as the user would write it; `None` where there is none.
    pub default: Option<&'static str>,
    /// Whether it must be given.
    pub required: bool,
    /// The manual: one or two sentences.
    pub doc: &'static str,
}

/// What an option takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OptionKind {
    /// Any text.
    Text,
    /// A whole number, 0 or more.
    Count,
    /// `true` or `false`.
    Flag,
    /// A length of time such as `500ms`, `10s`, `5 minutes`, `1h`, `7d`.
    Duration,
    /// A number of bytes such as `64kb`, `128MB`, `1 GiB` (both kinds of unit count in 1,024s).
    Size,
    /// One of these words.
    OneOf(&'static [&'static str]),
}

/// The options that a statement gave, with defaults filled in and values checked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    values: BTreeMap<String, String>,
}

/// An option as the user wrote it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GivenOption {
    /// Its name, in lower case.
    pub name: String,
    /// Its value, environment variables already put in.
    pub value: String,
    /// Where it was written.
    pub position: Option<Position>,
}

impl Options {
    /// Checks what was given against `specs`: all errors at once, unknown names with a suggestion left to the caller
    /// (the message names the option; see [`crate::suggest`]).
    pub fn check(specs: &[OptionSpec], given: &[GivenOption], owner: &str) -> Result<Options, Vec<Error>> {
        let mut errors = Vec::new();
        let mut values = BTreeMap::new();
        for option in given {
            let Some(spec) = specs.iter().find(|s| s.name == option.name || s.is_prefix_of(&option.name)) else {
                let names = specs.iter().map(|s| s.name);
                let hint = match crate::suggest::closest(&option.name, names) {
                    Some(name) => format!("Did you mean \"{name}\"?"),
                    None => format!("Known options: {}.", specs.iter().map(|s| s.name).collect::<Vec<_>>().join(", ")),
                };
                let error =
                    Error::user(format!("option \"{}\" does not exist for {owner}", option.name)).with_hint(hint);
                errors.push(option.locate(error));
                continue;
            };
            if let Err(error) = spec.kind.check(&option.name, &option.value) {
                errors.push(option.locate(error));
            }
            if values.insert(option.name.clone(), option.value.clone()).is_some() {
                errors.push(option.locate(Error::user(format!("option \"{}\" is given twice", option.name))));
            }
        }
        for spec in specs {
            if values.contains_key(spec.name) {
                continue;
            }
            match spec.default {
                Some(default) => drop(values.insert(spec.name.to_string(), default.to_string())),
                None if spec.required => {
                    errors.push(
                        Error::user(format!("option \"{}\" is missing for {owner}", spec.name)).with_hint(spec.doc),
                    );
                }
                None => {}
            }
        }
        if errors.is_empty() { Ok(Options { values }) } else { Err(errors) }
    }

    /// The text of option `name`, if it was given or has a default.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(String::as_str)
    }

    /// The options whose names begin with `prefix`, without it.
    pub fn with_prefix<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = (&'a str, &'a str)> {
        self.values.iter().filter_map(move |(k, v)| Some((k.strip_prefix(prefix)?, v.as_str())))
    }

    /// The whole number in option `name`.
    pub fn count(&self, name: &str) -> Option<u64> {
        self.get(name)?.parse().ok()
    }

    /// The truth value of option `name`; false where it is absent.
    pub fn flag(&self, name: &str) -> bool {
        self.get(name) == Some("true")
    }

    /// The length of time in option `name`.
    pub fn duration(&self, name: &str) -> Option<Duration> {
        parse_duration(self.get(name)?)
    }

    /// The number of bytes in option `name`.
    pub fn size(&self, name: &str) -> Option<u64> {
        parse_size(self.get(name)?)
    }
}

impl GivenOption {
    /// The error at the place where the option stands.
    pub fn locate(&self, error: Error) -> Error {
        match &self.position {
            Some(position) => error.at(position.clone()),
            None => error,
        }
    }
}

impl OptionSpec {
    /// An option named `kafka.` stands for every option whose name begins so.
    fn is_prefix_of(&self, name: &str) -> bool {
        self.name.ends_with('.') && name.starts_with(self.name)
    }
}

impl OptionKind {
    fn check(self, name: &str, value: &str) -> Result<()> {
        let wrong = |what: &str| Err(Error::user(format!("option \"{name}\" takes {what}, not '{value}'")));
        match self {
            OptionKind::Text => Ok(()),
            OptionKind::Count if value.parse::<u64>().is_ok() => Ok(()),
            OptionKind::Count => wrong("a whole number"),
            OptionKind::Flag if matches!(value, "true" | "false") => Ok(()),
            OptionKind::Flag => wrong("true or false"),
            OptionKind::Duration if parse_duration(value).is_some() => Ok(()),
            OptionKind::Duration => wrong("a length of time such as '10s' or '5 minutes'"),
            OptionKind::Size if parse_size(value).is_some() => Ok(()),
            OptionKind::Size => wrong("a size such as '128MB'"),
            OptionKind::OneOf(words) if words.contains(&value) => Ok(()),
            OptionKind::OneOf(words) => {
                let error = Error::user(format!("option \"{name}\" takes {}, not '{value}'", words.join(" | ")));
                Err(match crate::suggest::closest(value, words.iter().copied()) {
                    Some(word) => error.with_hint(format!("Did you mean '{word}'?")),
                    None => error,
                })
            }
        }
    }
}

fn split_unit(text: &str) -> Option<(f64, String)> {
    let text = text.trim();
    let at = text.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(text.len());
    let number: f64 = text[..at].parse().ok()?;
    Some((number, text[at..].trim().to_ascii_lowercase()))
}

/// Reads a length of time such as `500ms`, `10s`, `5 minutes`, `1h`, `7 days`; a bare number is not one.
pub fn parse_duration(text: &str) -> Option<Duration> {
    let (number, unit) = split_unit(text)?;
    let seconds = match unit.as_str() {
        "us" | "microsecond" | "microseconds" => 1e-6,
        "ms" | "millisecond" | "milliseconds" => 1e-3,
        "s" | "sec" | "second" | "seconds" => 1.0,
        "m" | "min" | "minute" | "minutes" => 60.0,
        "h" | "hour" | "hours" => 3_600.0,
        "d" | "day" | "days" => 86_400.0,
        _ => return None,
    };
    Duration::try_from_secs_f64(number * seconds).ok()
}

/// Reads a number of bytes such as `64kb`, `128MB`, `1 GiB`; a bare number is bytes. Units count in 1,024s.
pub fn parse_size(text: &str) -> Option<u64> {
    let (number, unit) = split_unit(text)?;
    let factor = match unit.as_str() {
        "" | "b" => 1u64,
        "k" | "kb" | "kib" => 1 << 10,
        "m" | "mb" | "mib" => 1 << 20,
        "g" | "gb" | "gib" => 1 << 30,
        "t" | "tb" | "tib" => 1 << 40,
        _ => return None,
    };
    Some((number * factor as f64) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_and_sizes_have_units() {
        assert_eq!(parse_duration("500ms"), Some(Duration::from_millis(500)));
        assert_eq!(parse_duration("5 minutes"), Some(Duration::from_secs(300)));
        assert_eq!(parse_duration("10"), None);
        assert_eq!(parse_duration("fast"), None);
        assert_eq!(parse_size("64kb"), Some(65_536));
        assert_eq!(parse_size("1.5 MiB"), Some(1_572_864));
        assert_eq!(parse_size("1 parsec"), None);
    }

    #[test]
    fn every_error_is_reported_at_once() {
        let specs = [
            OptionSpec { name: "path", kind: OptionKind::Text, default: None, required: true, doc: "Where." },
            OptionSpec {
                name: "mode",
                kind: OptionKind::OneOf(&["bounded", "tail"]),
                default: Some("bounded"),
                required: false,
                doc: "How.",
            },
        ];
        let given = |name: &str, value: &str| GivenOption { name: name.into(), value: value.into(), position: None };
        let errors =
            Options::check(&specs, &[given("mod", "tail"), given("mode", "tial")], "connector 'file'").unwrap_err();
        let texts: Vec<_> = errors.iter().map(|e| format!("{e} / {}", e.hint.clone().unwrap_or_default())).collect();
        assert_eq!(
            texts,
            [
                "option \"mod\" does not exist for connector 'file' / Did you mean \"mode\"?",
                "option \"mode\" takes bounded | tail, not 'tial' / Did you mean 'tail'?",
                "option \"path\" is missing for connector 'file' / Where.",
            ]
        );
        let options = Options::check(&specs, &[given("path", "x")], "connector 'file'").unwrap();
        assert_eq!(options.get("mode"), Some("bounded"));
    }
}
