//! Views: snapshots as of one epoch, subscriptions, and the same answer from any number of workers.

use super::fixture::*;
use std::time::Duration;
use thalweg_engine::view::{Begin, Event};
use thalweg_operators::plan::Emit;
use thalweg_schemas::epoch::Epoch;

#[test]
fn a_bounded_run_ends_by_itself_and_its_views_can_still_be_read() {
    for workers in [1, 2, 4] {
        let name = format!("bounded-{workers}");
        let script = script(&name);
        for chunk in 0..20 {
            script.chunks.lock().unwrap().push_back(Some(rows(&[(chunk, "a", chunk), (chunk, "b", -chunk)])));
        }
        *script.closed.lock().unwrap() = true;
        let (engine, _clock) =
            start(dataflow(&name, vec![view("v", source_plan(), Emit::Changes)], vec![]), settings(workers));
        engine.wait().unwrap();
        assert!(engine.ended());
        let snapshot = engine.snapshots(&["v"]).unwrap().remove(0);
        assert_eq!(texts(&snapshot.batches).len(), 40, "{workers} workers");
        assert_eq!(sum(&snapshot.batches, 2), 0);
        let status = engine.status();
        let source = &status.sources[0];
        assert_eq!((source.rows_in, source.rows_out, source.dead, source.ended), (40, 40, 0, true));
        assert_eq!(status.views[0].rows, 40);
    }
}

#[test]
fn rows_are_seen_when_their_epoch_is_complete_and_not_before() {
    let script = script("epochs");
    let (engine, clock) = start(dataflow("epochs", vec![view("v", source_plan(), Emit::Changes)], vec![]), settings(2));
    let seen = |engine: &thalweg_engine::engine::Engine| texts(&engine.snapshots(&["v"]).unwrap()[0].batches).len();
    script.chunks.lock().unwrap().push_back(Some(rows(&[(1, "a", 1)])));
    wait_until("the row is read", || script.chunks.lock().unwrap().is_empty());
    assert_eq!(seen(&engine), 0, "its epoch is still open: the clock stands");
    settle(&engine, &clock, &script);
    assert_eq!(seen(&engine), 1);
}

#[test]
fn a_subscriber_hears_the_snapshot_and_then_every_change_once() {
    let script = script("subscribe");
    let (engine, clock) =
        start(dataflow("subscribe", vec![view("v", source_plan(), Emit::Changes)], vec![]), settings(2));
    script.chunks.lock().unwrap().push_back(Some(rows(&[(1, "a", 1), (1, "b", 2)])));
    settle(&engine, &clock, &script);
    let subscription = engine.subscribe("v", Begin { after: None, snapshot: true }).unwrap();
    let from_now = engine.subscribe("v", Begin::default()).unwrap();
    script.chunks.lock().unwrap().push_back(Some(rows(&[(2, "c", 4)])));
    settle(&engine, &clock, &script);
    *script.closed.lock().unwrap() = true;
    engine.wait().unwrap();
    let hear = |subscription: &thalweg_engine::view::Subscription| {
        let (mut total, mut last_progress) = (0, None);
        loop {
            match subscription.next(Duration::from_secs(60)).expect("events come in time").unwrap() {
                Event::Changes(epoch, batch) => {
                    assert!(last_progress.is_none_or(|p| p < epoch), "changes come before the progress of their epoch");
                    total += sum(&[batch.rows], 2);
                }
                Event::Progress(epoch) => {
                    assert!(last_progress.is_none_or(|p| p < epoch), "progress only grows");
                    last_progress = Some(epoch);
                }
                Event::Ended => return total,
            }
        }
    };
    assert_eq!(hear(&subscription), 7);
    assert_eq!(hear(&from_now), 4);
}

