//! A message to one notifier, as it was decided: what payloads are made from, and what is tried until it arrives.

use crate::alert::{Alert, Labels, Status};
use crate::payload::hex;
use crate::shared::{Shared, Word};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// Why a message is sent. The words are those of Alertmanager's `notification_reason`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reason {
    /// The group has not spoken, or all that it spoke of was over.
    First,
    /// Something fires that the receiver does not know, or at another severity.
    NewAlerts,
    /// Everything that the receiver believed to fire is over.
    AllResolved,
    /// Some of it is.
    SomeResolved,
    /// Nothing is new for `repeat_interval`.
    Repeat,
}

impl Reason {
    /// As Alertmanager says it.
    pub fn name(self) -> &'static str {
        match self {
            Reason::First => "first notification",
            Reason::NewAlerts => "new alerts added",
            Reason::AllResolved => "all alerts resolved",
            Reason::SomeResolved => "some alerts resolved",
            Reason::Repeat => "repeat interval elapsed",
        }
    }
}

/// A message.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Notification {
    /// What a receiver tells repetitions by: a hash of what is told, never of when.
    pub id: String,
    /// The notifier.
    pub notifier: String,
    /// The group: `{}:{alertname="slow"}`.
    pub group_key: String,
    /// What the alerts of the group have in common by its rule.
    pub group_labels: Labels,
    /// Why it is sent.
    pub reason: Reason,
    /// The number of the message in its group, from 1.
    pub number: u64,
    /// The alerts, what is over before what fires where they are of one key.
    pub alerts: Vec<Shared<Alert>>,
    /// How many more there are than may be in a message.
    pub truncated: usize,
    /// When it was decided, in nanoseconds since 1970.
    pub created_at_ns: i64,
    /// After how long the receiver is told again at the latest, while it goes on.
    pub repeat_interval_ns: i64,
}

impl Notification {
    /// Whether anything fires.
    pub fn status(&self) -> Status {
        if self.alerts.iter().any(|alert| alert.is_firing()) { Status::Firing } else { Status::Resolved }
    }

    /// The id that such a message has: 26 characters as `msg_` and hexadecimal digits, the same in every run.
    pub(crate) fn id_of(&self) -> String {
        let mut hash = Sha256::new();
        for part in [&self.notifier, &self.group_key, self.reason.name(), &self.number.to_string()] {
            hash.update(part);
            hash.update([0]);
        }
        for alert in &self.alerts {
            hash.update(format!("{}:{}:{}", alert.incident_id, alert.seq, alert.status.name()));
            hash.update([0]);
        }
        format!("msg_{}", hex(&hash.finalize()[..16]))
    }
}

/// How one try ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// The receiver has it.
    Delivered {
        /// What it answered.
        http_status: u16,
    },
    /// It may be tried again.
    Failed {
        /// What the receiver answered, if it did.
        http_status: Option<u16>,
        /// What was wrong.
        error: String,
        /// How long the receiver asked to be left alone.
        pause_ns: Option<i64>,
        /// Whether the receiver may have it all the same: it did not say that it does not.
        ambiguous: bool,
    },
    /// The receiver does not take it, and will not take it later.
    Refused {
        /// What the receiver answered, if it did.
        http_status: Option<u16>,
        /// What was wrong.
        error: String,
    },
}

/// A line of `thalweg.deliveries`: a try, or what else became of a message.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Attempt {
    /// When it ended, in nanoseconds since 1970.
    pub at_ns: i64,
    /// The message.
    pub id: String,
    /// The notifier.
    pub notifier: String,
    /// The group.
    pub group_key: String,
    /// Whether something fires.
    pub status: Status,
    /// Why the message is sent.
    pub reason: Reason,
    /// The incidents that it tells of.
    pub incidents: Vec<Word>,
    /// The number of the try, from 1; 0 for what was never tried.
    pub attempt: u32,
    /// `queued`, `trying`, `delivered`, `failed` (and will be tried again), `dead` (and will not), `superseded`.
    pub outcome: String,
    /// What the receiver answered.
    pub http_status: Option<u16>,
    /// What was wrong.
    pub error: Option<String>,
    /// How long it took, in nanoseconds.
    pub took_ns: Option<i64>,
    /// When it is tried again.
    pub next_try_ns: Option<i64>,
}

impl Attempt {
    /// What can be said of a message, whatever became of it.
    pub(crate) fn of(notification: &Notification, at_ns: i64, attempt: u32, outcome: &str) -> Attempt {
        Attempt {
            at_ns,
            id: notification.id.clone(),
            notifier: notification.notifier.clone(),
            group_key: notification.group_key.clone(),
            status: notification.status(),
            reason: notification.reason,
            incidents: notification.alerts.iter().map(|alert| alert.incident_id.clone()).collect(),
            attempt,
            outcome: outcome.to_string(),
            http_status: None,
            error: None,
            took_ns: None,
            next_try_ns: None,
        }
    }
}
