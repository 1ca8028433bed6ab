//! Tests of the port allocators: a naive model, exactness with hardly any port free, and what the
//! documents say they are.

#[cfg(test)]
mod blocks;
#[cfg(test)]
mod documents;
#[cfg(test)]
mod exact;
#[cfg(test)]
mod model;
#[cfg(test)]
mod reserved;
