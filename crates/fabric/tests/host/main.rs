//! The host of a backend VM, packet by packet.

mod exhaustion;
mod fragments;
mod world;
