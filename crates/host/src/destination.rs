use std::net::SocketAddrV4;

use plsim_sim::Distribution;

/// Where the connections of a workload go: each to one of these, drawn for it.
#[derive(Debug, Clone, PartialEq)]
pub struct Destinations {
    /// The addresses and ports, at least one.
    pub sockets: Vec<SocketAddrV4>,
    /// Which of them a connection gets, counted from zero. [`Distribution::Fixed`] takes nothing from
    /// the workload's stream.
    pub choice: Distribution,
}

/// One destination of one workload. All those of a group are numbered; a connection knows its number.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Destination {
    pub(crate) workload: u16,
    pub(crate) socket: SocketAddrV4,
}

/// What became of the connections to one destination.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DestinationStats {
    /// Connections started.
    pub attempted: u64,
    /// Those that were never established.
    pub failed: u64,
}

impl Destinations {
    /// # Panics
    /// If there is none, or one could be drawn that is not there.
    pub(crate) fn check(&self) {
        self.choice.check();
        let (_, last) = self.choice.range();
        assert!(
            usize::try_from(last).is_ok_and(|last| last < self.sockets.len()),
            "a destination that is drawn is there"
        );
    }
}

impl From<SocketAddrV4> for Destinations {
    /// All connections go to one socket.
    fn from(socket: SocketAddrV4) -> Self {
        Self {
            sockets: vec![socket],
            choice: Distribution::Fixed(0),
        }
    }
}
