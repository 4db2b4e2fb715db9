//! `rate_of_change`: the step from one row to the next, judged by the steps before it.
//!
//! What is expected is the last value and the mean step; the scale is that of the steps. It finds jumps in series whose
//! level wanders, which every model of the level takes for wandering.

use super::Estimate;
use super::codec::{Codec, Coded};
use super::ewma::Ewma;

/// The steps of a series.
#[derive(Clone, Debug, Default)]
pub(super) struct RateOfChange {
    steps: Ewma,
    last: f64,
    begun: bool,
}

impl RateOfChange {
    /// How many rows count: that of a weight of 0.005 a row.
    const ALPHA: f64 = 0.005;

    pub fn expect(&self) -> Option<Estimate> {
        let step = self.steps.expect()?;
        Some(Estimate { expected: self.last + step.expected, scale: step.scale })
    }

    pub fn learn(&mut self, x: f64) {
        if self.begun {
            self.steps.learn(x - self.last, Self::ALPHA);
        }
        (self.last, self.begun) = (x, true);
    }
}

impl Coded for RateOfChange {
    fn fields(&mut self, codec: &mut Codec<'_>) {
        self.steps.fields(codec);
        codec.f64(&mut self.last);
        codec.bool(&mut self.begun);
    }
}
