//! What holds of the arithmetic whatever the numbers are.

use super::attribution::{IdlePolicy, Node};
use super::counter::{Limits, delta};
use super::embodied::Asset;
use super::intensity::{Kind, Published, in_force};
use super::power::held;
use super::schedule::best_window;
use super::slots::{self, Slot};
use super::units;
use proptest::prelude::*;

fn close(a: f64, b: f64) -> bool {
    (a - b).abs() <= 1e-9 * a.abs().max(b.abs()).max(1.0)
}

/// Slots without holes from 0 on, each some seconds long.
fn series() -> impl Strategy<Value = Vec<Slot>> {
    proptest::collection::vec((1..7_200i64, 0.0..1_000.0f64), 1..30).prop_map(|parts| {
        let mut start = 0;
        let slot = |(length, g_per_kwh): (i64, f64)| {
            let slot = Slot { start, end: start + length * 1_000_000_000, g_per_kwh };
            start = slot.end;
            slot
        };
        parts.into_iter().map(slot).collect()
    })
}

fn policy() -> impl Strategy<Value = IdlePolicy> {
    prop_oneof![
        Just(IdlePolicy::NodeOnly),
        Just(IdlePolicy::ByUsage),
        Just(IdlePolicy::ByRequest),
        Just(IdlePolicy::Equal)
    ]
}