#[test]
fn an_earlier_epoch_can_be_read_and_gone_on_from_while_its_changes_are_kept() {
    let script = script("earlier");
    let mut settings = settings(2);
    settings.retention = Duration::from_secs(3_600);
    let (engine, clock) = start(dataflow("earlier", vec![view("v", source_plan(), Emit::Changes)], vec![]), settings);
    let mut epochs = Vec::new();
    for number in 1..=3 {
        script.chunks.lock().unwrap().push_back(Some(rows(&[(number, "a", number), (number, "b", 10 * number)])));
        settle(&engine, &clock, &script);
        epochs.push(engine.epoch());
    }
    let total = |epoch| sum(&engine.snapshots_as_of(&["v"], epoch).unwrap()[0].batches, 2);
    assert_eq!(epochs.iter().map(|epoch| total(*epoch)).collect::<Vec<_>>(), [11, 33, 66]);
    let begins = [
        (Begin { after: Some(epochs[0]), snapshot: true }, vec![11, 22, 33]),
        (Begin { after: Some(epochs[1]), snapshot: false }, vec![33]),
    ];
    for (begin, expected) in begins {
        let subscription = engine.subscribe("v", begin).unwrap();
        let mut heard: Vec<(u64, i64)> = Vec::new();
        let next = || subscription.next(Duration::from_secs(60)).expect("events come in time").unwrap();
        while let Event::Changes(epoch, batch) = next() {
            match heard.last_mut() {
                Some((last, total)) if *last == epoch.0 => *total += sum(&[batch.rows], 2),
                _ => heard.push((epoch.0, sum(&[batch.rows], 2))),
            }
        }
        assert_eq!(heard.iter().map(|(_, total)| *total).collect::<Vec<_>>(), expected, "{begin:?}");
    }
    let next = Epoch(engine.epoch().0 + 1_000_000);
    let error = engine.snapshots_as_of(&["v"], next).unwrap_err();
    assert_eq!(error.message, format!("epoch {next} is not complete yet"));
}

#[test]
fn an_epoch_that_is_no_longer_kept_is_refused() {
    let script = script("forgotten");
    let mut settings = settings(1);
    settings.retention = Duration::from_millis(50);
    let (engine, clock) = start(dataflow("forgotten", vec![view("v", source_plan(), Emit::Changes)], vec![]), settings);
    for number in 1..=4 {
        script.chunks.lock().unwrap().push_back(Some(rows(&[(number, "a", number)])));
        settle(&engine, &clock, &script);
    }
    let error = engine.subscribe("v", Begin { after: Some(Epoch(1)), snapshot: false }).map(drop).unwrap_err();
    assert_eq!(error.message, "epoch 1 of view \"v\" is no longer kept");
    assert!(error.detail.unwrap().starts_with("Its changes are kept since epoch "));
}

#[test]
fn a_subscriber_that_does_not_read_is_told_and_let_go() {
    let script = script("lagging");
    let mut settings = settings(1);
    settings.subscriber_rows_max = 3;
    let (engine, clock) = start(dataflow("lagging", vec![view("v", source_plan(), Emit::Changes)], vec![]), settings);
    let subscription = engine.subscribe("v", Begin::default()).unwrap();
    let four: Vec<(i64, &str, i64)> = (0..4).map(|i| (i, "a", i)).collect();
    script.chunks.lock().unwrap().push_back(Some(rows(&four)));
    settle(&engine, &clock, &script);
    let error = subscription.next(Duration::from_secs(60)).unwrap().unwrap_err();
    assert_eq!(error.message, "the subscription fell too far behind and was ended");
}

#[test]
fn a_view_that_does_not_exist_is_the_users_mistake() {
    script("nothing");
    let (engine, _clock) = start(dataflow("nothing", vec![], vec![]), settings(1));
    assert_eq!(engine.snapshots(&["w"]).unwrap_err().message, "view \"w\" does not exist");
}

#[test]
fn stopping_finishes_what_was_taken_in() {
    let script = script("stop");
    let (engine, clock) = start(dataflow("stop", vec![view("v", source_plan(), Emit::Changes)], vec![]), settings(2));
    script.chunks.lock().unwrap().push_back(Some(rows(&[(1, "a", 1)])));
    clock.advance(Duration::from_millis(100));
    wait_until("the row is read", || script.chunks.lock().unwrap().is_empty());
    wait_until("it is counted", || engine.status().sources[0].rows_in == 1);
    engine.stop();
    engine.wait().unwrap();
    assert_eq!(texts(&engine.snapshots(&["v"]).unwrap()[0].batches).len(), 1);
}
