//! What a statement says about the topics to read and to write.

use super::client::Cluster;
use crate::schema_registry;
use arrow::array::timezone::Tz;
use arrow::compute::kernels::cast_utils::string_to_datetime;
use std::time::Duration;
use thalweg_schemas::error::{Error, Result};
use thalweg_schemas::options::{OptionKind, OptionSpec};
use thalweg_schemas::source::SourceRequest;
use thalweg_schemas::table::Metadata;

/// Where to find the cluster.
pub(super) const BROKERS: OptionSpec = OptionSpec {
    name: "brokers",
    kind: OptionKind::Text,
    default: None,
    required: true,
    doc: "One or more brokers to ask first, such as 'broker-1:9092,broker-2:9092'.",
};

/// The properties of librdkafka.
pub(super) const PROPERTIES: OptionSpec = OptionSpec {
    name: "kafka.",
    kind: OptionKind::Text,
    default: None,
    required: false,
    doc: "Any property of librdkafka, by its name there: `'kafka.security.protocol' = 'sasl_ssl'`.",
};

/// The options of the source.
pub(super) const SOURCE: &[OptionSpec] = &[
    BROKERS,
    OptionSpec {
        name: "topic",
        kind: OptionKind::Text,
        default: None,
        required: true,
        doc: "A topic, several with commas between, or patterns such as 'orders-*'.",
    },
    OptionSpec {
        name: "group",
        kind: OptionKind::Text,
        default: None,
        required: false,
        doc: "The consumer group to which offsets are told at each checkpoint, for Kafka's own tools; 'thalweg-' and \
              the source's name unless given. It does not say where reading begins: Thalweg's own state does.",
    },
    OptionSpec {
        name: "start",
        kind: OptionKind::Text,
        default: Some("earliest"),
        required: false,
        doc: "Where a first run begins: 'earliest', 'latest', or a time such as '2026-01-31 12:00:00' (UTC). Partitions \
              that are made later are read from their beginning.",
    },
    OptionSpec {
        name: "mode",
        kind: OptionKind::OneOf(&["tail", "bounded"]),
        default: Some("tail"),
        required: false,
        doc: "'bounded' reads what is there when the run begins, and ends.",
    },
    OptionSpec {
        name: "isolation",
        kind: OptionKind::OneOf(&["read_committed", "read_uncommitted"]),
        default: Some("read_committed"),
        required: false,
        doc: "Whether records of transactions that are open or aborted are left out.",
    },
    OptionSpec {
        name: "on_lost_offsets",
        kind: OptionKind::OneOf(&["fail", "earliest", "latest"]),
        default: Some("fail"),
        required: false,
        doc: "What happens when records were deleted before they were read: the run ends, or goes on at the earliest or \
              the latest record there is, with a dead letter that names the gap.",
    },
    OptionSpec {
        name: "discovery_interval",
        kind: OptionKind::Duration,
        default: Some("30s"),
        required: false,
        doc: "How often new partitions and topics are looked for.",
    },
    schema_registry::URL,
    schema_registry::AUTH,
    PROPERTIES,
];

/// Where a first run begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Start {
    Earliest,
    Latest,
    /// At the first record that is not older: milliseconds since 1970.
    At(i64),
}

/// What happens when records are gone that were to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OnLost {
    Fail,
    Earliest,
    Latest,
}

/// The options of the source, read.
#[derive(Clone)]
pub(super) struct SourceOptions {
    pub cluster: Cluster,
    pub topics: Vec<TopicName>,
    pub group: String,
    pub start: Start,
    pub bounded: bool,
    pub isolation: String,
    pub on_lost: OnLost,
    pub discovery_interval: Duration,
    /// Whether anybody looks at headers.
    pub headers: bool,
}

/// A topic, or a pattern of topics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum TopicName {
    Exact(String),
    Pattern(glob::Pattern),
}

impl SourceOptions {
    pub fn read(request: &SourceRequest) -> Result<SourceOptions> {
        let options = &request.options;
        let owner = format!("source \"{}\"", request.name);
        let word = |name: &str| options.get(name).unwrap_or_default();
        Ok(SourceOptions {
            topics: topics(word("topic"), &owner)?,
            group: match options.get("group") {
                Some("") => {
                    return Err(Error::user(format!("option \"group\" of {owner} is empty"))
                        .with_hint("Leave it out, or name a group."));
                }
                Some(group) => group.to_string(),
                None => format!("thalweg-{}", request.name),
            },
            start: start(word("start"), &owner)?,
            bounded: word("mode") == "bounded",
            isolation: word("isolation").to_string(),
            on_lost: match word("on_lost_offsets") {
                "earliest" => OnLost::Earliest,
                "latest" => OnLost::Latest,
                _ => OnLost::Fail,
            },
            discovery_interval: options.duration("discovery_interval").unwrap_or(Duration::from_secs(30)),
            headers: request.metadata.contains(&Metadata::Headers),
            cluster: Cluster::read(owner, options)?,
        })
    }

    /// Whether there are several topics, or may be.
    pub fn several(&self) -> bool {
        !matches!(self.topics.as_slice(), [TopicName::Exact(_)])
    }
}

fn topics(written: &str, owner: &str) -> Result<Vec<TopicName>> {
    let mut topics = Vec::new();
    for name in written.split(',').map(str::trim).filter(|name| !name.is_empty()) {
        let wrong = |what: &str| {
            Error::user(format!("option \"topic\" of {owner}: '{name}' is {what}"))
                .with_hint("Write a topic's name, or a pattern such as 'orders-*'.")
        };
        if name.contains(['*', '?', '[']) {
            topics.push(TopicName::Pattern(glob::Pattern::new(name).map_err(|error| wrong(error.msg))?));
        } else if name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-')) {
            topics.push(TopicName::Exact(name.to_string()));
        } else {
            return Err(wrong("no name of a topic"));
        }
    }
    match topics.is_empty() {
        true => Err(Error::user(format!("option \"topic\" of {owner} names no topic"))),
        false => Ok(topics),
    }
}

fn start(written: &str, owner: &str) -> Result<Start> {
    match written {
        "earliest" => return Ok(Start::Earliest),
        "latest" => return Ok(Start::Latest),
        _ => {}
    }
    let at = "+00:00".parse().ok().and_then(|utc: Tz| string_to_datetime(&utc, written).ok());
    at.map(|at| Start::At(at.timestamp_millis())).ok_or_else(|| {
        Error::user(format!("option \"start\" of {owner} takes 'earliest', 'latest' or a time, not '{written}'"))
            .with_hint("Write a time as '2026-01-31 12:00:00', in UTC unless it says otherwise.")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_are_names_and_patterns() {
        let pattern = glob::Pattern::new("orders-*").unwrap();
        let expected = [TopicName::Exact("a.b".into()), TopicName::Pattern(pattern)];
        assert_eq!(topics("a.b, orders-*", "source \"s\"").unwrap(), expected);
        let error = topics("^orders.+", "source \"s\"").unwrap_err();
        assert_eq!(error.message, "option \"topic\" of source \"s\": '^orders.+' is no name of a topic");
        assert!(topics(" , ", "source \"s\"").is_err());
    }

    #[test]
    fn a_start_is_a_word_or_a_time() {
        assert_eq!(start("latest", "s").unwrap(), Start::Latest);
        assert_eq!(start("1970-01-01 00:00:01.5", "s").unwrap(), Start::At(1_500));
        assert_eq!(start("1970-01-01T01:00:00+01:00", "s").unwrap(), Start::At(0));
        assert!(start("yesterday", "s").unwrap_err().hint.is_some());
    }
}
