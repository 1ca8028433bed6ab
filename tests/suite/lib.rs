//! Tests of the whole: architecture, shipped scenarios, the command as a process, captures, theory,
//! and a swarm of drawn scenarios.
#![forbid(unsafe_code)]

pub mod swarm;

#[cfg(test)]
mod architecture;
#[cfg(test)]
mod bad_input;
#[cfg(test)]
mod behaviour;
#[cfg(test)]
mod capture;
#[cfg(test)]
mod command;
#[cfg(test)]
mod conformance;
#[cfg(test)]
mod determinism;
#[cfg(test)]
mod facts;
#[cfg(test)]
mod findings;
#[cfg(test)]
mod fragments;
#[cfg(test)]
mod frontend;
#[cfg(test)]
mod icmp;
#[cfg(test)]
mod idle;
#[cfg(test)]
mod impairments;
#[cfg(test)]
mod invariance;
#[cfg(test)]
mod laboratory;
#[cfg(test)]
mod load_balancer;
#[cfg(test)]
mod malformed;
#[cfg(test)]
mod outages;
#[cfg(test)]
mod output;
#[cfg(test)]
mod parity;
#[cfg(test)]
mod private_link;
#[cfg(test)]
mod probes;
#[cfg(test)]
mod profiles;
#[cfg(test)]
mod proxy;
#[cfg(test)]
mod queueing;
#[cfg(test)]
mod readme;
#[cfg(test)]
mod real_stack;
#[cfg(test)]
mod scale;
#[cfg(test)]
mod scenarios;
#[cfg(test)]
mod support;
#[cfg(test)]
mod swarm_check;
#[cfg(test)]
mod theory;
#[cfg(test)]
mod threads;
#[cfg(test)]
mod traffic;
#[cfg(test)]
mod wire;
#[cfg(test)]
mod workloads;
