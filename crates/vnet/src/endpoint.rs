use core::fmt;
use core::net::Ipv4Addr;
use core::str::FromStr;
use plsim_types::LinkId;

/// Where the connection between a private endpoint and its service stands (PLS-13, PE-6).
///
/// ```text
///                 approve                        reject
///   Pending ─────────────────▶ Approved ─────────────────▶ Rejected
///      │                           ▲                           ▲ │
///      │                           └───────── approve ─────────┼─┘
///      └────────────────────────── reject ─────────────────────┘
///   any state ── disconnect (the provider deletes the connection) ──▶ Disconnected, for good
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ConnectionState {
    /// The provider accepted it: the only state that passes packets (PLS-14).
    Approved,
    /// The provider has not decided yet.
    Pending,
    /// The provider refused it; it may still change its mind.
    Rejected,
    /// The provider deleted the connection; the consumer can only delete the endpoint.
    Disconnected,
}

/// What a provider does to a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ConnectionAction {
    /// Accepts it.
    Approve,
    /// Refuses it, also after having accepted it.
    Reject,
    /// Deletes it.
    Disconnect,
}

/// An action that the connection's state does not allow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TransitionError {
    /// The state, which is unchanged.
    pub state: ConnectionState,
    /// The refused action.
    pub action: ConnectionAction,
}

/// A text that is none of Azure's four words for a connection's state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnknownState;

/// A private endpoint: a NIC with a private IP address of a consumer's subnet that stands for
/// one service of a provider (PE-1, PLS-18).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PrivateEndpoint {
    /// The address of its NIC, kept for life in every state (PE-1, TF).
    pub address: Ipv4Addr,
    /// What tells its connection apart at the provider (PP-4).
    pub link: LinkId,
    /// Where its connection stands.
    pub state: ConnectionState,
}

impl ConnectionState {
    /// Every state, in the order of the documents.
    pub const ALL: [Self; 4] = [
        Self::Approved,
        Self::Pending,
        Self::Rejected,
        Self::Disconnected,
    ];

    /// Returns Azure's word for it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Approved => "Approved",
            Self::Pending => "Pending",
            Self::Rejected => "Rejected",
            Self::Disconnected => "Disconnected",
        }
    }

    /// Tells whether packets pass, in either direction: only when Approved (PLS-14).
    #[must_use]
    #[inline]
    pub const fn passes(self) -> bool {
        matches!(self, Self::Approved)
    }

    /// Returns the state after an action; repeating an action changes nothing, because the
    /// provider *sets* a state.
    ///
    /// # Errors
    /// [`TransitionError`] for approving or rejecting a Disconnected connection.
    pub const fn after(self, action: ConnectionAction) -> Result<Self, TransitionError> {
        match (self, action) {
            (_, ConnectionAction::Disconnect) => Ok(Self::Disconnected),
            (Self::Disconnected, ConnectionAction::Approve | ConnectionAction::Reject) => {
                Err(TransitionError {
                    state: self,
                    action,
                })
            }
            (Self::Approved | Self::Pending | Self::Rejected, ConnectionAction::Approve) => {
                Ok(Self::Approved)
            }
            (Self::Approved | Self::Pending | Self::Rejected, ConnectionAction::Reject) => {
                Ok(Self::Rejected)
            }
        }
    }
}

impl ConnectionAction {
    /// Every action.
    pub const ALL: [Self; 3] = [Self::Approve, Self::Reject, Self::Disconnect];

    /// Returns the lower-case verb.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Approve => "approve",
            Self::Reject => "reject",
            Self::Disconnect => "disconnect",
        }
    }
}

impl PrivateEndpoint {
    /// Tells whether packets pass, in either direction.
    #[must_use]
    #[inline]
    pub const fn passes(&self) -> bool {
        self.state.passes()
    }

    /// Applies what the provider does; takes effect at once, also on established flows.
    ///
    /// # Errors
    /// [`TransitionError`], as [`ConnectionState::after`]; the state is unchanged.
    pub fn apply(&mut self, action: ConnectionAction) -> Result<(), TransitionError> {
        self.state = self.state.after(action)?;
        Ok(())
    }
}

impl fmt::Display for ConnectionState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for ConnectionState {
    type Err = UnknownState;

    /// Reads Azure's word for a state, whatever the case of its ASCII letters.
    fn from_str(text: &str) -> Result<Self, UnknownState> {
        Self::ALL
            .into_iter()
            .find(|state| state.name().eq_ignore_ascii_case(text))
            .ok_or(UnknownState)
    }
}

impl fmt::Display for ConnectionAction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl fmt::Display for TransitionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "cannot {} a connection that is {}",
            self.action, self.state
        )
    }
}

impl core::error::Error for TransitionError {}

impl fmt::Display for UnknownState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a connection state; known are Approved, Pending, Rejected, Disconnected")
    }
}

impl core::error::Error for UnknownState {}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::{
        ConnectionAction, ConnectionState, PrivateEndpoint, TransitionError, UnknownState,
    };
    use core::net::Ipv4Addr;
    use plsim_types::LinkId;
    use std::string::ToString;

    use ConnectionAction::{Approve, Disconnect, Reject};
    use ConnectionState::{Approved, Disconnected, Pending, Rejected};

    #[test]
    fn transitions_are_the_documented_table() {
        let table = [
            (Pending, Approve, Some(Approved)),
            (Pending, Reject, Some(Rejected)),
            (Pending, Disconnect, Some(Disconnected)),
            (Approved, Approve, Some(Approved)),
            (Approved, Reject, Some(Rejected)),
            (Approved, Disconnect, Some(Disconnected)),
            (Rejected, Approve, Some(Approved)),
            (Rejected, Reject, Some(Rejected)),
            (Rejected, Disconnect, Some(Disconnected)),
            (Disconnected, Approve, None),
            (Disconnected, Reject, None),
            (Disconnected, Disconnect, Some(Disconnected)),
        ];
        for (state, action, after) in table {
            assert_eq!(state.after(action).ok(), after, "{action} when {state}");
        }
    }

    #[test]
    fn only_an_approved_connection_passes() {
        for state in ConnectionState::ALL {
            assert_eq!(state.passes(), state == Approved, "{state}");
        }
    }

    #[test]
    fn a_disconnected_endpoint_stays_so_and_the_error_names_the_state() {
        let mut endpoint = PrivateEndpoint {
            address: Ipv4Addr::new(10, 0, 0, 5),
            link: LinkId(7),
            state: Approved,
        };
        endpoint.apply(Disconnect).unwrap();
        assert!(!endpoint.passes());
        let refused = endpoint.apply(Approve).unwrap_err();
        let expected = TransitionError {
            state: Disconnected,
            action: Approve,
        };
        assert_eq!(refused, expected);
        assert_eq!(
            refused.to_string(),
            "cannot approve a connection that is Disconnected"
        );
        assert_eq!(endpoint.state, Disconnected);
    }

    #[test]
    fn states_are_read_and_written_in_azures_words() {
        for state in ConnectionState::ALL {
            assert_eq!(state.name().parse(), Ok(state));
            assert_eq!(state.name().to_ascii_lowercase().parse(), Ok(state));
        }
        for text in ["", "Removed", "approve", " Approved"] {
            assert_eq!(text.parse::<ConnectionState>(), Err(UnknownState), "{text}");
        }
    }
}
