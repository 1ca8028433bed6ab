use crate::units::ByteSize;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Which TCP the machines of a group have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum TcpStack {
    /// A light one, made for millions of connections: every state and timer, a fixed window, and
    /// bytes only where somebody reads them.
    #[default]
    Light,
    /// A full one (smoltcp), with real bytes, buffers, windows, reassembly and congestion control (CUBIC).
    /// It takes a hundred times the memory, never answers with a challenge ACK, and waits at least 1 s
    /// before it sends again.
    Full,
}

/// The full TCP of a group, with its defaults.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FullTcp {
    /// Bytes of the receive buffer of each connection.
    pub receive_buffer: ByteSize,
    /// Bytes of the send buffer of each connection.
    pub send_buffer: ByteSize,
    /// Whether small segments leave at once.
    pub no_delay: bool,
}

/// What the keys of a group say about its TCP.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TcpStackKeys {
    pub(crate) stack: TcpStack,
    pub(crate) receive_buffer: Option<ByteSize>,
    pub(crate) send_buffer: Option<ByteSize>,
    pub(crate) no_delay: Option<bool>,
}

impl FullTcp {
    /// What smoltcp keeps for one end beside its buffers, in bytes.
    const END: u64 = 2_200;

    /// Returns the bytes of memory that one end of a connection takes.
    pub(crate) const fn bytes(&self) -> u64 {
        Self::END
            .saturating_add(self.receive_buffer.0)
            .saturating_add(self.send_buffer.0)
    }
}

impl TcpStackKeys {
    /// The bytes of a buffer that is not given.
    const BUFFER: ByteSize = ByteSize(16 << 10);

    /// Returns the full TCP, if the group has it.
    pub(crate) fn full(self) -> Option<FullTcp> {
        (self.stack == TcpStack::Full).then_some(FullTcp {
            receive_buffer: self.receive_buffer.unwrap_or(Self::BUFFER),
            send_buffer: self.send_buffer.unwrap_or(Self::BUFFER),
            no_delay: self.no_delay.unwrap_or(true),
        })
    }
}
