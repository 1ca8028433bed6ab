use plsim_sim::Context;
use plsim_types::{Duration, Instant};

/// The one pending kernel timer of a connection, in 4 bytes.
///
/// A deadline that moves away leaves the timer alone; it then fires early and is set again. One
/// that comes nearer gets a new timer, and the old one turns stale.
///
/// What is kept is the tick after which the timer has fired for certain, and that suffices: timers
/// are set for the nanosecond, and who is woken looks at the deadline. A stale timer that fires in
/// the very tick noted here is taken for the pending one, for no more than an early look.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Alarm {
    /// Zero without a timer.
    armed: u32,
}

/// The length of a tick: 131 µs, less than most paths take.
const TICK: u32 = 17;
/// How far ahead a timer is set at most, so that ticks can be told apart: 39 hours.
const FAR: Duration = Duration::from_nanos(1 << (TICK + 30));

impl Alarm {
    /// Makes sure the timer fires no later than the deadline.
    pub(crate) fn arm(&mut self, deadline: Option<Instant>, token: u64, cx: &mut Context<'_>) {
        // One that is due now has its timer, later in this instant.
        let Some(deadline) = deadline.filter(|&deadline| deadline > cx.now()) else {
            return;
        };
        let deadline = deadline.min(cx.now() + FAR);
        if !self.fires_by(deadline) {
            self.armed = tick_after(deadline);
            cx.set_timer(deadline, token);
        }
    }

    /// Takes note of a firing; false if it was a stale one.
    pub(crate) const fn fired(&mut self, now: Instant) -> bool {
        let is_ours = self.armed == tick_after(now);
        if is_ours {
            self.armed = 0;
        }
        is_ours
    }

    /// Tells whether a timer is pending that certainly fires by then.
    const fn fires_by(self, deadline: Instant) -> bool {
        let tick = (deadline.as_nanos() >> TICK) as u32;
        self.armed != 0 && tick.wrapping_sub(self.armed) as i32 >= 0
    }
}

/// Returns the first tick that begins no earlier, by number; never zero.
const fn tick_after(instant: Instant) -> u32 {
    let tick = instant.as_nanos().div_ceil(1 << TICK) as u32;
    if tick == 0 { 1 } else { tick }
}

#[cfg(test)]
mod tests {
    use super::{Alarm, FAR, tick_after};
    use plsim_types::Instant;

    #[test]
    fn a_timer_counts_for_a_later_deadline_only_if_it_fires_before_for_certain() {
        let tick = 1_u64 << 17;
        for base in [0, 7, 1 << 31, (1 << 32) - 3, 1 << 40] {
            let at = |ticks: u64, nanos: u64| Instant::from_nanos((base + ticks) * tick + nanos);
            let alarm = Alarm {
                armed: tick_after(at(1, 1)),
            };
            for (deadline, counts) in [
                (at(1, 0), false),
                (at(1, 1), false),
                (at(1, tick - 1), false),
                (at(2, 0), true),
                (at(2, 5), true),
                (at(1, 1) + FAR, true),
            ] {
                assert_eq!(alarm.fires_by(deadline), counts, "{base} {deadline}");
            }
            let pending = |now| {
                let mut alarm = alarm;
                alarm.fired(now)
            };
            assert!(pending(at(1, 1)) && !pending(at(1, 0)) && !pending(at(2, 1)));
        }
        assert!(!Alarm::default().fires_by(Instant::from_nanos(u64::MAX)));
        assert!(!Alarm::default().fired(Instant::ZERO));
    }
}
