use std::io::{self, Write};

/// How many bytes are gathered before they are written.
const CHUNK: usize = 64 * 1024;

/// A buffered writer that keeps its first error and writes nothing after it.
///
/// Dropping it writes nothing: only [`Output::finish`] flushes, and tells how that went.
#[derive(Debug)]
pub(crate) struct Output<W> {
    out: W,
    buffer: Vec<u8>,
    error: Option<io::Error>,
}

impl<W: Write> Output<W> {
    pub(crate) fn new(out: W) -> Self {
        Self {
            out,
            buffer: Vec::with_capacity(CHUNK + CHUNK / 4),
            error: None,
        }
    }

    /// Lets the caller append bytes, and writes once enough have gathered.
    #[inline]
    pub(crate) fn append(&mut self, fill: impl FnOnce(&mut Vec<u8>)) {
        if self.error.is_some() {
            return;
        }
        fill(&mut self.buffer);
        if self.buffer.len() >= CHUNK {
            self.spill();
        }
    }

    /// Returns the first error so far.
    pub(crate) const fn error(&self) -> Option<&io::Error> {
        self.error.as_ref()
    }

    /// Writes the rest, flushes, and returns the writer or the first error.
    pub(crate) fn finish(mut self) -> io::Result<W> {
        self.spill();
        match self.error {
            Some(error) => Err(error),
            None => self.out.flush().map(|()| self.out),
        }
    }

    #[cold]
    fn spill(&mut self) {
        if self.error.is_none() {
            self.error = self.out.write_all(&self.buffer).err();
        }
        self.buffer.clear();
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::{CHUNK, Output};
    use std::cell::Cell;
    use std::io::{self, Write};
    use std::rc::Rc;

    /// A disk with so many bytes left; counts how often it is written to.
    #[derive(Debug, Clone)]
    pub(crate) struct SmallDisk {
        pub(crate) free: usize,
        pub(crate) writes: Rc<Cell<usize>>,
        pub(crate) flush_fails: bool,
    }

    impl SmallDisk {
        pub(crate) fn new(free: usize) -> Self {
            Self {
                free,
                writes: Rc::default(),
                flush_fails: false,
            }
        }
    }

    impl Write for SmallDisk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.writes.set(self.writes.get() + 1);
            if self.free == 0 {
                return Err(io::ErrorKind::StorageFull.into());
            }
            let taken = bytes.len().min(self.free);
            self.free -= taken;
            Ok(taken)
        }

        fn flush(&mut self) -> io::Result<()> {
            match self.flush_fails {
                true => Err(io::Error::other("flush")),
                false => Ok(()),
            }
        }
    }

    #[test]
    fn the_first_error_is_kept_and_nothing_is_written_after_it() {
        let disk = SmallDisk::new(CHUNK + 10);
        let writes = disk.writes.clone();
        let mut output = Output::new(disk);
        for _ in 0..3 {
            output.append(|buffer| buffer.resize(CHUNK, 1));
        }
        assert_eq!(output.error().unwrap().kind(), io::ErrorKind::StorageFull);
        // One whole chunk, ten bytes of the next, and the refusal of its rest.
        assert_eq!(writes.get(), 3);
        output.append(|_| unreachable!("nothing is gathered after an error"));
        assert_eq!(
            output.finish().unwrap_err().kind(),
            io::ErrorKind::StorageFull
        );
        assert_eq!(writes.get(), 3);
    }

    #[test]
    fn a_disk_that_is_full_only_at_the_end_is_noticed() {
        let mut output = Output::new(SmallDisk::new(5));
        output.append(|buffer| buffer.extend_from_slice(b"123456"));
        assert!(output.error().is_none());
        assert_eq!(
            output.finish().unwrap_err().kind(),
            io::ErrorKind::StorageFull
        );
        let flush_fails = SmallDisk {
            flush_fails: true,
            ..SmallDisk::new(5)
        };
        assert_eq!(
            Output::new(flush_fails).finish().unwrap_err().to_string(),
            "flush"
        );
    }
}
