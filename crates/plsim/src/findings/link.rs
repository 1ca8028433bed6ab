//! Links that were down.

use plsim_observe::Finding;
use plsim_scenario::LinkName;

use super::Reader;
use crate::link::down_times;
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
        let all = down_times(self.scenario).into_iter();
        let own = all.filter(|down| down.link == link);
        let mut times: Vec<String> = own
            .map(|down| {
                let until = down.until.map_or("the end".to_owned(), |at| at.to_string());
                let of = down.of.map_or(String::new(), |of| format!(" (of {of})"));
                format!("from {} to {until}{of}", down.from)
            })
            .collect();
        let more = times.len().saturating_sub(MOST);
        times.truncate(MOST);
        if more > 0 {
            times.push(format!("and {}", counted(more as u64, "more time")));
        }
        times.join(", ")
    }
}
