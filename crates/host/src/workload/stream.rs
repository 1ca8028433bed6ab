use plsim_sim::{Distribution, Stream};

use super::later;
use crate::config::{Close, WorkloadConfig, WorkloadKind, draw_span};
use crate::connection::{Connections, Event, Turn};

/// Flows that send a packet at each interval for a while, whatever comes back.
#[derive(Debug)]
pub(crate) struct UdpStream {
    interval: Distribution,
    intervals: Stream,
}

impl UdpStream {
    /// # Panics
    /// If the session is none of UDP, or has no interval.
    pub(super) fn new(config: &WorkloadConfig) -> Self {
        let interval = match &config.kind {
            WorkloadKind::Tcp(_) => None,
            WorkloadKind::Udp(session) => session.interval.clone(),
        };
        Self {
            interval: interval.expect("a UDP stream has an interval"),
            intervals: Stream::new(config.seed, "workload", "intervals"),
        }
    }

    pub(super) fn begin(&mut self, all: &mut dyn Connections, turn: &mut Turn<'_, '_>) {
        if let Some(position) = all.open(None, turn) {
            let hold = turn.traffic.draw_hold();
            all.progress(position).end = turn.now() + hold;
            if let Some(event) = all.poll(position, turn) {
                self.hear(position, event, all, turn);
            }
        }
    }

    pub(super) fn hear(
        &mut self,
        position: u32,
        event: Event,
        all: &mut dyn Connections,
        turn: &mut Turn<'_, '_>,
    ) {
        if !matches!(event, Event::Opened | Event::Woken) {
            return;
        }
        let end = all.progress(position).end;
        if turn.now() >= end {
            return all.close(position, Close::Fin, turn);
        }
        let asked = turn.traffic.draw_request(false);
        all.ask(position, asked, turn);
        let next = later(turn.now(), draw_span(&self.interval, &mut self.intervals));
        all.wake(position, next.min(end), turn);
    }
}
