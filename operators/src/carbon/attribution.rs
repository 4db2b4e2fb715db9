//! A node's energy divided among what runs on it. The sum of all shares and of what is left over is the node's energy,
//! always: who divides says where idle energy goes, and what nobody is charged for has a name.
//!
//! Active energy follows use, as in Kepler's model (`active = energy * cpu_usage_ratio`, shared by CPU time); idle energy
//! follows the policy. The SCI standard counts what was reserved, which `by_request` does.

/// Where the energy of a node goes that it would use doing nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IdlePolicy {
    /// It stays with the node (Kepler).
    NodeOnly,
    /// As the use is.
    ByUsage,
    /// As capacity was requested; what nobody requested is left over.
    ByRequest,
    /// The same for each workload.
    Equal,
}

impl IdlePolicy {
    /// The policy of that name: `node_only`, `by_usage`, `by_request` or `equal`.
    pub fn named(name: &str) -> Option<IdlePolicy> {
        Some(match name {
            "node_only" => IdlePolicy::NodeOnly,
            "by_usage" => IdlePolicy::ByUsage,
            "by_request" => IdlePolicy::ByRequest,
            "equal" => IdlePolicy::Equal,
            _ => return None,
        })
    }
}

/// What is divided.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Node {
    /// Energy that work caused.
    pub active: f64,
    /// Energy of doing nothing.
    pub idle: f64,
    /// Use of the node by all that ran, the system's own among it (CPU seconds).
    pub usage: f64,
    /// What all workloads requested together.
    pub requested: f64,
    /// What there is to request.
    pub capacity: f64,
    /// How many workloads there are.
    pub workloads: f64,
}

impl Node {
    /// The node with `energy` of which the share `usage_ratio` was active.
    pub fn split(energy: f64, usage_ratio: f64) -> Option<(f64, f64)> {
        let valid = energy.is_finite() && energy >= 0.0 && (0.0..=1.0).contains(&usage_ratio);
        valid.then_some((energy * usage_ratio, energy - energy * usage_ratio))
    }

    /// The energy of a workload that used `usage` and requested `request`, in the unit of the node's. Where nothing was
    /// used, nobody is charged for use; where more was requested than there is, requests are scaled down.
    pub fn share(&self, policy: IdlePolicy, usage: f64, request: f64) -> f64 {
        let part = |amount: f64, of: f64, whole: f64| if whole > 0.0 { amount * of / whole } else { 0.0 };
        let idle = match policy {
            IdlePolicy::NodeOnly => 0.0,
            IdlePolicy::ByUsage => part(self.idle, usage, self.usage),
            IdlePolicy::ByRequest => part(self.idle, request, self.capacity.max(self.requested)),
            IdlePolicy::Equal => part(self.idle, 1.0, self.workloads),
        };
        part(self.active, usage, self.usage) + idle
    }

    /// What is left over by the shares of `workloads`, each with its use and request.
    pub fn unallocated(&self, policy: IdlePolicy, workloads: &[(f64, f64)]) -> f64 {
        let shares: f64 = workloads.iter().map(|(usage, request)| self.share(policy, *usage, *request)).sum();
        self.active + self.idle - shares
    }
}
