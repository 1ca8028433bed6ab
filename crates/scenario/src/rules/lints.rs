use crate::diagnostic::Severity;

/// A numbered rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lint {
    /// The number, as in `PL032`.
    pub code: &'static str,
    /// Whether a scenario that breaks it can still run.
    pub severity: Severity,
    /// The fact it rests on (docs/sources.md), if it is not plain logic.
    pub source: Option<&'static str>,
    /// The rule in one line.
    pub summary: &'static str,
}

/// Declares the rules and the list of them.
macro_rules! lints {
    ($($code:ident $severity:ident $source:expr, $summary:literal;)+) => {
        $(
            #[doc = $summary]
            pub(crate) const $code: &Lint = &Lint {
                code: stringify!($code),
                severity: Severity::$severity,
                source: $source,
                summary: $summary,
            };
        )+

        /// Returns all numbered rules in order.
        #[must_use]
        pub const fn lints() -> &'static [&'static Lint] {
            &[$($code),+]
        }
    };
}

lints! {
    PL001 Error None, "names are unique among their kind";
    PL002 Error None, "what is named exists";
    PL003 Error None, "the run, its records and its groups stay within the limits of size";
    PL004 Error None, "the memory that the run is estimated to need stays within its limit";
    PL010 Error None, "the prefixes of one virtual network do not overlap";
    PL011 Error None, "a subnet lies inside the address space of its virtual network";
    PL012 Error None, "the subnets of one virtual network do not overlap";
    PL013 Error Some("TF"), "a subnet is /2 to /29";
    PL014 Error None, "an address lies inside its subnet";
    PL015 Error Some("TF"), "Azure reserves the first four addresses and the last of a subnet";
    PL016 Error None, "an address is used once in a virtual network";
    PL017 Error None, "a group of several machines has no static address";
    PL018 Error None, "a subnet has an address for everything in it";
    PL020 Error None, "a peering joins two different virtual networks, once";
    PL021 Error Some("PE-5"), "a peering stays in one region";
    PL022 Error None, "peered virtual networks do not overlap";
    PL023 Error None, "the latency between two regions is given once, and for two regions";
    PL024 Error Some("PLS-28"), "the latency to a service in another region is given";
    PL030 Error Some("PLS-4"), "a Private Link Service has 1 to 8 NAT IPs, static or dynamic";
    PL031 Error Some("PLS-24"), "the NAT subnet has its network policies disabled";
    PL032 Error Some("PLS-17"), "NAT subnet, frontend and backends are in one virtual network";
    PL033 Error Some("PLS-19"), "a frontend carries one Private Link Service";
    PL034 Error Some("PLS-19"), "a load balancer carries at most 8 Private Link Services";
    PL035 Warning Some("PLS-3"), "the NAT subnet has 8 free addresses or more";
    PL036 Error Some("D-NGW"), "NAT ports begin at 1024, unless low ports are to be preserved";
    PL037 Error None, "timers are above zero";
    PL038 Error Some("D-LIM"), "a Private Link Service has at most 1000 private endpoints";
    PL039 Error Some("PP-4"), "link ids are unique";
    PL040 Error None, "a load balancer's rule matches what no other rule matches";
    PL041 Warning None, "a backend pool that a rule feeds has members";
    PL042 Error None, "a machine is in a backend pool once";
    PL043 Warning Some("D-VMF"), "the flow limit of a VM lets all NAT ports be used; the default one nearly all";
    PL044 Error Some("I#94673"), "two rules do not share pool, protocol and backend port";
    PL045 Error Some("RFC 7422"), "port blocks fit the ports, and only block allocation has them";
    PL046 Error None, "held-down ports are reused only where every free port is found";
    PL047 Error Some("D-LBLIM"), "a rule for all ports has port 0, and is alone on its frontend";
    PL048 Error Some("X9"), "the idle timeout of a rule is 4 to 100 minutes";
    PL049 Warning Some("X9"), "the idle timeout of a rule is one that all documents allow";
    PL050 Error Some("PE-5"), "clients reach their private endpoint directly or over one peering";
    PL051 Warning Some("DP-7"), "a rule takes the port of a workload";
    PL052 Error None, "a workload has what its arrivals need, and nothing else";
    PL053 Error None, "a workload starts at most 100 million connections";
    PL054 Error None, "a workload has only keys of its protocol";
    PL055 Error None, "a workload starts within the run";
    PL056 Error None, "requests and responses have a size that can be sent";
    PL057 Warning Some("DP-5"), "keepalives come before the idle timeouts";
    PL058 Warning None, "an abandoned connection has neither hold nor keepalive";
    PL059 Warning None, "connections of a file start within the run";
    PL060 Error None, "an event happens within the run";
    PL061 Error None, "an event has the keys of its action";
    PL062 Error Some("PLS-13"), "a deleted connection cannot be approved or rejected";
    PL063 Warning Some("D-RST20"), "only rules of TCP have an idle timeout and TCP reset";
    PL064 Error Some("D-RST20"), "a rule of all ports has no TCP reset";
    PL065 Warning Some("PE-1"), "a private endpoint with traffic is approved at some time";
    PL066 Error None, "a workload has one group of VMs that starts it, and destinations of one kind";
    PL067 Error Some("D-CON"), "a frontend is reached from its virtual network or a peered one";
    PL068 Warning Some("D-CON"), "a VM does not reach itself through its own frontend";
    PL069 Warning Some("PP-8"), "backends that want PROXY headers have no clients without them";
    PL070 Error None, "an expectation says one thing, with values that can be compared";
    PL071 Warning None, "what is to happen has time to show within the run";
    PL072 Warning None, "a run has traffic";
    PL080 Error Some("PP-9"), "the services of a load balancer agree about the PROXY protocol";
    PL081 Warning Some("PP-8"), "backends understand how their connections begin";
    PL082 Warning Some("PP-1"), "a service with PROXY protocol carries TCP";
    PL083 Error None, "a service with PROXY protocol does not forward fragments";
    PL084 Error None, "only PROXY headers have a destination";
    PL090 Error Some("PLS-1"), "a Private Link Service needs a Standard load balancer";
    PL091 Error Some("PLS-23"), "a backend pool is configured by NIC";
    PL092 Error Some("MAG"), "a Maglev table has a prime number of places, one for each backend";
    PL093 Warning Some("MAG"), "a Maglev table has 100 places for each backend";
    PL094 Error Some("I#119294"), "a weak hash is taken modulo the number of backends";
    PL095 Warning Some("D-DIST"), "as many addresses are hashed as there are backends";
    PL096 Error None, "a drain period is above zero";
    PL097 Error Some("D-LBLIM"), "at most 300 rules lead to a NIC";
    PL098 Error None, "a backend VM is in the pool that an event takes it from, and in no other";
    PL099 Warning None, "a drain is over before the run is, and before its VM fails";
    PL100 Error Some("D-PRB23"), "a probe asks every 5 s at most";
    PL101 Error Some("D-PRB23"), "an HTTP probe leaves the ports of other protocols alone";
    PL102 Error None, "a probe has the keys of its protocol, and a path that can be asked for";
    PL103 Error Some("D-PRB18"), "the number of probes is 2 or more, and they take 120 s at most";
    PL104 Warning Some("D-PRB23"), "results in a row are counted by the key that the preset looks at";
    PL105 Warning None, "a probe is named by a rule";
    PL106 Error None, "a flapping VM is running, and takes its time up and down";
    PL107 Warning Some("D-ADM"), "an admin state goes with rules that have a probe";
    PL108 Warning Some("D-PRB23"), "a VM that fails is asked by a probe";
    PL109 Warning Some("D-PRB23"), "a VM that gets slow is slower than a probe waits";
    PL110 Error None, "the NAT of a backend VM has at most 256 NAT IPs, of 255 services";
    PL120 Error None, "the queue of a link has room for a packet";
    PL121 Error None, "a link loses packets in one way, and its bursts end";
    PL122 Error None, "jitter is no more than the latency it varies";
    PL123 Error None, "outages of a link follow each other, within the run";
    PL130 Error None, "a workload has what its model needs, and only what means something to it";
    PL131 Error None, "what a pool and its tests may do fits together";
    PL132 Error None, "a client tries again after waits that grow";
    PL133 Warning Some("DP-5"), "connections are not meant to rest for longer than the network lets them";
    PL140 Error None, "buffers of 1 KiB to 16 MiB belong to the full TCP";
    PL141 Error None, "the full TCP measures its retransmission timeout";
    PL142 Warning None, "nothing leaves an old connection behind at a full TCP, which has no challenge ACK";
    PL150 Error None, "a workload lists each destination once";
    PL151 Error None, "a skew fits the destinations that it is over";
    PL160 Warning Some("GCP-DPA"), "Google's Cloud NAT reserves ports in powers of two, up to 65 536 for a VM";
    PL190 Error None, "a capture has room for all capture points";
    PL195 Warning None, "answers by ICMP have a rate where there are any";
    PL200 Warning None, "SYN cookies are for machines that have a backlog";
    PL201 Error None, "an expectation is about an instant of the run";
    PL202 Warning None, "what is said of a capture is said where there is one";
}

#[cfg(test)]
mod tests {
    use super::lints;

    #[test]
    fn rules_are_numbered_in_order_without_repetition() {
        assert!(lints().is_sorted_by(|one, next| one.code < next.code));
    }
}
