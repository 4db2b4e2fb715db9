//! Requests to services. Making strings row by row would be the slowest part of every measurement, so there are
//! [`TEMPLATES`] blocks of values, made once each when first needed, and every block of rows repeats one of them,
//! chosen by the seed and the block's number. Only the event time is a row's own.

use super::source::{BLOCK_ROWS, Blocks};
use arrow::array::{ArrayRef, Float64Array, Int32Array, StringArray};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::sync::{Arc, OnceLock};

/// How many different blocks there are.
const TEMPLATES: u64 = 64;
const SERVICES: [(&str, f64); 8] = [
    ("api", 3.0),
    ("auth", 2.2),
    ("billing", 3.6),
    ("cart", 2.8),
    ("checkout", 4.0),
    ("inventory", 3.2),
    ("payments", 4.4),
    ("search", 3.4),
];
const REGIONS: [&str; 4] = ["ap-south", "eu-central", "eu-west", "us-east"];

pub(super) struct Telemetry {
    seed: u64,
    hosts: Vec<String>,
    templates: Vec<OnceLock<Template>>,
}

struct Template {
    host: ArrayRef,
    service: ArrayRef,
    region: ArrayRef,
    latency_ms: ArrayRef,
    status: ArrayRef,
}

impl Telemetry {
    pub(super) fn new(seed: u64, keys: u64) -> Telemetry {
        let hosts = (0..keys).map(|n| format!("host-{n:03}")).collect();
        Telemetry { seed, hosts, templates: (0..TEMPLATES).map(|_| OnceLock::new()).collect() }
    }

    fn template(&self, number: u64) -> Template {
        let mut rng = StdRng::seed_from_u64(self.seed.wrapping_mul(TEMPLATES).wrapping_add(number));
        let rows = BLOCK_ROWS as usize;
        let host: Vec<usize> = (0..rows).map(|_| rng.random_range(0..self.hosts.len())).collect();
        let service: Vec<usize> = (0..rows).map(|_| rng.random_range(0..SERVICES.len())).collect();
        let status: Vec<i32> = (0..rows).map(|_| status(rng.random())).collect();
        let latency_ms = service.iter().zip(&status).map(|(service, status)| {
            // The sum of uniform numbers is nearly normal; its exponential has the long tail that latencies have.
            let normal = (0..6).map(|_| rng.random::<f64>()).sum::<f64>() - 3.0;
            let slow = if *status >= 500 { 1.5 } else { 0.0 };
            ((SERVICES[*service].1 + slow + normal).exp() * 1_000.0).round() / 1_000.0
        });
        Template {
            // A host stays in its region.
            region: Arc::new(StringArray::from_iter_values(host.iter().map(|h| REGIONS[h % REGIONS.len()]))),
            latency_ms: Arc::new(Float64Array::from_iter_values(latency_ms)),
            host: Arc::new(StringArray::from_iter_values(host.iter().map(|h| &self.hosts[*h]))),
            service: Arc::new(StringArray::from_iter_values(service.iter().map(|s| SERVICES[*s].0))),
            status: Arc::new(Int32Array::from(status)),
        }
    }
}

fn status(chance: f64) -> i32 {
    match chance {
        c if c < 0.005 => 503,
        c if c < 0.015 => 500,
        c if c < 0.045 => 404,
        _ => 200,
    }
}

impl Blocks for Telemetry {
    fn columns(&self, block: u64, wanted: &[&str]) -> Vec<ArrayRef> {
        let number =
            StdRng::seed_from_u64(self.seed ^ block.wrapping_mul(0x9e37_79b9_7f4a_7c15)).random_range(0..TEMPLATES);
        let template = self.templates[number as usize].get_or_init(|| self.template(number));
        let column = |name: &&str| match *name {
            "host" => template.host.clone(),
            "service" => template.service.clone(),
            "region" => template.region.clone(),
            "latency_ms" => template.latency_ms.clone(),
            _ => template.status.clone(),
        };
        wanted.iter().map(column).collect()
    }
}
