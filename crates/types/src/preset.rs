use crate::time::Duration;
use crate::timers::Timers;
use core::ops::RangeInclusive;

/// A NAT as one provider or system runs it: the ports it has and its time-outs. How it picks NAT
/// IPs and ports is the engine's part of the same preset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum NatPreset {
    /// Azure Private Link Service (DP-1, DP-5, D-NGW).
    #[default]
    Azure,
    /// AWS PrivateLink before a Network Load Balancer (AWS-NLB, AWS-PL).
    AwsPrivateLink,
    /// AWS NAT gateway (AWS-NGW).
    AwsNatGateway,
    /// Google Cloud NAT, with static port allocation (GCP-PORTS, GCP-TIME).
    GcpCloudNat,
    /// Google Cloud NAT, with dynamic port allocation (GCP-PORTS, GCP-DPA, GCP-TIME).
    GcpCloudNatDynamic,
    /// Linux nf_nat 6.1 with an SNAT range (KERN).
    LinuxNfNat,
}

impl NatPreset {
    /// Every preset.
    pub const ALL: [Self; 6] = [
        Self::Azure,
        Self::AwsPrivateLink,
        Self::AwsNatGateway,
        Self::GcpCloudNat,
        Self::GcpCloudNatDynamic,
        Self::LinuxNfNat,
    ];

    /// Returns the name in scenario files.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Azure => "azure",
            Self::AwsPrivateLink => "aws-privatelink",
            Self::AwsNatGateway => "aws-nat-gateway",
            Self::GcpCloudNat => "gcp-cloud-nat",
            Self::GcpCloudNatDynamic => "gcp-cloud-nat-dynamic",
            Self::LinuxNfNat => "linux-nf-nat",
        }
    }

    /// Returns the ports of a NAT IP. AWS documents 55 000 for each destination, but not which of
    /// 1024..=65535 they are: the upper end is assumed.
    #[must_use]
    pub const fn ports(self) -> RangeInclusive<u16> {
        match self {
            Self::Azure | Self::GcpCloudNat | Self::GcpCloudNatDynamic | Self::LinuxNfNat => {
                1_024..=65_535
            }
            Self::AwsPrivateLink | Self::AwsNatGateway => 10_536..=65_535,
        }
    }

    /// Returns the time-outs. What a provider does not publish is taken from [`Timers::azure`].
    #[must_use]
    pub const fn timers(self) -> Timers {
        let azure = Timers::azure();
        match self {
            Self::Azure => azure,
            // 55 000 connections at once and also "per minute" (AWS-NLB, AWS-NGW): a port rests for
            // 60 s.
            Self::AwsNatGateway => Timers {
                established_idle: Duration::from_secs(350),
                half_closed_idle: Duration::from_secs(350),
                udp_idle: Duration::from_secs(350),
                hold_down_fin: Duration::from_secs(60),
                hold_down_rst: Duration::from_secs(60),
                ..azure
            },
            Self::AwsPrivateLink => Timers {
                udp_idle: Duration::from_secs(120),
                ..Self::AwsNatGateway.timers()
            },
            Self::GcpCloudNat | Self::GcpCloudNatDynamic => Timers {
                half_open: Duration::from_secs(30),
                established_idle: Duration::from_secs(1_200),
                half_closed_idle: Duration::from_secs(30),
                udp_idle: Duration::from_secs(30),
                hold_down_fin: Duration::from_secs(120),
                hold_down_rst: Duration::from_secs(30),
                ..azure
            },
            Self::LinuxNfNat => Timers::linux(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::NatPreset;
    use crate::time::Duration;

    #[test]
    fn every_preset_has_ports_and_no_timer_that_ends_a_flow_at_once() {
        for preset in NatPreset::ALL {
            assert_eq!(preset.timers().zero(), None, "{}", preset.name());
            assert!(preset.ports().len() >= 55_000);
        }
        assert_eq!(NatPreset::AwsNatGateway.ports().len(), 55_000);
    }

    /// AWS-NGW, AWS-NLB, AWS-PL.
    #[test]
    fn an_aws_port_that_is_used_once_a_minute_gives_55_000_connections_a_minute() {
        for (preset, udp) in [
            (NatPreset::AwsNatGateway, 350),
            (NatPreset::AwsPrivateLink, 120),
        ] {
            let timers = preset.timers();
            assert_eq!(timers.hold_down_fin, Duration::from_secs(60));
            assert_eq!(timers.hold_down_rst, Duration::from_secs(60));
            assert_eq!(timers.established_idle, Duration::from_secs(350));
            assert_eq!(timers.udp_idle, Duration::from_secs(udp));
        }
    }

    /// GCP-TIME, GCP-PORTS.
    #[test]
    fn google_has_the_times_and_ports_that_it_documents() {
        let preset = NatPreset::GcpCloudNat;
        assert_eq!(preset.ports().len(), 64_512);
        let timers = preset.timers();
        let transitory = [timers.half_open, timers.half_closed_idle, timers.udp_idle];
        assert_eq!(transitory, [Duration::from_secs(30); 3]);
        assert_eq!(timers.established_idle, Duration::from_secs(1_200));
        assert_eq!(timers.hold_down_fin, Duration::from_secs(120));
    }
}
