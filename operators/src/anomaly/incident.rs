//! Debounce, and what is learnt in an incident: nothing for a while, then that the level is another one.
//!
//! A model that learns on through an outage takes it for normal within minutes; one that never does stays silent about
//! the next. So what stands out is not learnt for [`FROZEN_MAX`] rows; after that it is the way things are. A series that then goes back, and comes again,
//! goes to and fro: both levels are usual from then on.

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

/// So many returns in a row to the level before, and the series goes to and fro between two levels.
const RETURNS: u8 = 2;
/// How near to it a return ends, as a share of the way.
const NEAR: f64 = 0.25;

/// Where a series is in an incident.
#[derive(Clone, Debug, Default)]
pub(super) struct Incident {
    /// How far rows were off that stood out without one between them that did not: their sum.
    off: f32,
    /// The most surprising row of late.
    peak: f32,
    /// How far it is back to the level before the present one.
    back: f32,
    /// Rows that stood out without one between them that did not.
    streak: u8,
    /// Rows since the most surprising one.
    since: u8,
    /// How often in a row the level went back to the one before.
    returns: u8,
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
    /// Where the level is that has been there for so long that it is the new one.
    pub settled: Option<Settled>,
}

/// A level that has come to stay.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Settled {
    /// How far it is from the level before.
    pub off: f64,
    /// Whether the series goes to and fro between the two, both of which are usual.
    pub to_and_fro: bool,
}

/// Whether a way leads about as far as it is `back` to the level before.
pub(super) fn returns(way: f64, back: f32) -> bool {
    (way - f64::from(back)).abs() <= NEAR * way.abs()
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

    /// Takes note of a row that stands out, or does not, and is `off` from what was expected.
    pub fn note(&mut self, stands_out: bool, off: f64, debounce: u32) -> Outcome {
        if !stands_out {
            (self.streak, self.off) = (0, 0.0);
            return Outcome { is_anomaly: false, fresh: true, learn: true, settled: None };
        }
        self.streak += 1;
        self.off += off as f32;
        let is_anomaly = u32::from(self.streak) >= debounce;
        let fresh = self.streak <= FRESH_MAX;
        if self.streak < FROZEN_MAX {
            return Outcome { is_anomaly, fresh, learn: false, settled: None };
        }
        let settled = self.settle(f64::from(self.off) / f64::from(self.streak));
        (self.streak, self.off) = (0, 0.0);
        Outcome { is_anomaly, fresh, learn: true, settled: Some(settled) }
    }

    fn settle(&mut self, off: f64) -> Settled {
        let returned = self.back != 0.0 && returns(off, self.back);
        self.returns = if returned { self.returns + 1 } else { 0 };
        let to_and_fro = self.returns >= RETURNS;
        (self.back, self.returns) = if to_and_fro { (0.0, 0) } else { (-off as f32, self.returns) };
        Settled { off, to_and_fro }
    }
}

impl Coded for Incident {
    fn fields(&mut self, codec: &mut Codec<'_>) {
        codec.f32(&mut self.off);
        codec.f32(&mut self.peak);
        codec.f32(&mut self.back);
        codec.u8(&mut self.streak);
        codec.u8(&mut self.since);
        codec.u8(&mut self.returns);
        codec.u8(&mut self.deployed);
    }
}
