//! Who may take a step when: in production everyone always, in a simulation one worker at a time, by seed.

/// Decides when a worker takes its next turn.
pub trait Turns: Send + Sync {
    /// Runs `turn` on behalf of `worker` when it is that worker's turn.
    fn take(&self, worker: usize, turn: &mut dyn FnMut());

    /// Whether a worker that has nothing to do may rest outside of its turns.
    fn parks(&self) -> bool {
        true
    }

    /// `worker` will take no more turns.
    fn leave(&self, worker: usize);
}

/// Everyone at any time.
pub struct Free;

impl Turns for Free {
    fn take(&self, _worker: usize, turn: &mut dyn FnMut()) {
        turn();
    }

    fn leave(&self, _worker: usize) {}
}
