use std::fmt;

/// How full a port space is when a port is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Occupancy {
    /// So many millionths of the ports are in use, rounded down; one port is always left.
    Share(u32),
    /// All ports but one are in use.
    LastPort,
}

impl Occupancy {
    /// The occupancies of a whole table: from empty to the last free port.
    pub const ALL: [Self; 7] = [
        Self::Share(0),
        Self::Share(500_000),
        Self::Share(900_000),
        Self::Share(990_000),
        Self::Share(999_000),
        Self::Share(999_900),
        Self::LastPort,
    ];

    /// Returns how many of `capacity` ports are in use; at least one of them is not.
    #[must_use]
    pub fn used(self, capacity: u32) -> u32 {
        let most = capacity.saturating_sub(1);
        match self {
            Self::Share(millionths) => {
                let used = u64::from(capacity) * u64::from(millionths) / 1_000_000;
                u32::try_from(used).map_or(most, |used| used.min(most))
            }
            Self::LastPort => most,
        }
    }

    /// Reads a percentage of 0..=100 with at most four decimals, or `last`.
    #[must_use]
    pub fn from_text(text: &str) -> Option<Self> {
        if text == "last" {
            return Some(Self::LastPort);
        }
        let (whole, decimals) = text.split_once('.').unwrap_or((text, "0"));
        let digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
        if !digits(whole) || !digits(decimals) || whole.len() > 3 || decimals.len() > 4 {
            return None;
        }
        let millionths = format!("{whole}{decimals:0<4}").parse().ok()?;
        (millionths <= 1_000_000).then_some(Self::Share(millionths))
    }

    /// Returns it as [`Occupancy::from_text`] reads it.
    #[must_use]
    pub fn to_text(self) -> String {
        let Self::Share(millionths) = self else {
            return "last".to_owned();
        };
        let (whole, decimals) = (millionths / 10_000, millionths % 10_000);
        if decimals == 0 {
            return whole.to_string();
        }
        let text = format!("{whole}.{decimals:04}");
        text.trim_end_matches('0').to_owned()
    }
}

/// As people read it: `99.9 %`, `last port`.
impl fmt::Display for Occupancy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Share(_) => write!(f, "{} %", self.to_text()),
            Self::LastPort => f.write_str("last port"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Occupancy;

    #[test]
    fn shares_are_rounded_down_and_leave_a_port() {
        let used = Occupancy::ALL.map(|occupancy| occupancy.used(64_512));
        assert_eq!(used, [0, 32_256, 58_060, 63_866, 64_447, 64_505, 64_511]);
        assert_eq!(Occupancy::Share(1_000_000).used(64_512), 64_511);
        assert_eq!(Occupancy::LastPort.used(1), 0);
    }

    #[test]
    fn texts_are_read_back_and_nonsense_is_refused() {
        for occupancy in Occupancy::ALL {
            assert_eq!(Occupancy::from_text(&occupancy.to_text()), Some(occupancy));
        }
        assert_eq!(
            Occupancy::from_text("99.99").unwrap().to_string(),
            "99.99 %"
        );
        assert_eq!(Occupancy::LastPort.to_string(), "last port");
        for text in [
            "", "-1", "100.0001", "1e2", "99.99999", "99.", ".9", "full", "+5", "1000",
        ] {
            assert_eq!(Occupancy::from_text(text), None, "{text}");
        }
    }
}
