//! Sinks: every row once whatever the sink says, and a slow sink holds the source back instead of filling memory.

use super::fixture::*;
use arrow::record_batch::RecordBatch;
use thalweg_operators::plan::Read;

fn written(script: &Script) -> Vec<RecordBatch> {
    script.written.lock().unwrap().iter().filter_map(|(_, batch)| Some(batch.as_ref()?.rows.clone())).collect()
}

#[test]
fn a_sink_that_fails_for_a_while_gets_every_row_once_and_in_epoch_order() {
    let script = script("flaky");
    *script.failures.lock().unwrap() = 3;
    let sinks = vec![sink("flaky", source_plan(), Read::Finals)];
    let (engine, clock) = start(dataflow("flaky", vec![], sinks), settings(2));
    for i in 0..5 {
        script.chunks.lock().unwrap().push_back(Some(rows(&[(i, "a", 1 << i)])));
        settle(&engine, &clock, &script);
    }
    *script.closed.lock().unwrap() = true;
    engine.wait().unwrap();
    assert_eq!(sum(&written(&script), 2), 31);
    assert_eq!(*script.finished.lock().unwrap(), 2, "both workers' writers finish");
    let status = engine.status().sinks.remove(0);
    assert_eq!((status.rows, status.queued_bytes, status.retries), (5, 0, 3));
}

#[test]
fn epochs_that_waited_are_committed_together_where_the_writer_joins_them() {
    for joins in [true, false] {
        let name = if joins { "joining" } else { "parting" };
        let script = script(name);
        *script.joins.lock().unwrap() = joins;
        *script.blocked.lock().unwrap() = true;
        let (engine, clock) = start(dataflow(name, vec![], vec![sink(name, source_plan(), Read::Finals)]), settings(1));
        for i in 0..5 {
            script.chunks.lock().unwrap().push_back(Some(rows(&[(i, "a", 1 << i)])));
            settle(&engine, &clock, &script);
        }
        *script.blocked.lock().unwrap() = false;
        *script.closed.lock().unwrap() = true;
        engine.wait().unwrap();
        assert_eq!(sum(&written(&script), 2), 31);
        let orders = script.written.lock().unwrap();
        let is_commit = |order: &(_, Option<_>)| order.1.is_none();
        let last = orders.iter().rposition(|order| !is_commit(order)).unwrap();
        let before = orders[..last].iter().filter(|order| is_commit(order)).count();
        assert!(if joins { before == 0 } else { before >= 4 }, "{before} commits before the last row");
        assert!(orders[last..].iter().any(is_commit), "and one behind it");
    }
}

#[test]
fn a_sink_that_takes_nothing_holds_the_source_back() {
    let script = script("blocked");
    *script.blocked.lock().unwrap() = true;
    let one = rows(&[(1, "a", 1); 1000]);
    for _ in 0..1000 {
        script.chunks.lock().unwrap().push_back(Some(one.clone()));
    }
    let mut settings = settings(1);
    settings.sink_queue_bytes = 10 * one.get_array_memory_size();
    let sinks = vec![sink("blocked", source_plan(), Read::Finals)];
    let (engine, clock) = start(dataflow("blocked", vec![], sinks), settings);
    // Each tick completes an epoch and fills the queue, until the source is asked no more.
    wait_until("the source is held back", || {
        clock.advance(std::time::Duration::from_millis(100));
        engine.status().sinks[0].queued_bytes as usize > 10 * one.get_array_memory_size()
    });
    assert!(script.chunks.lock().unwrap().len() > 100, "most of the source is still unread");
    *script.blocked.lock().unwrap() = false;
    *script.closed.lock().unwrap() = true;
    wait_until("the run ends", || {
        clock.advance(std::time::Duration::from_millis(100));
        engine.ended()
    });
    engine.wait().unwrap();
    assert_eq!(sum(&written(&script), 2), 1_000_000, "and nothing is lost");
}
