//! A join with a horizon beside the same one without: within the horizon they say the same, and what is behind stays as it was.

use super::*;
use crate::horizon::Horizon;

const KEEP: i64 = 5;

/// What is said of rows up to a time, in seconds, and of those behind it. A row that has no left side has the time of its right one.
fn parted(heard: &BTreeMap<String, i64>, bound: i64, by_right: bool) -> [BTreeMap<String, i64>; 2] {
    let is_behind = |line: &String| {
        let fields: Vec<&str> = line.split('|').collect();
        let time = if by_right || fields[1] == "NULL" { fields[4] } else { fields[1] };
        time.parse::<i64>().unwrap() <= bound
    };
    let (behind, within) =
        heard.iter().map(|(line, times)| (line.clone(), *times)).partition(|(line, _)| is_behind(line));
    [behind, within]
}

/// Epochs in which nothing comes for what is behind, of the sides that have a horizon.
fn epochs(timed: [bool; 2]) -> impl Strategy<Value = Vec<Changes>> {
    let row = (prop::option::weighted(0.9, 0u8..4), 1i64..12, prop::option::weighted(0.8, -3i64..3));
    let change = (any::<bool>(), row, any::<prop::sample::Index>(), prop::bool::weighted(0.4));
    let epoch = (prop::collection::vec(change, 0..25), 0i64..6);
    prop::collection::vec(epoch, 1..10).prop_map(move |epochs| {
        let mut there: [Vec<Row>; 2] = Default::default();
        let mut watermark = 0;
        let epoch = |(changes, step): (Vec<(bool, Row, prop::sample::Index, bool)>, i64)| {
            let mut epoch: [Vec<(Row, i64)>; 2] = Default::default();
            let bound = watermark - KEEP;
            for (right, (key, time, value), index, retract) in changes {
                let side = usize::from(right);
                let mut reach: Vec<usize> = (0..there[side].len()).collect();
                reach.retain(|at| !timed[side] || there[side][*at].1 > bound);
                if retract && !reach.is_empty() {
                    let row = there[side].swap_remove(reach[index.index(reach.len())]);
                    epoch[side].push((row, -1));
                } else {
                    let row = (key, bound + time, value);
                    there[side].push(row);
                    epoch[side].push((row, 1));
                }
            }
            watermark += step;
            (epoch, watermark)
        };
        epochs.into_iter().map(epoch).collect()
    })
}

fn check(case: &Case, timed: [bool; 2], epochs: &[Changes]) {
    let horizon =
        |timed: bool| timed.then(|| Horizon { column: 1, keep_ns: KEEP * SECOND, origin: TimeOrigin::default() });
    let horizons = timed.map(horizon);
    let mut bounded = Workers::new(JoinSpec { horizons, ..spec(case) }, Read::Changes, 2);
    let mut whole = Workers::new(spec(case), Read::Changes, 2);
    let (mut heard, mut expected) = (BTreeMap::new(), BTreeMap::new());
    let (mut behind, mut bound) = (BTreeMap::new(), i64::MIN);
    for (at, changes) in epochs.iter().enumerate() {
        bounded.epoch(at as u64, changes, &mut heard);
        whole.epoch(at as u64, changes, &mut expected);
        let [left, within] = parted(&heard, bound, !timed[0]);
        assert_eq!(left, behind, "what is behind changes in epoch {at}");
        assert_eq!(within, parted(&expected, bound, !timed[0])[1], "within the horizon in epoch {at}");
        bound = changes.1 - KEEP;
        [behind, _] = parted(&heard, bound, !timed[0]);
        if at % 3 == 1 {
            bounded = bounded.restarted(1 + at % 4);
        }
    }
    if timed == [true, true] {
        bounded.epoch(1_000, &(Default::default(), 1_000_000), &mut heard);
        assert_eq!(bounded.held(), 0);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    /// The rows of the left side have a time, those of the right are what they are for ever.
    #[test]
    fn rows_of_one_side_are_forgotten(
        epochs in epochs([true, false]),
        kind in prop::sample::select(&[JoinKind::Inner, JoinKind::Left, JoinKind::Semi, JoinKind::Anti, JoinKind::Mark][..]),
        filter in any::<bool>(),
    ) {
        let case =
            Case { kind, keys: 1, nulls: NullKeys::MatchNothing, filter, within: None, retracts: [true, true] };
        check(&case, [true, false], &epochs);
    }

    #[test]
    fn rows_of_the_other_side_are_forgotten(epochs in epochs([false, true]), filter in any::<bool>()) {
        let (kind, nulls) = (JoinKind::Inner, NullKeys::MatchNothing);
        let case = Case { kind, keys: 1, nulls, filter, within: None, retracts: [true, true] };
        check(&case, [false, true], &epochs);
    }

    /// A join on the time itself: both sides go together, whatever decides how rows stand.
    #[test]
    fn rows_of_one_time_go_together(
        epochs in epochs([true, true]),
        kind in prop::sample::select(&KINDS[..]),
        filter in any::<bool>(),
    ) {
        let nulls = NullKeys::MatchNothing;
        let case = Case { kind, keys: 2, nulls, filter, within: None, retracts: [true, true] };
        check(&case, [true, true], &epochs);
    }
}
