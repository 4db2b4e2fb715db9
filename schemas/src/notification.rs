//! The contract of the statements about notification, `CREATE NOTIFIER`, `SILENCE`, `INHIBITION` and `CALENDAR`, as data,
//! and how the planner has them checked by the crate that carries them out, without knowing it.

use crate::error::Result;
use crate::options::{OptionSpec, Options};

/// Which statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum NotificationKind {
    /// `CREATE NOTIFIER`: who is told, and how.
    Notifier,
    /// `CREATE SILENCE`: what is not told for a time.
    Silence,
    /// `CREATE INHIBITION`: what is not told while something else fires.
    Inhibition,
    /// `CREATE CALENDAR`: times that come again and again.
    Calendar,
}

impl NotificationKind {
    /// All of them.
    pub const ALL: [NotificationKind; 4] = [
        NotificationKind::Notifier,
        NotificationKind::Silence,
        NotificationKind::Inhibition,
        NotificationKind::Calendar,
    ];

    /// The word for it in messages.
    pub const fn noun(self) -> &'static str {
        match self {
            NotificationKind::Notifier => "notifier",
            NotificationKind::Silence => "silence",
            NotificationKind::Inhibition => "inhibition",
            NotificationKind::Calendar => "calendar",
        }
    }
}

/// A statement with its options, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotificationPlan {
    /// Which statement.
    pub kind: NotificationKind,
    /// The name that it declares.
    pub name: String,
    /// Its options.
    pub options: Options,
}

/// What the planner asks of the crate that carries notification out.
#[derive(Clone, Copy, Debug)]
pub struct NotificationSpec {
    /// The options of a statement; for a notifier those of the type that it gives (empty: none is given).
    pub options: fn(NotificationKind, &str) -> Vec<OptionSpec>,
    /// Whether the options make sense together.
    pub check: fn(&NotificationPlan) -> Result<()>,
    /// What its options name: that is to exist.
    pub names: fn(&NotificationPlan) -> Vec<(NotificationKind, String)>,
}

/// The name of the sink that takes the events of alerts, and of the connector that plans know it by.
pub const NOTIFICATIONS: &str = "notifications";
