//! The options of an alert: `CREATE ALERT .. WITH (ttl = '1 day')`.

use thalweg_operators::alert::AlertSpec;
use thalweg_operators::alert::rule::Flap;
use thalweg_schemas::error::{Error, Result};
use thalweg_schemas::options::{OptionKind, OptionSpec, Options};

/// The options of an alert.
pub(super) const OPTIONS: &[OptionSpec] = &[
    OptionSpec {
        name: "ttl",
        kind: OptionKind::Duration,
        default: None,
        required: false,
        doc: "After how long without a row a key is forgotten; a firing alert is resolved then.",
    },
    OptionSpec {
        name: "keep_resolved",
        kind: OptionKind::Duration,
        default: Some("1h"),
        required: false,
        doc: "For how long a resolved alert stays in thalweg.alerts.",
    },
    OptionSpec {
        name: "flap_times",
        kind: OptionKind::Count,
        default: None,
        required: false,
        doc: "How often an alert must fire within flap_within to count as flapping: it stays open until it has been quiet \
              for as long.",
    },
    OptionSpec {
        name: "flap_within",
        kind: OptionKind::Duration,
        default: Some("15m"),
        required: false,
        doc: "See flap_times.",
    },
    OptionSpec {
        name: "mute_older_than",
        kind: OptionKind::Duration,
        default: None,
        required: false,
        doc: "Of what happened longer ago than this, by event time, receivers are not told: a backfill pages nobody.",
    },
    OptionSpec {
        name: "notify_revisions",
        kind: OptionKind::Flag,
        default: Some("false"),
        required: false,
        doc: "Whether receivers are told when an incident was judged by rows that are corrected later.",
    },
    OptionSpec {
        name: "sample_rows",
        kind: OptionKind::Count,
        default: Some("5"),
        required: false,
        doc: "How many of the rows behind it an event shows, at most 20. With 0 nothing is kept of them.",
    },
];

/// How many of the rows behind a row an event can show at most.
const SAMPLE_ROWS_MAX: usize = 20;

/// What the options say of an alert that is otherwise known.
pub(super) fn set(spec: &mut AlertSpec, options: &Options) -> Result<()> {
    let ns = |name: &str| options.duration(name).map(|length| i64::try_from(length.as_nanos()).unwrap_or(i64::MAX));
    spec.rule.ttl_ns = ns("ttl");
    spec.rule.keep_resolved_ns = ns("keep_resolved").unwrap_or_default();
    let times = options.count("flap_times").filter(|times| *times > 0);
    spec.rule.flap = times.map(|times| Flap {
        times: usize::try_from(times).unwrap_or(usize::MAX),
        within_ns: ns("flap_within").unwrap_or_default(),
    });
    spec.mute_older_than_ns = ns("mute_older_than");
    spec.notify_revisions = options.get("notify_revisions") == Some("true");
    spec.sample_rows = usize::try_from(options.count("sample_rows").unwrap_or_default()).unwrap_or(usize::MAX);
    if spec.sample_rows > SAMPLE_ROWS_MAX {
        return Err(Error::user(format!("an event shows at most {SAMPLE_ROWS_MAX} rows"))
            .with_detail(format!("sample_rows is {}.", spec.sample_rows))
            .with_hint("All of them are in the relation that the alert is over."));
    }
    Ok(())
}
