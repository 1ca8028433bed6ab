use plsim_types::Instant;

/// An instant to the nanosecond, or never, in seven bytes: instants after the first 834 days are never.
/// The eighth is for whatever there is to note, and all lie at any multiple of four.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Due([u32; 2]);

impl Due {
    /// A moment that does not come, and nothing noted.
    pub(crate) const NEVER: Self = Self([MOMENT, u32::MAX]);

    pub(crate) const fn instant(self) -> Option<Instant> {
        let [high, low] = self.0;
        match ((high & MOMENT) as u64) << 32 | low as u64 {
            LAST => None,
            nanos => Some(Instant::from_nanos(nanos)),
        }
    }

    /// Sets the instant, and leaves the note.
    pub(crate) fn set(&mut self, instant: Option<Instant>) {
        let nanos = instant.map_or(LAST, |instant| instant.as_nanos().min(LAST));
        self.0 = [self.0[0] & !MOMENT | (nanos >> 32) as u32, nanos as u32];
    }

    pub(crate) const fn note(self) -> u8 {
        (self.0[0] >> 24) as u8
    }

    /// Sets the note, and leaves the instant.
    pub(crate) const fn set_note(&mut self, note: u8) {
        self.0[0] = self.0[0] & MOMENT | (note as u32) << 24;
    }
}

/// The upper part of an instant, beside the note.
const MOMENT: u32 = (1 << 24) - 1;
/// What stands for never.
const LAST: u64 = (1 << 56) - 1;

#[cfg(test)]
mod tests {
    use super::{Due, LAST};
    use plsim_types::Instant;

    #[test]
    fn every_nanosecond_is_kept_beside_a_note_and_the_end_of_time_is_never() {
        for nanos in [0, 1, u64::from(u32::MAX), 1 << 32, LAST - 1] {
            let instant = Instant::from_nanos(nanos);
            let mut due = Due::NEVER;
            due.set_note(0xA5);
            due.set(Some(instant));
            assert_eq!((due.instant(), due.note()), (Some(instant), 0xA5));
            due.set_note(0);
            assert_eq!((due.instant(), due.note()), (Some(instant), 0));
            due.set_note(0xFF);
            due.set(None);
            assert_eq!((due.instant(), due.note()), (None, 0xFF));
        }
        let mut due = Due::NEVER;
        due.set(Some(Instant::from_nanos(u64::MAX)));
        assert_eq!((due, due.instant(), due.note()), (Due::NEVER, None, 0));
        assert_eq!((size_of::<Due>(), align_of::<Due>()), (8, 4));
    }
}
