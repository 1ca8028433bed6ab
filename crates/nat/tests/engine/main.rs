//! Tests of the NAT engine from outside: a reference model, exhaustive small pools, exact times,
//! ports, TCP and isolation.

#[cfg(test)]
mod choice;
#[cfg(test)]
mod erlang;
#[cfg(test)]
mod exhaustive;
#[cfg(test)]
mod harness;
#[cfg(test)]
mod idle;
#[cfg(test)]
mod isolation;
#[cfg(test)]
mod late;
mod lb_idle;
#[cfg(test)]
mod limits;
#[cfg(test)]
mod model;
#[cfg(test)]
mod ports;
#[cfg(test)]
mod presets;
#[cfg(test)]
mod random;
#[cfg(test)]
mod refusal;
#[cfg(test)]
mod reset;
#[cfg(test)]
mod rfc_tcp;
#[cfg(test)]
mod rfc_timers;
#[cfg(test)]
mod select;
#[cfg(test)]
mod sequences;
#[cfg(test)]
mod slices;
#[cfg(test)]
mod tcp;
