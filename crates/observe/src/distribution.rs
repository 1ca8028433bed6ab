//! How evenly flows were spread, and which moved when pools changed.

use plsim_types::{Instant, Protocol};
use serde_json::Value;

use crate::summary::object;

/// Over what flows are spread.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Over {
    /// The backend VMs of a service.
    Backends,
    /// The NAT IPs of a service.
    NatIps,
}

/// How evenly the flows of one service and protocol were spread: NAT bindings that were made.
///
/// Everything follows from [`shares`](Self::shares) in integers; fractions are in thousandths.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SkewSummary {
    /// The Private Link Service.
    pub pls: String,
    /// TCP or UDP.
    pub protocol: Protocol,
    /// Over what.
    pub over: Over,
    /// The flows of each place, by its name.
    pub shares: Vec<(String, u64)>,
}

/// A change of the backends that some rules choose among, or of the way they choose.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MembershipSummary {
    /// The load balancer.
    pub load_balancer: String,
    /// The pool.
    pub backend_pool: String,
    /// When.
    pub at: Instant,
    /// Why: backend, probe, stopped, admin-state, added, removed, draining, drained, rule or nat-ip.
    pub cause: &'static str,
    /// The backend VM that changed.
    pub backend: Option<String>,
    /// The rule that changed.
    pub rule: Option<String>,
    /// The backends that may be chosen since.
    pub eligible: u16,
    /// Established TCP connections that stayed on the backend although it may not be chosen any more;
    /// none on a VM that is not running.
    pub kept: u32,
    /// Established TCP connections that the load balancer reset.
    pub reset: u32,
    /// UDP flows whose next datagram went to another backend than the one before.
    pub moved: u64,
}

impl Over {
    /// Returns the stable kebab-case name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Backends => "backends",
            Self::NatIps => "nat-ips",
        }
    }
}

impl SkewSummary {
    /// Returns the number of flows.
    #[must_use]
    pub fn flows(&self) -> u64 {
        self.shares.iter().map(|(_, flows)| flows).sum()
    }

    /// Returns the most flows of one place.
    #[must_use]
    pub fn most(&self) -> u64 {
        let flows = self.shares.iter().map(|(_, flows)| *flows);
        flows.max().unwrap_or(0)
    }

    /// Returns the fewest flows of one place.
    #[must_use]
    pub fn fewest(&self) -> u64 {
        let flows = self.shares.iter().map(|(_, flows)| *flows);
        flows.min().unwrap_or(0)
    }

    /// Returns the most flows of one place over the mean, in thousandths; 1000 is even, and what no
    /// flow at all gives.
    #[must_use]
    pub fn max_over_mean(&self) -> u64 {
        let most = u128::from(self.most()) * self.shares.len() as u128 * 1_000;
        let flows = u128::from(self.flows());
        most.checked_div(flows).map_or(1_000, saturated)
    }

    /// Returns χ² against equal shares, in thousandths: about [`degrees`](Self::degrees) if chance
    /// alone spreads the flows.
    #[must_use]
    pub fn chi_square(&self) -> u64 {
        let squares = self
            .shares
            .iter()
            .map(|(_, flows)| u128::from(*flows).pow(2));
        let flows = u128::from(self.flows());
        let scaled =
            (squares.sum::<u128>() * self.shares.len() as u128).saturating_sub(flows.pow(2));
        (scaled * 1_000).checked_div(flows).map_or(0, saturated)
    }

    /// Returns the degrees of freedom of [`chi_square`](Self::chi_square).
    #[must_use]
    pub const fn degrees(&self) -> usize {
        self.shares.len().saturating_sub(1)
    }

    pub(crate) fn to_value(&self) -> Value {
        let share = |(name, flows): &(String, u64)| {
            object([("name", name.as_str().into()), ("flows", (*flows).into())])
        };
        object([
            ("pls", self.pls.as_str().into()),
            ("protocol", self.protocol.name().into()),
            ("over", self.over.name().into()),
            ("flows", self.flows().into()),
            ("most", self.most().into()),
            ("fewest", self.fewest().into()),
            ("max_over_mean", decimal(self.max_over_mean())),
            ("chi_square", decimal(self.chi_square())),
            ("degrees_of_freedom", self.degrees().into()),
            ("shares", self.shares.iter().map(share).collect()),
        ])
    }
}

impl MembershipSummary {
    pub(crate) fn to_value(&self) -> Value {
        object([
            ("load_balancer", self.load_balancer.as_str().into()),
            ("backend_pool", self.backend_pool.as_str().into()),
            ("at_ns", self.at.as_nanos().into()),
            ("cause", self.cause.into()),
            ("backend", self.backend.as_deref().into()),
            ("rule", self.rule.as_deref().into()),
            ("eligible", self.eligible.into()),
            ("kept", self.kept.into()),
            ("reset", self.reset.into()),
            ("moved", self.moved.into()),
        ])
    }
}

/// Writes thousandths as a decimal: one correctly rounded division, equal on every machine.
#[expect(clippy::cast_precision_loss, reason = "three digits after the point")]
fn decimal(thousandths: u64) -> Value {
    (thousandths as f64 / 1_000.0).into()
}

fn saturated(number: u128) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::{Over, SkewSummary};
    use plsim_types::Protocol;

    fn skew(flows: &[u64]) -> SkewSummary {
        SkewSummary {
            pls: "service".to_owned(),
            protocol: Protocol::Tcp,
            over: Over::Backends,
            shares: flows
                .iter()
                .map(|flows| ("vm".to_owned(), *flows))
                .collect(),
        }
    }

    #[test]
    fn chi_square_is_the_sum_of_squared_deviations_over_the_mean() {
        // (10 - 20)² / 20 + (20 - 20)² / 20 + (30 - 20)² / 20 = 10.
        let uneven = skew(&[10, 20, 30]);
        assert_eq!((uneven.chi_square(), uneven.degrees()), (10_000, 2));
        assert_eq!(uneven.max_over_mean(), 1_500);
        assert_eq!(
            (uneven.flows(), uneven.most(), uneven.fewest()),
            (60, 30, 10)
        );
        // 1/3 + 1/3 + 4/3 = 2, with a mean of 3.
        assert_eq!(skew(&[2, 2, 5]).chi_square(), 2_000);
    }

    #[test]
    fn even_shares_and_no_flow_at_all_are_even() {
        for flows in [[7, 7, 7, 7], [0; 4]] {
            let even = skew(&flows);
            assert_eq!((even.chi_square(), even.max_over_mean()), (0, 1_000));
        }
    }
}
