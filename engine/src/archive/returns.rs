//! Letters on their way back to their source: handed over in groups, taken in by a worker, answered for.

use super::letter::Returned;
use crate::ledger::lock;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

/// How many groups may wait for the worker: the rest stays on disk.
const GROUPS_MAX: usize = 8;

/// The groups that wait for one source.
#[derive(Default)]
pub(crate) struct Returns {
    groups: Mutex<VecDeque<Group>>,
    any: AtomicBool,
    moved: Condvar,
}

/// Letters that are decoded at once.
pub(crate) struct Group {
    pub letters: Vec<Returned>,
    pub ticket: Arc<Ticket>,
}

/// What became of the letters of one request.
#[derive(Default)]
pub(crate) struct Ticket {
    /// How many were taken in.
    pub taken: AtomicU64,
    /// How many of them are letters again.
    pub dead: AtomicU64,
    /// The last epoch in which any was taken in.
    pub epoch: AtomicU64,
}

impl Returns {
    /// Hands a group over when there is room; false if `give_up` said so first.
    pub fn put(&self, group: Group, give_up: impl Fn() -> bool) -> bool {
        let mut groups = lock(&self.groups);
        while groups.len() >= GROUPS_MAX {
            if give_up() {
                return false;
            }
            groups =
                self.moved.wait_timeout(groups, Duration::from_millis(100)).unwrap_or_else(PoisonError::into_inner).0;
        }
        groups.push_back(group);
        self.any.store(true, Ordering::Release);
        true
    }

    /// The next group.
    pub fn next(&self) -> Option<Group> {
        if !self.any.load(Ordering::Acquire) {
            return None;
        }
        let mut groups = lock(&self.groups);
        let group = groups.pop_front();
        self.any.store(!groups.is_empty(), Ordering::Release);
        self.moved.notify_all();
        group
    }

    /// A group was taken in: whoever waits for it may look.
    pub fn taken(&self) {
        self.moved.notify_all();
    }

    /// Waits until `ticket` has `letters` taken in; false if `give_up` said so first.
    pub fn wait_for(&self, ticket: &Ticket, letters: u64, give_up: impl Fn() -> bool) -> bool {
        let mut groups = lock(&self.groups);
        while ticket.taken.load(Ordering::Acquire) < letters {
            if give_up() {
                return false;
            }
            groups =
                self.moved.wait_timeout(groups, Duration::from_millis(20)).unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }
}
