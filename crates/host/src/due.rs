use plsim_types::Instant;

/// An instant to the nanosecond, or never, in eight bytes that lie at any multiple of four.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Due([u32; 2]);

impl Due {
    /// A moment that does not come.
    pub(crate) const NEVER: Self = Self([u32::MAX; 2]);

    pub(crate) const fn at(instant: Instant) -> Self {
        let nanos = instant.as_nanos();
        Self([(nanos >> 32) as u32, nanos as u32])
    }

    pub(crate) const fn instant(self) -> Option<Instant> {
        let [high, low] = self.0;
        match (high as u64) << 32 | low as u64 {
            u64::MAX => None,
            nanos => Some(Instant::from_nanos(nanos)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Due;
    use plsim_types::Instant;

    #[test]
    fn every_nanosecond_is_kept_and_the_end_of_time_is_never() {
        for nanos in [0, 1, u64::from(u32::MAX), 1 << 32, u64::MAX - 1] {
            let instant = Instant::from_nanos(nanos);
            assert_eq!(Due::at(instant).instant(), Some(instant));
        }
        assert_eq!(Due::at(Instant::from_nanos(u64::MAX)), Due::NEVER);
        assert_eq!(Due::NEVER.instant(), None);
        assert_eq!((size_of::<Due>(), align_of::<Due>()), (8, 4));
    }
}
