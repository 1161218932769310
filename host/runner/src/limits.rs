//! How much one call may take.

/// Bounds on one instance. Above them a call traps; they are there for bugs and hostile modules, and a healthy decision
/// stays far below (the engine's own limits refuse large requests first, with a decision that says so).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RunnerLimits {
    /// Fuel of one decision, feature computation or scoring. A unit is about one WebAssembly instruction.
    pub fuel_per_decision: u64,
    /// Fuel of loading one bundle or shared state.
    pub fuel_per_load: u64,
    /// Largest linear memory of the guest in bytes. Bundle, shared state and working memory live there.
    pub memory_bytes: usize,
}

impl Default for RunnerLimits {
    /// 1,000 million units per decision (under a second; the largest decision that the engine's limits allow takes a tenth),
    /// 20,000 million per load (validating 64 MiB takes a quarter), 512 MiB of memory.
    fn default() -> Self {
        Self { fuel_per_decision: 1_000_000_000, fuel_per_load: 20_000_000_000, memory_bytes: 512 << 20 }
    }
}
