use plsim_packet::probe;
use plsim_sim::{Context, Wakeup};
use plsim_types::{Duration, Instant};

use super::{Ended, FLAPS, ServerVm};
use crate::tcp::State;

/// What a backend VM is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum VmState {
    /// It answers.
    #[default]
    Running,
    /// The application has ended: the operating system resets what comes for it.
    NotListening,
    /// It hangs: nothing answers, and nobody was told.
    Crashed,
    /// It was shut down: connections are reset on the way, then nothing answers.
    Stopped,
}

impl VmState {
    /// Tells whether anything in the VM takes packets.
    #[must_use]
    pub const fn takes_packets(self) -> bool {
        matches!(self, Self::Running | Self::NotListening)
    }
}

/// An application that ends and comes back by itself, beginning with a time up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flapping {
    /// How long it is running, above zero.
    pub up: Duration,
    /// How long it is not listening, above zero.
    pub down: Duration,
}

/// How a backend VM behaves, beyond its ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Behaviour {
    /// What it is good for.
    pub state: VmState,
    /// Whether, and how, its application comes and goes; only while it is running otherwise.
    pub flapping: Option<Flapping>,
    /// The time between a request and its response; handshakes are as fast as ever.
    pub response_delay: Duration,
    /// The HTTP status that its health probes get, 100..=599.
    pub probe_status: u16,
}

impl Default for Behaviour {
    fn default() -> Self {
        Self {
            state: VmState::Running,
            flapping: None,
            response_delay: Duration::ZERO,
            probe_status: 200,
        }
    }
}

/// The comings and goings of an application.
#[derive(Debug, Default)]
pub(super) struct Flaps {
    cycle: Option<Flapping>,
    next: Option<Instant>,
    wakeup: Wakeup,
}

impl Flaps {
    /// Starts a cycle, or ends it; the application is up now.
    pub(super) fn set(&mut self, cycle: Option<Flapping>, token: u64, cx: &mut Context<'_>) {
        self.cycle = cycle;
        self.next = cycle.map(|cycle| cx.now() + cycle.up);
        self.wakeup.arm(self.next, token, cx);
    }

    /// Returns what the application becomes now, if it changes.
    pub(super) fn fire(
        &mut self,
        state: VmState,
        token: u64,
        cx: &mut Context<'_>,
    ) -> Option<VmState> {
        self.wakeup.fired(cx.now());
        let cycle = self.cycle?;
        if self.next.is_none_or(|next| next > cx.now()) {
            self.wakeup.arm(self.next, token, cx);
            return None;
        }
        let (state, span) = match state {
            VmState::Running => (VmState::NotListening, cycle.down),
            _ => (VmState::Running, cycle.up),
        };
        self.next = Some(cx.now() + span);
        self.wakeup.arm(self.next, token, cx);
        Some(state)
    }
}

impl ServerVm {
    /// Begins what the VM does by itself; call it once, at the beginning of the run.
    pub fn start(&mut self, cx: &mut Context<'_>) {
        let behaviour = self.behaviour;
        if behaviour.state == VmState::Running {
            self.flaps.set(behaviour.flapping, FLAPS, cx);
        }
    }

    /// Returns how the VM behaves now.
    #[must_use]
    pub const fn behaviour(&self) -> &Behaviour {
        &self.behaviour
    }

    /// Changes how the VM behaves from now on. Another flapping cycle, or another state, begins with
    /// a time up.
    ///
    /// A VM that is stopped, or whose application ends, resets its connections; one that crashes
    /// loses them without a word.
    pub fn behave(&mut self, behaviour: Behaviour, cx: &mut Context<'_>) {
        let before = self.behaviour;
        self.become_state(behaviour.state, cx);
        self.behaviour = behaviour;
        if (before.state, before.flapping) != (behaviour.state, behaviour.flapping) {
            let running = behaviour.state == VmState::Running;
            self.flaps
                .set(behaviour.flapping.filter(|_| running), FLAPS, cx);
        }
    }

    /// Starts the VM anew: it runs and knows nothing of the connections it had.
    pub fn restart(&mut self, cx: &mut Context<'_>) {
        let behaviour = self.behaviour;
        self.become_state(VmState::Crashed, cx);
        self.behave(
            Behaviour {
                state: VmState::Running,
                ..behaviour
            },
            cx,
        );
    }

    /// Returns since when the VM is not running; `None` while it is.
    #[must_use]
    pub const fn down_since(&self) -> Option<Instant> {
        self.down_since
    }

    pub(super) fn become_state(&mut self, state: VmState, cx: &mut Context<'_>) {
        if self.behaviour.state == state {
            return;
        }
        self.behaviour.state = state;
        if state == VmState::Running {
            self.down_since = None;
            return;
        }
        self.down_since = self.down_since.or(Some(cx.now()));
        self.late.clear();
        self.end_all_full(state, cx);
        for position in 0..self.slots.positions() {
            let slot = self.slots.entry(position);
            let (tcb, is_probe) = (&slot.tcb, *slot.remote_socket().ip() == probe::SOURCE);
            let (is_there, is_over) =
                (tcb.state() != State::Closed, tcb.state() == State::TimeWait);
            self.stats.lost += u64::from(tcb.is_open() && !is_over && !is_probe);
            if is_there && !is_over && state != VmState::Crashed {
                self.abort(position, cx);
            } else if is_there {
                self.end(position, Ended::Aborted);
            }
        }
    }
}
