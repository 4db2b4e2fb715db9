//! The baton: real workers, replayed step for step by seed.

use super::fixture::*;
use std::sync::Arc;
use std::time::Duration;
use thalweg_engine::baton::Baton;
use thalweg_engine::clock::VirtualClock;
use thalweg_engine::engine::Engine;
use thalweg_operators::plan::{Emit, Read};

/// One run: who took turns in which order, what the sink got in which order, and the answer.
fn run(name: &str, seed: u64, workers: usize) -> (Vec<u8>, Vec<String>, Vec<String>) {
    let script = script(name);
    for chunk in 0..30 {
        script.chunks.lock().unwrap().push_back(Some(rows(&[(chunk, "a", chunk), (chunk, "b", 2 * chunk)])));
    }
    *script.closed.lock().unwrap() = true;
    let views = vec![view("v", source_plan(), Emit::Changes)];
    let sinks = vec![sink(name, source_plan(), Read::Finals)];
    let baton = Arc::new(Baton::new(seed, workers));
    let clock = VirtualClock::at(1_000_000_000_000);
    let settings = settings(workers);
    let engine =
        Engine::start_in_turns(dataflow(name, views, sinks), CONNECTORS, clock.clone(), settings, baton.clone())
            .unwrap();
    engine.wait().unwrap();
    clock.advance(Duration::from_millis(1));
    let snapshot = engine.snapshots(&["v"]).unwrap().remove(0);
    let order = snapshot.batches.iter().flat_map(|batch| texts(std::slice::from_ref(batch))).collect();
    (baton.trace(), order, texts(&snapshot.batches))
}

#[test]
fn a_seed_replays_step_for_step_and_every_seed_has_the_same_answer() {
    let mut traces = std::collections::BTreeSet::new();
    let mut answers = std::collections::BTreeSet::new();
    for workers in [1, 2, 4] {
        for seed in 1..=10u64 {
            let first = run(&format!("baton-{workers}-{seed}-a"), seed, workers);
            let again = run(&format!("baton-{workers}-{seed}-b"), seed, workers);
            assert_eq!(first, again, "seed {seed} with {workers} workers");
            traces.insert(first.0);
            answers.insert(first.2);
        }
    }
    assert!(traces.len() > 15, "seeds lead to different interleavings, {} of them", traces.len());
    assert_eq!(answers.len(), 1, "and to one answer");
}