proptest! {
    #[test]
    fn a_window_cut_anywhere_gives_the_same_sum(series in series(), at in 0.0..1.0f64, kwh in 0.0..100.0f64) {
        let end = series[series.len() - 1].end;
        let middle = (end as f64 * at) as i64;
        let (whole, _) = slots::grams(kwh, 0, end, &series).unwrap();
        let share = middle as f64 / end as f64;
        let part = |kwh: f64, since, until| slots::grams(kwh, since, until, &series).map_or(0.0, |(grams, _)| grams);
        prop_assert!(close(whole, part(kwh * share, 0, middle) + part(kwh * (1.0 - share), middle, end)));
    }

    #[test]
    fn twice_the_energy_is_twice_the_carbon(series in series(), kwh in 0.0..100.0f64) {
        let end = series[series.len() - 1].end;
        let once = slots::grams(kwh, 0, end, &series).unwrap().0;
        prop_assert!(close(2.0 * once, slots::grams(2.0 * kwh, 0, end, &series).unwrap().0));
    }

    #[test]
    fn zero_intensity_is_exactly_zero_and_none_is_none(series in series(), kwh in 0.0..100.0f64) {
        let end = series[series.len() - 1].end;
        let clean: Vec<Slot> = series.iter().map(|slot| Slot { g_per_kwh: 0.0, ..*slot }).collect();
        prop_assert_eq!(slots::grams(kwh, 0, end, &clean), Some((0.0, slots::grams(kwh, 0, end, &series).unwrap().1)));
        prop_assert_eq!(slots::grams(kwh, end, end + 1, &series), None);
    }

    #[test]
    fn parts_tile_their_interval(since in -1_000_000i64..1_000_000, length in 0i64..1_000_000, size in 100i64..100_000) {
        let parts = slots::on_grid(since, since + length, size).unwrap();
        prop_assert_eq!(parts[0].start, since);
        prop_assert_eq!(parts[parts.len() - 1].end, since + length);
        prop_assert!(parts.windows(2).all(|pair| pair[0].end == pair[1].start));
        let within = |part: &slots::Part| slots::start_of(part.start, size) == slots::start_of((part.end - 1).max(part.start), size);
        prop_assert!(parts.iter().all(within));
        prop_assert!(close(parts.iter().map(|part| part.share).sum(), 1.0));
    }

    #[test]
    fn what_is_attributed_and_what_is_left_is_the_node(
        energy in 0.0..1e6f64, ratio in 0.0..=1.0f64, policy in policy(), system in 0.0..100.0f64,
        pods in proptest::collection::vec((0.0..100.0f64, 0.0..4.0f64), 0..20), capacity in 0.0..64.0f64,
    ) {
        let (active, idle) = Node::split(energy, ratio).unwrap();
        let usage = system + pods.iter().map(|pod| pod.0).sum::<f64>();
        let requested = pods.iter().map(|pod| pod.1).sum();
        let node = Node { active, idle, usage, requested, capacity, workloads: pods.len() as f64 };
        let shares: f64 = pods.iter().map(|(usage, request)| node.share(policy, *usage, *request)).sum();
        let left = node.unallocated(policy, &pods);
        prop_assert!(close(shares + left, energy));
        prop_assert!(left >= -1e-9 * energy.max(1.0), "more was handed out than there is: {left}");
    }

    #[test]
    fn the_order_of_publications_does_not_matter(
        published in proptest::collection::vec((0..20i64, 0..7usize, 0.0..1_000.0f64), 0..12),
        order in any::<prop::sample::Index>(),
    ) {
        let kinds: Vec<Kind> = Kind::names().map(|name| Kind::named(name).unwrap()).collect();
        let published: Vec<Published> = published
            .into_iter()
            .map(|(published_at, kind, g_per_kwh)| Published { published_at, kind: kinds[kind], g_per_kwh })
            .collect();
        let mut turned = published.clone();
        if !turned.is_empty() {
            turned.rotate_left(order.index(published.len()));
            turned.reverse();
        }
        prop_assert_eq!(in_force(&published), in_force(&turned));
        // Nothing better has been published than what is in force.
        if let Some((force, _)) = in_force(&published) {
            prop_assert!(published.iter().all(|other| force.kind <= other.kind));
        }
    }

    #[test]
    fn a_restated_run_is_a_fresh_run(series in series(), at in any::<prop::sample::Index>(), g in 0.0..1_000.0f64) {
        let end = series[series.len() - 1].end;
        let at = at.index(series.len());
        let mut revised = series.clone();
        revised[at].g_per_kwh = g;
        let before = slots::grams(1.0, 0, end, &series).unwrap().0;
        let share = (series[at].end - series[at].start) as f64 / end as f64;
        let corrected = before - share * series[at].g_per_kwh + share * g;
        prop_assert!(close(corrected, slots::grams(1.0, 0, end, &revised).unwrap().0));
    }

    #[test]
    fn counted_energy_is_what_was_used_however_often_it_is_read(
        used in proptest::collection::vec(0..20_000u64, 1..50), start in 0..65_536u64,
    ) {
        // A counter of 16 bits that is read often enough.
        const RANGE: u64 = 65_536;
        let limits = Limits { range: Some(RANGE as f64), most: Some(20_000.0) };
        let (mut reading, mut counted) = (start, 0.0);
        for amount in &used {
            let before = reading;
            reading = (reading + amount) % RANGE;
            counted += delta(Some(before as f64), reading as f64, limits).1.unwrap();
        }
        prop_assert_eq!(counted, used.iter().sum::<u64>() as f64);
    }

    #[test]
    fn a_delta_is_never_negative(before in 0.0..1e12f64, now in 0.0..1e12f64, range in proptest::option::of(0.0..1e12f64)) {
        let counted = delta(Some(before), now, Limits { range, most: None }).1;
        prop_assert!(counted.is_none_or(|counted| counted >= 0.0));
    }

    #[test]
    fn held_power_never_covers_more_than_the_interval(watts in 0.0..1e4f64, length in 0..1_000i64, hold in 0..1_000i64) {
        let part = held(watts, 0, length * 1_000_000_000, hold * 1_000_000_000).unwrap();
        prop_assert_eq!(part.covered_s, length.min(hold) as f64);
        prop_assert!(close(part.joules, watts * part.covered_s));
    }

    #[test]
    fn embodied_carbon_accrues_additively_and_ends_at_its_total(
        life in 1..1_000i64, since in 0..1_000i64, middle in 0..1_000i64, until in 0..1_000i64, kg in 0.0..2_000.0f64,
    ) {
        let mut times = [since, middle, until].map(|seconds| seconds * 1_000_000_000);
        times.sort_unstable();
        let asset = Asset { total_kg: kg, lifespan_ns: life * 1_000_000_000, share: 1.0, provisioned_at: 0, retired_at: None };
        let accrued = |a: usize, b: usize| asset.accrued(times[a], times[b]).unwrap();
        prop_assert!(close(accrued(0, 2), accrued(0, 1) + accrued(1, 2)));
        prop_assert!(close(asset.accrued(0, i64::MAX).unwrap(), kg * 1_000.0));
    }

    #[test]
    fn units_lead_there_and_back(value in 0.0..1e9f64) {
        prop_assert!(close(units::kwh(units::joules(value, "kWh").unwrap()), value));
        prop_assert!(close(units::joules(value, "mJ").unwrap() * 1e3, value));
        prop_assert!(close(units::grams_per_kwh(value, "lbs/MWh").unwrap() / units::KG_PER_LB, value));
    }

    #[test]
    fn the_best_window_is_as_good_as_any_on_a_fine_grid(series in series(), length in 1..4_000i64) {
        let (end, duration) = (series[series.len() - 1].end, length * 1_000_000_000);
        let mean = |start: i64| slots::grams(1.0, start, start + duration, &series).unwrap().0;
        let best = best_window(&series, duration, 0, i64::MAX);
        if end < duration {
            prop_assert_eq!(best, None);
            return Ok(());
        }
        let best = best.unwrap();
        prop_assert!(close(best.g_per_kwh, mean(best.start)));
        let step = ((end - duration) / 50).max(1);
        for start in (0..=end - duration).step_by(step as usize) {
            prop_assert!(best.g_per_kwh <= mean(start) + 1e-6);
        }
    }
}
