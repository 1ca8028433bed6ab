use super::Rules;
use super::lints::{PL003, PL037, PL061, PL120, PL121, PL122, PL123};
use crate::model::{Action, Event, JitterDistribution, LinkName, LinkSettings};

/// The bytes of the largest packet that hosts send: a queue below it holds none that must wait.
const LARGEST_PACKET: u64 = 1_500;

/// What can change about a link.
pub(super) const LINK_CHANGES: [&str; 11] = [
    "latency",
    "bandwidth",
    "queue_limit",
    "loss",
    "gemodel",
    "duplicate",
    "corrupt",
    "jitter",
    "jitter_distribution",
    "jitter_may_reorder",
    "reorder",
];

/// What says which links an event is about.
pub(super) const LINK_TARGETS: [&str; 3] = ["direction", "private_endpoint", "backend_vm"];

impl Rules<'_> {
    /// The four links, and what events make of them.
    pub(super) fn links(&mut self) {
        for name in LinkName::ALL {
            let link = self.scenario.link.settings(name);
            let path = format!("link.{}", name.name());
            self.queue(&path, &link);
            self.impairments(&path, &link);
            self.jitter(name, &path, &link);
            self.outages(name, &path);
        }
        for (index, event) in self.scenario.event.iter().enumerate() {
            let path = format!("event[{index}]");
            match event.action {
                Action::ChangeLink => {
                    self.impairments(&path, &event.link_settings());
                    self.target(&path, event);
                }
                Action::LinkDown | Action::LinkUp => self.target(&path, event),
                _ => {}
            }
        }
    }

    fn queue(&mut self, path: &str, link: &LinkSettings) {
        if link.queue_limit.is_some() && link.bandwidth.is_none() {
            self.report(
                PL003,
                &format!("{path}.queue_limit"),
                "a queue needs a bandwidth: without one nothing ever waits",
            )
            .label("no bandwidth given")
            .help(format!("add for example bandwidth = \"1Gbps\" to [{path}]"));
        }
    }

    /// What must hold for a link and for a change of one.
    fn impairments(&mut self, path: &str, link: &LinkSettings) {
        if let Some(limit) = link.queue_limit
            && limit.0 < LARGEST_PACKET
        {
            let message = format!("a queue of {limit} has no room for one packet");
            self.report(PL120, &format!("{path}.queue_limit"), message)
                .label("below 1500B")
                .help("packets have up to 1500 bytes: write for example queue_limit = \"64kB\"");
        }
        if link.gemodel.is_some() && link.loss.is_some_and(|loss| loss > 0.0) {
            let message = "packets are lost each by itself (`loss`) or in bursts (`gemodel`)";
            self.report(PL121, &format!("{path}.gemodel"), message)
                .label("one of the two")
                .see(&format!("{path}.loss"), "the other")
                .help("remove one; `loss_in_good` loses packets between bursts");
        }
        if link.gemodel.is_some_and(|model| model.r <= 0.0) {
            let message = "with r = 0 the bad state never ends";
            self.report(PL121, &format!("{path}.gemodel.r"), message)
                .label("must be above zero")
                .help("a burst lasts 1/r packets: write for example r = 0.2, or use link-down");
        }
        if link
            .reorder
            .is_some_and(|reorder| reorder.probability > 0.0 && reorder.delay.0.is_zero())
        {
            let message = "a packet held back for 0 s is not held back";
            self.report(PL037, &format!("{path}.reorder.delay"), message)
                .label("must be above zero")
                .help("write for example delay = \"1ms\"");
        }
    }

    fn jitter(&mut self, name: LinkName, path: &str, link: &LinkSettings) {
        let (jitter, latency) = (
            link.jitter.unwrap_or_default(),
            link.latency.unwrap_or_default(),
        );
        let is_normal = link.jitter_distribution == Some(JitterDistribution::Normal);
        let details = [
            ("jitter_distribution", is_normal),
            ("jitter_may_reorder", link.jitter_may_reorder == Some(true)),
        ];
        for (key, is_given) in details {
            if jitter.is_zero() && is_given {
                let path = format!("{path}.{key}");
                self.report(PL122, &path, format!("`{key}` says nothing without jitter"))
                    .label("no jitter given")
                    .help("add for example jitter = \"10us\", or remove it");
            }
        }
        // Endpoints of other regions have another latency.
        let is_one = name != LinkName::EndpointEdge || self.scenario.region_latency.is_empty();
        if is_one && jitter > latency {
            let message = format!("a latency of {latency} cannot vary by {jitter} each way");
            self.report(PL122, &format!("{path}.jitter"), message)
                .label("more than the latency")
                .help(
                    "lower the jitter, or raise the latency: a packet cannot arrive before it left",
                );
        }
    }

    /// Outages follow each other, within the run.
    fn outages(&mut self, name: LinkName, path: &str) {
        let end = self.scenario.run.duration;
        let mut before = None;
        for (index, [from, to]) in self.scenario.link.down(name).iter().enumerate() {
            let path = format!("{path}.down[{index}]");
            if from >= to {
                self.report(
                    PL123,
                    &path,
                    format!("an outage from {from} to {to} is none"),
                )
                .label("ends before it begins")
                .help("write the beginning first, as in [[\"10s\", \"15s\"]]");
            } else if before.is_some_and(|before| *from <= before) {
                let message = format!("the link is still down at {from}");
                self.report(PL123, &path, message)
                    .label("overlaps with the one before")
                    .help("write outages in the order of time, and join those that touch");
            }
            if *from >= end {
                let message = format!("the outage at {from} comes after the end of the run");
                self.report(PL123, &path, message)
                    .label("never happens")
                    .see("run.duration", "the run ends here")
                    .help("move it, or let the run last longer");
            }
            before = before.max(Some(*to));
        }
    }

    /// The links that an event is about exist.
    fn target(&mut self, path: &str, event: &Event) {
        let Some(link) = event.link else { return };
        let (wrong, right) = match link.is_of_endpoint() {
            true => ("backend_vm", "private_endpoint"),
            false => ("private_endpoint", "backend_vm"),
        };
        let is_wrong = match link.is_of_endpoint() {
            true => event.backend_vm.is_some(),
            false => event.private_endpoint.is_some(),
        };
        if is_wrong {
            let message = format!("`{}` is no link of a `{wrong}`", link.name());
            self.report(PL061, &format!("{path}.{wrong}"), message)
                .see(&format!("{path}.link"), "this link")
                .help(format!("name a `{right}`, or none for all of them"));
        }
    }
}
