//! Debounce, and what is learnt in an incident: nothing for a while, then that the level is another one.
//!
//! A model that learns on through an outage takes it for normal within minutes; one that never does stays silent about
//! the next. So what stands out is not learnt for [`FROZEN_MAX`] rows; after that it is the way things are.

use super::codec::{Codec, Coded};

/// So many rows that stand out, one after the other, are not learnt.
const FROZEN_MAX: u8 = 30;

/// So many rows of an incident are learnt by the tail.
const FRESH_MAX: u8 = 2;

/// What follows a surprising row within so many rows belongs to it.
const REFRACTORY: u8 = 10;
/// And scores no more than this share of its surprise.
const KNOWN: f64 = 0.5;
/// A row is surprising that comes less often than once in a hundred rows.
const NEWS: f64 = 2.0;

/// Where a series is in an incident.
#[derive(Clone, Debug, Default)]
pub(super) struct Incident {
    /// Rows that stood out without one between them that did not.
    streak: u8,
    /// Their sum.
    sum: f64,
    /// The most surprising row of late.
    peak: f32,
    /// Rows since.
    since: u8,
    /// Rows in which a deployment is still news.
    pub deployed: u8,
}

/// What follows of a row.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Outcome {
    /// Whether it is part of an incident.
    pub is_anomaly: bool,
    /// Whether the tail of the distances is to learn it: the first rows of an incident say how large distances get, the
    /// others only how long they last.
    pub fresh: bool,
    /// Whether it is to be learnt.
    pub learn: bool,
    /// The level that has been there for so long that it is the new one.
    pub settled: Option<f64>,
}

impl Incident {
    /// How surprising a row is beside those that were told of late: what follows a row that was as surprising is half of
    /// the news.
    pub fn news(&mut self, surprise: f64) -> f64 {
        self.since = self.since.saturating_add(1);
        // As it is kept: what is as surprising as the peak is not above it.
        let told = surprise as f32;
        if told > self.peak || self.since > REFRACTORY || f64::from(self.peak) < NEWS {
            (self.peak, self.since) = (told, 0);
            return surprise;
        }
        surprise.min(KNOWN * f64::from(self.peak))
    }

    /// Takes note of a row that stands out, or does not.
    pub fn note(&mut self, stands_out: bool, x: f64, debounce: u32) -> Outcome {
        if !stands_out {
            (self.streak, self.sum) = (0, 0.0);
            return Outcome { is_anomaly: false, fresh: true, learn: true, settled: None };
        }
        self.streak += 1;
        self.sum += x;
        let is_anomaly = u32::from(self.streak) >= debounce;
        let fresh = self.streak <= FRESH_MAX;
        if self.streak < FROZEN_MAX {
            return Outcome { is_anomaly, fresh, learn: false, settled: None };
        }
        let settled = Some(self.sum / f64::from(self.streak));
        (self.streak, self.sum) = (0, 0.0);
        Outcome { is_anomaly, fresh, learn: true, settled }
    }
}

impl Coded for Incident {
    fn fields(&mut self, codec: &mut Codec<'_>) {
        codec.u16_of(&mut self.streak);
        codec.f64(&mut self.sum);
        codec.f64_of(&mut self.peak);
        codec.u16_of(&mut self.since);
    }
}
