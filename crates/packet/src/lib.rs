//! IPv4, TCP and UDP packets on real bytes: parse, build, rewrite, checksums.
//!
//! What it is: [`Packet`], whose header bytes stand inline exactly as on the wire and whose payload
//! is real bytes or a virtual run of zeros ([`Payload`]); the incremental checksums of a NAT
//! (RFC 1624); edits of a TCP segment, such as [`Packet::prepend`]; the PROXY protocol version 2
//! header of Private Link ([`ProxyHeader`]); what health probes say and hear ([`probe`]).
//!
//! What it is not: a protocol stack (no reassembly, no TCP state), a decision (what to rewrite to
//! is the NAT's), or a capture file format.
//!
//! # Invariants
//! - A [`Packet`] that exists is a whole, valid IPv4 packet with TCP or UDP inside, a fragment of
//!   one, or an ICMP error about one: versions, lengths and checksums are right after every method.
//!   Only [`Packet::from_wire`] makes others: they keep their bytes and say what is wrong
//!   ([`Packet::fault`]).
//! - [`Packet::rewrite`], [`Packet::decrement_ttl`] and the edits of a segment touch the fields they
//!   name, the lengths and the checksums, nothing else.
//! - A UDP checksum of 0 ("none") is left alone; a computed 0 is sent as 0xFFFF (RFC 768).
//!   TCP and IP never carry 0xFFFF in place of 0.
//! - No bytes given to [`Packet::parse`] or [`Packet::from_wire`] make them panic.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod build;
mod checksum;
mod display;
mod edit;
mod form;
mod fragment;
mod fragments;
mod icmp;
mod options;
mod packet;
mod parse;
mod payload;
pub mod probe;
mod proxy;
mod tcp_options;
mod wire;

pub use build::TcpHeader;
pub use form::Form;
pub use fragments::{Fate, FragmentPolicy, Fragments, FragmentsConfig};
pub use icmp::IcmpError;
pub use packet::{Encap, Origin, Packet, PacketId, Rewrite};
pub use parse::ParseError;
pub use payload::Payload;
pub use proxy::{ProxyError, ProxyHeader};
