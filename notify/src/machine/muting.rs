//! What holds an alert back, though it fires: a silence, another alert, or that it is of the past.

use super::Machine;
use crate::alert::Alert;
use crate::silence::Silence;
use std::fmt;

/// By what an alert is held back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Muting<'a> {
    /// It is of the past, and what comes is still of the past.
    Backfill,
    /// A silence, by its id.
    Silence(&'a str),
    /// A rule, and the incident that holds others back by it.
    Inhibition(&'a str, &'a str),
}

impl fmt::Display for Muting<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Muting::Backfill => f.write_str("backfill"),
            Muting::Silence(silence) => write!(f, "silence {silence}"),
            Muting::Inhibition(rule, incident) => write!(f, "inhibition {rule} by incident {incident}"),
        }
    }
}

impl Machine {
    /// What holds an alert back from all notifiers at `now_ns`.
    pub(super) fn muting(&self, alert: &Alert, now_ns: i64) -> Option<Muting<'_>> {
        if alert.backfill && !self.state.last && now_ns < self.state.backfill_until_ns {
            return Some(Muting::Backfill);
        }
        let silences = |silence: &&Silence| {
            silence.mutes(&alert.labels, now_ns)
                && (silence.calendars.is_empty() || self.config.is_time_of(&silence.calendars, now_ns))
        };
        let silence = self.state.silences.values().find(silences).map(|silence| Muting::Silence(&silence.id));
        silence.or_else(|| self.sources.muting(alert).map(|(rule, incident)| Muting::Inhibition(rule, incident)))
    }

    /// What holds an incident back that fires.
    pub fn suppression(&self, incident_id: &str, now_ns: i64) -> Option<Muting<'_>> {
        let alert = &self.state.incidents.get(incident_id)?.alert;
        self.muting(alert, now_ns).filter(|_| alert.is_firing())
    }
}
