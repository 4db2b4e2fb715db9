//! Energy and embodied carbon of one answer of a large language model, by the method of EcoLogits 0.11.3 (MPL-2.0;
//! `impacts/llm.py`, methodology at ecologits.ai): a regression over served models, a batch of 64, servers of eight H100.
//!
//! An estimate, with a range where the maker does not tell the size of the model. Only output tokens count; reading the
//! prompt costs nothing in this method. Figures are for sanity, not for one request: published ones differ forty-fold.

use std::collections::BTreeMap;
use std::sync::OnceLock;

/// The method and the table of models, for the factor set of a row.
pub const VERSION: &str = "ecologits-0.11.3";

/// kWh a token and GPU: `(ALPHA * exp(BETA * batch) * active + GAMMA) / 1000`.
const ALPHA: f64 = 1.166_527_317_045_191_4e-6;
const BETA: f64 = -0.011_205_921_025_579_175;
const GAMMA: f64 = 4.052_928_146_734_005e-5;
/// Seconds a token: `LATENCY_ACTIVE * active + LATENCY_BATCH * batch + LATENCY`.
const LATENCY_ACTIVE: f64 = 0.000_678_508_809_435_366_3;
const LATENCY_BATCH: f64 = 0.000_311_931_031_168_825_9;
const LATENCY: f64 = 0.019_473_717_579_473_387;
/// Requests that a server answers at once.
const BATCH: f64 = 64.0;
/// Bits of a weight.
const BITS: f64 = 16.0;
/// Gigabytes of a GPU.
const GPU_MEMORY_GB: f64 = 80.0;
const GPU_EMBODIED_KG: f64 = 273.0;
const SERVER_GPUS: f64 = 8.0;
/// A server without its GPUs.
const SERVER_KW: f64 = 1.2;
const SERVER_EMBODIED_KG: f64 = 5_700.0;
/// Three years.
const LIFESPAN_S: f64 = 94_608_000.0;

/// How a model is served.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Served {
    /// Billions of parameters that take part in a token.
    pub active: f64,
    /// Billions of parameters.
    pub total: f64,
    /// Tokens a second, where it is known.
    pub tokens_per_second: Option<f64>,
    /// Seconds to the first token, where they are known.
    pub first_token_s: Option<f64>,
    /// Power usage effectiveness of the building.
    pub pue: f64,
}

/// What an answer takes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Answer {
    /// Seconds that it occupies its servers.
    pub seconds: f64,
    /// GPUs that hold the model.
    pub gpus: f64,
    /// kWh of one of them.
    pub gpu_kwh: f64,
    /// kWh of the servers without GPUs.
    pub server_kwh: f64,
    /// kWh altogether, at the building's door.
    pub kwh: f64,
    /// Embodied carbon of servers and GPUs, in kilograms.
    pub embodied_kg: f64,
}

impl Served {
    /// An answer of `tokens` that took `seconds`, if that was measured. A shorter measured time counts, a longer does not:
    /// the rest was waiting.
    pub fn answer(&self, tokens: f64, seconds: Option<f64>) -> Answer {
        let gpu_kwh = tokens * ((ALPHA * (BETA * BATCH).exp() * self.active + GAMMA) / 1_000.0);
        let each = match self.tokens_per_second {
            Some(speed) => 1.0 / speed,
            None => LATENCY_ACTIVE * self.active + LATENCY_BATCH * BATCH + LATENCY,
        };
        let generated = tokens * each + self.first_token_s.unwrap_or(0.0);
        let seconds = seconds.map_or(generated, |measured| measured.min(generated));
        let memory_gb = 1.2 * self.total * BITS / 8.0;
        let gpus = (memory_gb / GPU_MEMORY_GB).ceil().max(1.0).log2().ceil().exp2();
        let server_kwh = seconds / 3_600.0 * SERVER_KW * (gpus / SERVER_GPUS) * (1.0 / BATCH);
        let embodied = gpus / SERVER_GPUS * SERVER_EMBODIED_KG + gpus * GPU_EMBODIED_KG;
        Answer {
            seconds,
            gpus,
            gpu_kwh,
            server_kwh,
            kwh: self.pue * (server_kwh + gpus * gpu_kwh),
            embodied_kg: seconds * embodied / (LIFESPAN_S * BATCH),
        }
    }
}

/// A model of the table: at its least and at its most.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Model {
    /// The smallest that it may be.
    pub low: Served,
    /// The largest that it may be.
    pub high: Served,
}

/// The model of that name, as its maker's interface calls it (a provider may stand before it: `openai/gpt-5`). `None` for
/// one that is not in the table: nothing is known of it.
pub fn model(name: &str) -> Option<&'static Model> {
    static MODELS: OnceLock<BTreeMap<&'static str, Model>> = OnceLock::new();
    let models = MODELS.get_or_init(|| include_str!("llm_models.csv").lines().filter_map(read).collect());
    models.get(name).or_else(|| models.get(name.rsplit_once('/')?.1))
}

/// A line of the table; comments and the header have no numbers where a model has them.
fn read(line: &'static str) -> Option<(&'static str, Model)> {
    let fields: Vec<&str> = line.split(',').collect();
    let number = |at: usize| fields.get(at)?.parse::<f64>().ok();
    let served = |active: usize, total: usize, pue: usize| {
        Some(Served {
            active: number(active)?,
            total: number(total)?,
            tokens_per_second: number(6),
            first_token_s: number(7),
            pue: number(pue)?,
        })
    };
    let name = fields.get(1)?;
    Some((*name, Model { low: served(2, 4, 8)?, high: served(3, 5, 9)? }))
}

/// Every model of the table that can be read, for the test that none is lost.
#[cfg(test)]
pub(super) fn readable() -> usize {
    include_str!("llm_models.csv").lines().filter_map(read).count()
}
