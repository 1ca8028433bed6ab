use super::Rules;
use super::lints::PL004;
use crate::memory::Memory;
use crate::units::ByteSize;

impl Rules<'_> {
    /// The run as a whole: what it needs stays within the limit.
    pub(super) fn memory(&mut self) {
        let limit = self.scenario.run.memory_limit;
        let memory = self.scenario.memory();
        if memory.total() <= limit.0 {
            return;
        }
        let message = format!(
            "the run may need up to {} of memory; the limit is {limit}",
            rounded(memory.total())
        );
        let Memory {
            connections,
            connection_bytes,
            buffer_bytes,
            port_spaces,
            port_space_bytes,
            world_bytes,
        } = memory;
        let parts = [
            (
                connection_bytes,
                format!(
                    "for {} connections that may live at once",
                    grouped(connections)
                ),
            ),
            (buffer_bytes, "for the buffers of the full TCP".to_owned()),
            (
                port_space_bytes,
                format!("for {} port spaces", grouped(port_spaces)),
            ),
            (
                world_bytes,
                "for networks, machines, endpoints and workloads".to_owned(),
            ),
        ];
        let most = parts.iter().map(|(bytes, _)| *bytes).max();
        let help = match most {
            Some(most) if most == buffer_bytes => {
                "the full TCP takes most of it: make its buffers smaller, or write tcp_stack = \"light\""
            }
            Some(most) if most == port_space_bytes => {
                "the port spaces take most of it: there is one for each NAT IP, VM and protocol"
            }
            Some(most) if most == world_bytes => {
                "what is there without traffic takes most of it: lower `copies` and `count`"
            }
            _ => {
                "lower the rates, holds or hold-downs (a connection that is closed still counts until its port \
                 is free), or raise `memory_limit` if the machine has more"
            }
        };
        let parts = parts.iter().filter(|(bytes, _)| *bytes > 0);
        let parts: Vec<String> = parts
            .map(|(bytes, what)| format!("{} {what}", rounded(*bytes)))
            .collect();
        self.report(PL004, "run.memory_limit", message)
            .help(help)
            .help(parts.join(", "));
    }
}

/// Writes a size in whole MiB, or in GiB where it is large.
fn rounded(bytes: u64) -> ByteSize {
    let unit = if bytes >= 10 << 30 { 30 } else { 20 };
    ByteSize(bytes.div_ceil(1 << unit).saturating_mul(1 << unit))
}

/// Writes a number in groups of three digits.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}
