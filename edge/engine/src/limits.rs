//! What one decision and one load may ask for.

use selvedge_format::request::RequestLimits;

/// Bounds on input sizes and on work. All are counts, never times: a clock inside a decision would give other answers
/// on other machines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Largest bundle or shared state in bytes.
    pub bundle_bytes: usize,
    /// Largest request in bytes, user state included.
    pub request_bytes: usize,
    /// Largest user state in bytes.
    pub state_bytes: usize,
    /// Most candidates that are ranked; a request with more keeps its order.
    pub candidates: usize,
    /// Most cost units of a decision. A unit is one feature value computed (more for those that search among many
    /// events or words), or eight tree tests, linear terms or comparisons for a slot made, for one candidate: about two
    /// nanoseconds. Of a cascade, stages that would exceed it are left out; without the first, the request keeps its order.
    pub cost: u64,
}

impl Default for Limits {
    /// 64 MiB bundles, 4 MiB requests, 256 KiB states, 2,000 candidates, 10 million units (some 20 ms).
    fn default() -> Self {
        Self {
            bundle_bytes: 64 << 20,
            request_bytes: 4 << 20,
            state_bytes: 256 << 10,
            candidates: 2_000,
            cost: 10_000_000,
        }
    }
}

impl Limits {
    pub(crate) const fn request(&self) -> RequestLimits {
        RequestLimits { bytes: self.request_bytes, state_bytes: self.state_bytes }
    }
}
