use std::fmt;
use std::io::{self, Write};

/// Where a file of the output goes; anything that takes bytes.
pub struct Sink(Box<dyn Write + Send>);

impl Sink {
    /// Wraps a writer.
    #[must_use]
    pub fn new(writer: impl Write + Send + 'static) -> Self {
        Self(Box::new(writer))
    }
}

impl fmt::Debug for Sink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sink")
    }
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// The writers of a run; what is `None` is not written.
#[derive(Debug, Default)]
pub struct Outputs {
    /// State changes and alarms, JSON Lines.
    pub events: Option<Sink>,
    /// Samples of every port space, CSV.
    pub timeseries: Option<Sink>,
    /// Packets, pcapng; used only if the scenario asks for a capture.
    pub capture: Option<Sink>,
}

impl Outputs {
    /// Writes nothing.
    #[must_use]
    pub fn none() -> Self {
        Self::default()
    }
}
