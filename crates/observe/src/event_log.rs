use std::io::{self, Write};

use plsim_types::Instant;
use serde_json::{Map, Value};

use crate::output::Output;

/// Something worth telling: a state change or an alarm.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    kind: &'static str,
    fields: Map<String, Value>,
}

impl Event {
    /// Begins an event of a kind with a stable kebab-case name, such as `nat-ports-exhausted`.
    #[must_use]
    pub fn new(kind: &'static str) -> Self {
        Self {
            kind,
            fields: Map::new(),
        }
    }

    /// Adds a field; fields keep their order, and the last of equal names wins.
    ///
    /// # Panics
    /// If the name is `t_ns` or `event`, which every line has already.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        assert!(
            !matches!(name, "t_ns" | "event"),
            "broken invariant: {name} is taken"
        );
        self.fields.insert(name.to_owned(), value.into());
        self
    }

    /// Returns the kind.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        self.kind
    }
}

/// Writes events as JSON Lines, in the order in which they are told:
/// `{"t_ns":64512650000,"event":"nat-ports-exhausted","pls":"orders", ...}`.
///
/// The first error of the writer is kept: nothing more is written, and [`EventLog::finish`]
/// returns it.
#[derive(Debug)]
pub struct EventLog<W> {
    output: Output<W>,
}

impl<W: Write> EventLog<W> {
    /// Opens an empty log.
    #[must_use]
    pub fn new(out: W) -> Self {
        Self {
            output: Output::new(out),
        }
    }

    /// Writes one event.
    pub fn record(&mut self, now: Instant, event: &Event) {
        let kind = Value::from(event.kind);
        self.output.append(|out| {
            // Writing to a vector cannot fail.
            let _ = write!(out, "{{\"t_ns\":{},\"event\":{kind}", now.as_nanos());
            for (name, value) in &event.fields {
                let _ = write!(out, ",{}:{value}", Value::from(name.as_str()));
            }
            out.extend_from_slice(b"}\n");
        });
    }

    /// Returns the first error of the writer, if it failed.
    #[must_use]
    pub const fn error(&self) -> Option<&io::Error> {
        self.output.error()
    }

    /// Writes what is buffered, flushes, and returns the writer.
    ///
    /// # Errors
    /// The first error of the writer; nothing was written after it.
    pub fn finish(self) -> io::Result<W> {
        self.output.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::{Event, EventLog};
    use crate::output::tests::SmallDisk;
    use plsim_types::Instant;
    use std::io;

    #[test]
    fn an_event_is_one_line_with_its_fields_in_order() {
        let mut log = EventLog::new(Vec::new());
        let event = Event::new("nat-ports-exhausted")
            .with("pls", "a \"b\"\n\u{1b}")
            .with("capacity", 64_512)
            .with("first", true);
        log.record(Instant::from_nanos(64_512_650_000), &event);
        log.record(Instant::from_nanos(u64::MAX), &Event::new("end"));
        let text = String::from_utf8(log.finish().unwrap()).unwrap();
        assert_eq!(
            text,
            "{\"t_ns\":64512650000,\"event\":\"nat-ports-exhausted\",\
             \"pls\":\"a \\\"b\\\"\\n\\u001b\",\"capacity\":64512,\"first\":true}\n\
             {\"t_ns\":18446744073709551615,\"event\":\"end\"}\n"
        );
    }

    #[test]
    fn a_full_disk_is_told_at_the_end() {
        let mut log = EventLog::new(SmallDisk::new(10));
        log.record(Instant::ZERO, &Event::new("start"));
        assert_eq!(log.finish().unwrap_err().kind(), io::ErrorKind::StorageFull);
    }

    #[test]
    #[should_panic(expected = "t_ns is taken")]
    fn no_field_can_replace_the_time() {
        let _ = Event::new("start").with("t_ns", 1);
    }
}
