//! Full TCP: smoltcp, with real bytes, windows and congestion control.
//!
//! One [`Stack`] for each node, one socket set for each [`Connection`], and the four-tuple look-up of
//! the node in front: smoltcp's own loop over its sockets would cost as much as there are sockets.
//!
//! What it cannot show, and the light endpoint can: a SYN that meets an old connection is dropped
//! without a challenge ACK; a reset is believed anywhere in the window (no RFC 5961 check); the
//! retransmission timeout is 1 s or more and backs off to 60 s, whatever `initial_rto` says.
//!
//! What it leaves to the light one: patience, keepalive, user timeout, FIN-WAIT-2 (`timer`) and TIME_WAIT
//! ([`Connection::remains`]); smoltcp has one interval, one time-out and 10 s for these. Its clock has
//! microseconds.

mod connection;
mod nic;
mod sent;
mod stack;
#[cfg(test)]
mod tests;
mod timer;

pub(crate) use connection::Connection;
pub use stack::FullStack;
pub(crate) use stack::{Stack, Turned};
