//! Views: snapshots as of one epoch, subscriptions, and the same answer from any number of workers.

use super::fixture::*;
use std::time::Duration;
use thalweg_engine::view::Event;
use thalweg_operators::plan::Emit;

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
    let subscription = engine.subscribe("v", true).unwrap();
    let from_now = engine.subscribe("v", false).unwrap();
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
fn a_subscriber_that_does_not_read_is_told_and_let_go() {
    let script = script("lagging");
    let mut settings = settings(1);
    settings.subscriber_rows_max = 3;
    let (engine, clock) = start(dataflow("lagging", vec![view("v", source_plan(), Emit::Changes)], vec![]), settings);
    let subscription = engine.subscribe("v", false).unwrap();
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
