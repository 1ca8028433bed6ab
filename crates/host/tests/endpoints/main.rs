//! A client group and a server VM joined by two links: what they send, when, and what they count.

mod admission;
mod icmp;
mod loss;
mod machines;
mod parity;
mod pools;
mod resets;
mod resources;
mod sessions;
mod sizes;
mod udp;
mod workloads;
mod world;
