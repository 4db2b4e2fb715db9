//! Events of AI agents: sessions that begin, call models and tools, fail now and then, and end. Each block is made
//! from a random generator of its own, so that a row depends on the seed and its number alone.

use super::source::{BLOCK_ROWS, Blocks};
use arrow::array::{ArrayRef, BooleanArray, Float64Array, Int64Array, StringArray};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::sync::Arc;

/// Events of a session, on average.
const SESSION_EVENTS: u64 = 40;
const AGENTS: [&str; 6] = ["coder", "planner", "researcher", "reviewer", "support", "tester"];
/// Models with what a million input and output tokens cost, in US dollars.
const MODELS: [(&str, f64, f64); 4] =
    [("large-2", 5.0, 25.0), ("medium-2", 2.0, 10.0), ("small-2", 0.5, 2.0), ("tiny-1", 0.1, 0.4)];
const TOOLS: [&str; 7] = ["browser", "calculator", "code_search", "database", "editor", "shell", "web_search"];

pub(super) struct Agents {
    seed: u64,
    sessions: u64,
}

impl Agents {
    pub(super) fn new(seed: u64, keys: u64) -> Agents {
        Agents { seed, sessions: keys }
    }

    fn events(&self, block: u64) -> Vec<Event> {
        let mut rng = StdRng::seed_from_u64(self.seed ^ block.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let first = block * BLOCK_ROWS;
        (first..first + BLOCK_ROWS).map(|row| self.event(row, &mut rng)).collect()
    }

    fn event(&self, row: u64, rng: &mut StdRng) -> Event {
        let slot = rng.random_range(0..self.sessions);
        // A slot's sessions follow each other; they change at different times from slot to slot.
        let lifetime = self.sessions * SESSION_EVENTS;
        let generation = (row + slot * SESSION_EVENTS) / lifetime;
        let session = generation.wrapping_mul(self.sessions).wrapping_add(slot);
        let model = MODELS[(session % 7 % 4) as usize];
        let mut event = Event {
            session_id: format!("s{session:08}"),
            agent: AGENTS[(session % 6) as usize],
            model: model.0,
            event_type: "message",
            tool: None,
            tokens: None,
            duration_ms: None,
            cost_usd: None,
            ok: rng.random::<f64>() >= 0.02,
        };
        match rng.random_range(0..100) {
            0..55 => {
                let tokens = (rng.random_range(200..12_000), rng.random_range(20..1_500));
                event.event_type = "llm_call";
                event.tokens = Some(tokens);
                event.duration_ms = Some(200.0 + tokens.1 as f64 * rng.random_range(8.0..20.0));
                event.cost_usd = Some((tokens.0 as f64 * model.1 + tokens.1 as f64 * model.2) / 1e6);
            }
            55..90 => {
                event.event_type = "tool_call";
                event.tool = Some(TOOLS[rng.random_range(0..TOOLS.len())]);
                event.duration_ms = Some((rng.random_range(0.0f64..8.0)).exp());
            }
            _ => {}
        }
        event
    }
}

struct Event {
    session_id: String,
    agent: &'static str,
    model: &'static str,
    event_type: &'static str,
    tool: Option<&'static str>,
    tokens: Option<(i64, i64)>,
    duration_ms: Option<f64>,
    cost_usd: Option<f64>,
    ok: bool,
}

impl Blocks for Agents {
    fn columns(&self, block: u64, wanted: &[&str]) -> Vec<ArrayRef> {
        let events = self.events(block);
        let text =
            |of: fn(&Event) -> Option<&str>| -> ArrayRef { Arc::new(StringArray::from_iter(events.iter().map(of))) };
        let count =
            |of: fn(&Event) -> Option<i64>| -> ArrayRef { Arc::new(Int64Array::from_iter(events.iter().map(of))) };
        let number =
            |of: fn(&Event) -> Option<f64>| -> ArrayRef { Arc::new(Float64Array::from_iter(events.iter().map(of))) };
        let column = |name: &&str| match *name {
            "session_id" => text(|e| Some(&e.session_id)),
            "agent" => text(|e| Some(e.agent)),
            "model" => text(|e| Some(e.model)),
            "event_type" => text(|e| Some(e.event_type)),
            "tool" => text(|e| e.tool),
            "input_tokens" => count(|e| e.tokens.map(|t| t.0)),
            "output_tokens" => count(|e| e.tokens.map(|t| t.1)),
            "duration_ms" => number(|e| e.duration_ms),
            "cost_usd" => number(|e| e.cost_usd),
            _ => Arc::new(BooleanArray::from_iter(events.iter().map(|e| Some(e.ok)))),
        };
        wanted.iter().map(column).collect()
    }
}
