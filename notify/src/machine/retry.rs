//! When a message that failed is tried again: after pauses that double, with a part left to chance so that messages that
//! failed together do not come back together.

use sha2::{Digest, Sha256};

/// The first pause, and the longest.
const FIRST_NS: i64 = 500_000_000;
const LONGEST_NS: i64 = 300 * 1_000_000_000;
/// A receiver that asks for a longer pause is believed up to here.
const ASKED_MAX_NS: i64 = 3_600 * 1_000_000_000;

/// The pause behind the `attempts`th try of message `id`, at least what the receiver asked for. Chance is a hash of both,
/// so that the same inputs give the same times.
pub(super) fn pause_ns(id: &str, attempts: u32, asked_ns: Option<i64>) -> i64 {
    let doubled = FIRST_NS.saturating_mul(1 << attempts.saturating_sub(1).min(20)).min(LONGEST_NS);
    let digest = Sha256::digest(format!("{id} {attempts}"));
    let chance = i64::from(u16::from_be_bytes([digest[0], digest[1]]));
    let pause = doubled / 2 + doubled / 2 * chance / i64::from(u16::MAX);
    pause.max(asked_ns.unwrap_or(0).clamp(0, ASKED_MAX_NS))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_and_are_spread() {
        for attempts in 1..40 {
            let whole = FIRST_NS.saturating_mul(1 << (attempts - 1).min(20)).min(LONGEST_NS);
            let pauses: Vec<i64> = (0..50).map(|n| pause_ns(&format!("msg_{n}"), attempts, None)).collect();
            assert!(pauses.iter().all(|pause| (whole / 2..=whole).contains(pause)), "{attempts}: {pauses:?}");
            assert!(pauses.iter().max() > pauses.iter().min());
        }
        assert_eq!(pause_ns("a", 3, None), pause_ns("a", 3, None));
    }

    #[test]
    fn what_a_receiver_asks_for_is_kept_within_reason() {
        assert_eq!(pause_ns("a", 1, Some(10_000_000_000)), 10_000_000_000);
        assert_eq!(pause_ns("a", 1, Some(i64::MAX)), ASKED_MAX_NS);
        assert!(pause_ns("a", 1, Some(-5)) >= FIRST_NS / 2);
    }
}
