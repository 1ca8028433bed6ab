//! Links that were down.

use plsim_observe::Finding;
use plsim_scenario::{Action, Event, LinkName};

use super::Reader;
use crate::numbers::counted;

/// The most times that are listed in one sentence.
const MOST: usize = 4;

impl Reader<'_> {
    /// Links that took no packets for a time, one finding for each of the four.
    pub(super) fn link_outages(&self) -> Vec<Finding> {
        let links = LinkName::ALL.into_iter();
        links.filter_map(|link| self.was_down(link)).collect()
    }

    fn was_down(&self, link: LinkName) -> Option<Finding> {
        let rows = self.summary.links.iter();
        let rows = rows.filter(|row| row.link == link.name() && row.stats.link_down > 0);
        let (mut packets, mut worst) = (0, None);
        for row in rows {
            packets += row.stats.link_down;
            worst = worst.max(Some((row.stats.link_down, row.name.as_str())));
        }
        let (most, name) = worst?;
        let of = match most == packets {
            true => String::new(),
            false => format!(", most of them of {name}"),
        };
        Some(Finding {
            what: format!(
                "Link {} was down {}: {} ended there{of}.",
                link.name(),
                self.times(link),
                counted(packets, "packet"),
            ),
            help: vec![
                "TCP sends again what was lost, and doubles its wait each time: a connection may notice \
                 the end of an outage as late again as the outage was long."
                    .to_owned(),
                "response_timeout, connect_timeout and user_timeout say how long clients wait.".to_owned(),
            ],
        })
    }

    /// Says when a link was down.
    fn times(&self, link: LinkName) -> String {
        let sections = self.scenario.link.down(link).iter();
        let mut times: Vec<String> = sections
            .map(|[from, to]| format!("from {} to {}", from.0, to.0))
            .collect();
        let mut events: Vec<&Event> = self.scenario.event.iter().collect();
        events.sort_by_key(|event| event.at.0);
        for (index, event) in events.iter().enumerate() {
            if event.action != Action::LinkDown || event.link != Some(link) {
                continue;
            }
            let mut later = events[index..].iter();
            let up = later.find(|later| later.action == Action::LinkUp && is_same(later, event));
            let until = up.map_or("the end".to_owned(), |up| up.at.0.to_string());
            let of = event
                .backend_vm
                .as_ref()
                .or(event.private_endpoint.as_ref());
            let of = of.map_or(String::new(), |name| format!(" (of {name})"));
            times.push(format!("from {} to {until}{of}", event.at.0));
        }
        let more = times.len().saturating_sub(MOST);
        times.truncate(MOST);
        if more > 0 {
            times.push(format!("and {}", counted(more as u64, "more time")));
        }
        times.join(", ")
    }
}

/// Tells whether two events are about the same links.
fn is_same(one: &Event, other: &Event) -> bool {
    let target = |event: &Event| {
        let names = (event.private_endpoint.clone(), event.backend_vm.clone());
        (event.link, event.direction, names)
    };
    target(one) == target(other)
}
