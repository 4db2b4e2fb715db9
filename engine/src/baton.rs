//! The baton: real workers on real threads, stepped one at a time in an order that a seed decides.
//!
//! Timely's scheduling and progress tracking are deterministic within a worker; what differs from run to run is how the
//! workers' steps interleave. Passing a baton from a seeded generator makes that reproducible too: the same seed gives
//! the same run, step for step, and many seeds give many interleavings.

use crate::turns::Turns;
use std::sync::{Condvar, Mutex, PoisonError};

/// Lets one worker at a time take its turn.
pub struct Baton {
    state: Mutex<State>,
    passed: Condvar,
}

struct State {
    /// A xorshift generator; never 0.
    random: u64,
    holder: usize,
    gone: Vec<bool>,
    /// Who held the baton, in order.
    trace: Vec<u8>,
}

impl Baton {
    /// A baton among `workers`, passed in the order that `seed` gives.
    pub fn new(seed: u64, workers: usize) -> Baton {
        // Xorshift needs a state other than 0, and neighbouring seeds should differ in many bits.
        let random = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
        let state = State { random, holder: 0, gone: vec![false; workers], trace: Vec::new() };
        Baton { state: Mutex::new(state), passed: Condvar::new() }
    }

    /// Who took a turn, in order.
    pub fn trace(&self) -> Vec<u8> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).trace.clone()
    }

    fn await_turn(&self, worker: usize) -> std::sync::MutexGuard<'_, State> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        self.passed.wait_while(state, |s| s.holder != worker).unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn pass(&mut self) {
        if self.gone.iter().all(|gone| *gone) {
            return;
        }
        loop {
            self.random ^= self.random << 13;
            self.random ^= self.random >> 7;
            self.random ^= self.random << 17;
            let next = (self.random % self.gone.len() as u64) as usize;
            if !self.gone[next] {
                self.holder = next;
                return;
            }
        }
    }
}

impl Turns for Baton {
    fn take(&self, worker: usize, turn: &mut dyn FnMut()) {
        let mut state = self.await_turn(worker);
        state.trace.push(worker as u8);
        drop(state);
        turn();
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.pass();
        self.passed.notify_all();
    }

    fn parks(&self) -> bool {
        false
    }

    fn leave(&self, worker: usize) {
        let mut state = self.await_turn(worker);
        state.gone[worker] = true;
        state.pass();
        self.passed.notify_all();
    }
}
