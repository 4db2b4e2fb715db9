//! The memory budget: what a run holds is added up, and the sources are held back while it is too much.
//!
//! Holding back is the one answer that loses nothing and that a restart repeats: which rows a run takes in is in the epoch
//! log, what it would have dropped for want of room could not be computed again. State that only grows holds the sources
//! until there is more room; everything goes on answering, and says what holds the memory.

use crate::ledger::{Ledger, lock};
use crate::status::MemoryStatus;
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// The shares of the budget, in percent, at which sources are held and let go again: of what is added up, and of what the
/// process takes. Writing a checkpoint or growing a table takes room besides what is added up.
const HELD_AT: (u64, u64) = (50, 80);
const LET_GO_AT: (u64, u64) = (45, 75);
/// What the process takes only counts when this much of the budget is known to be state or queues: an allocator does not
/// give back all that was freed.
const KNOWN_MIN: u64 = 25;
/// Every so many looks the memory of the process is read.
const READ_EVERY: u64 = 16;
/// The share of the budget that rows on their way may take, in percent.
const IN_FLIGHT_MAX: u64 = 12;

/// The budget of a run.
pub(crate) struct Memory {
    /// In bytes; `None`: there is none.
    budget: Option<u64>,
    /// The bytes of rows that were taken in and whose epochs are not complete.
    in_flight: AtomicU64,
    resident: AtomicU64,
    looks: AtomicU64,
    held: AtomicBool,
    /// How often the sources were held.
    holds: AtomicU64,
    reason: Mutex<Option<String>>,
}

/// What is added up, in bytes.
#[derive(Clone, Copy, Default)]
pub(crate) struct Held {
    pub operators: u64,
    pub views: u64,
    /// Rows on their way to sinks and archives.
    pub queues: u64,
}

impl Memory {
    pub fn new(budget: Option<u64>) -> Memory {
        Memory {
            budget,
            in_flight: AtomicU64::new(0),
            resident: AtomicU64::new(0),
            looks: AtomicU64::new(0),
            held: AtomicBool::new(false),
            holds: AtomicU64::new(0),
            reason: Mutex::default(),
        }
    }

    /// Rows were taken in.
    pub fn entered(&self, bytes: u64) {
        self.in_flight.fetch_add(bytes, Ordering::AcqRel);
    }

    /// Rows have come to where they were going.
    pub fn left(&self, bytes: u64) {
        self.in_flight.fetch_sub(bytes, Ordering::AcqRel);
    }

    /// Whether the rows on their way must become less before more are taken in.
    pub fn is_crowded(&self) -> bool {
        self.budget.is_some_and(|budget| self.in_flight.load(Ordering::Acquire) > budget / 100 * IN_FLIGHT_MAX)
    }

    /// Whether the sources are to be held back, by what `held` adds up.
    pub fn is_over(&self, ledger: &Ledger, held: impl FnOnce() -> Held) -> bool {
        let Some(budget) = self.budget else { return false };
        if !self.looks.fetch_add(1, Ordering::AcqRel).is_multiple_of(READ_EVERY) {
            return self.held.load(Ordering::Acquire);
        }
        let Held { operators, views, queues } = held();
        let known = operators + views + queues + self.in_flight.load(Ordering::Acquire);
        let resident = resident_bytes().unwrap_or(known);
        self.resident.store(resident, Ordering::Release);
        let before = self.held.load(Ordering::Acquire);
        let (known_max, resident_max) = if before { LET_GO_AT } else { HELD_AT };
        let part = |percent: u64| budget / 100 * percent;
        let over = known > part(known_max) || (resident > part(resident_max) && known > part(KNOWN_MIN));
        if over != before {
            self.held.store(over, Ordering::Release);
            *lock(&self.reason) = over.then(|| self.hold(known, resident, budget, ledger));
            if !over {
                tracing::warn!("there is memory again: the sources go on");
            }
        }
        over
    }

    /// Says that the sources are held, and by what.
    fn hold(&self, known: u64, resident: u64, budget: u64, ledger: &Ledger) -> String {
        self.holds.fetch_add(1, Ordering::AcqRel);
        let reason = format!(
            "held back: state and queues take {} MB, the process {} MB, of a memory budget of {} MB; most is in {}",
            known >> 20,
            resident >> 20,
            budget >> 20,
            largest(ledger)
        );
        tracing::warn!(
            "the sources are {reason}. Nothing is lost: run again with more --memory, or change what keeps so much state \
             (shorter windows, fewer keys)"
        );
        reason
    }

    pub fn status(&self, held: Held) -> MemoryStatus {
        let Held { operators, views, queues } = held;
        MemoryStatus {
            budget: self.budget,
            resident: resident_bytes().unwrap_or_default(),
            operators,
            views,
            queues: queues + self.in_flight.load(Ordering::Acquire),
            holds: self.holds.load(Ordering::Acquire),
            held: lock(&self.reason).clone(),
        }
    }
}

/// The operators that hold the most, for people.
fn largest(ledger: &Ledger) -> String {
    let mut held: BTreeMap<(String, String), (u64, u64)> = BTreeMap::new();
    for (view, operator, _, meter) in lock(&ledger.operators).iter() {
        let (rows, bytes) = held.entry((view.clone(), operator.clone())).or_default();
        *rows += meter.state_rows.load(Ordering::Relaxed);
        *bytes += meter.state_bytes.load(Ordering::Relaxed);
    }
    let mut held: Vec<_> = held.into_iter().collect();
    held.sort_by_key(|(_, (_, bytes))| std::cmp::Reverse(*bytes));
    let say = |((view, operator), (rows, bytes)): &((String, String), (u64, u64))| {
        format!("view \"{view}\", {operator}: {} MB for {rows} rows", bytes >> 20)
    };
    held.iter().take(2).map(say).collect::<Vec<_>>().join("; ")
}

/// What the process takes of the machine's memory; `None` where the system does not say.
fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kilobytes << 10)
}
