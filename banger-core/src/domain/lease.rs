//! How long a VM may live.
//!
//! Invariants: a lease is counted from the moment it was granted, by the clock
//! that counts from the host's boot and nobody can set; only when the host has
//! booted since by the wall clock, and a wall clock that went back takes
//! nothing away. Entry points: [`Lease`], [`GrantedLease::remaining`].

use std::time::{Duration, SystemTime};

/// Limits on a VM's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease {
    /// How long it may exist after the lease was granted, running or not.
    pub max_lifetime: Option<Duration>,
    /// How long it may run while nobody uses it through banger: no command,
    /// attached or not, no copy and no forwarded connection. What it runs by
    /// itself is none.
    pub idle_timeout: Option<Duration>,
    /// What happens then.
    pub on_expiry: OnExpiry,
}

/// What happens to a VM whose lease has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum OnExpiry {
    /// It is stopped, and cannot be started before it has a new lease.
    Stop,
    /// It is stopped and deleted.
    Delete,
}

impl OnExpiry {
    /// Every choice.
    pub const ALL: [Self; 2] = [Self::Stop, Self::Delete];

    /// The choice's name, as stored and as users write it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Stop => "stop",
            Self::Delete => "delete",
        }
    }
}

/// A lease that counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GrantedLease {
    /// The limits.
    pub lease: Lease,
    /// Since when.
    pub granted: Moment,
}

/// A time, by both clocks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Moment {
    /// By the wall clock.
    pub wall: SystemTime,
    /// By the clock that counts from the host's boot, where there is one.
    pub since_boot: Option<SinceBoot>,
}

/// A time on the clock of one boot of the host, suspension included
/// (clock_gettime(2), `CLOCK_BOOTTIME`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SinceBoot {
    /// The host's boot id (`/proc/sys/kernel/random/boot_id`).
    pub boot_id: String,
    /// Since that boot.
    pub elapsed: Duration,
}

impl Moment {
    /// How long after `earlier` this is; nothing when it is not after.
    #[must_use]
    pub fn duration_since(&self, earlier: &Self) -> Duration {
        match (&self.since_boot, &earlier.since_boot) {
            (Some(now), Some(then)) if now.boot_id == then.boot_id => {
                now.elapsed.saturating_sub(then.elapsed)
            }
            _ => self.wall.duration_since(earlier.wall).unwrap_or_default(),
        }
    }
}

impl GrantedLease {
    /// What is left of the longest life; none when it has no limit.
    #[must_use]
    pub fn remaining(&self, now: &Moment) -> Option<Duration> {
        let limit = self.lease.max_lifetime?;
        Some(limit.saturating_sub(now.duration_since(&self.granted)))
    }

    /// Whether the longest life is over.
    #[must_use]
    pub fn is_over(&self, now: &Moment) -> bool {
        self.remaining(now) == Some(Duration::ZERO)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moment(wall: u64, boot: Option<(&str, u64)>) -> Moment {
        Moment {
            wall: SystemTime::UNIX_EPOCH + Duration::from_secs(wall),
            since_boot: boot.map(|(id, elapsed)| SinceBoot {
                boot_id: id.to_owned(),
                elapsed: Duration::from_secs(elapsed),
            }),
        }
    }

    #[test]
    fn a_lease_survives_jumps_of_the_wall_clock_and_boots_of_the_host() {
        let lease = GrantedLease {
            lease: Lease {
                max_lifetime: Some(Duration::from_secs(100)),
                idle_timeout: None,
                on_expiry: OnExpiry::Stop,
            },
            granted: moment(1000, Some(("a", 50))),
        };
        let cases = [
            (moment(1000, Some(("a", 50))), 100),
            (moment(1010, Some(("a", 60))), 90),
            // set forward by a day, and back by a day
            (moment(90_000, Some(("a", 60))), 90),
            (moment(0, Some(("a", 149))), 1),
            (moment(0, Some(("a", 150))), 0),
            (moment(0, Some(("a", 9999))), 0),
            // the host has booted since
            (moment(1030, Some(("b", 5))), 70),
            (moment(1200, Some(("b", 5))), 0),
            (moment(10, Some(("b", 5))), 100),
            (moment(1030, None), 70),
        ];
        for (now, left) in cases {
            let left = Duration::from_secs(left);
            assert_eq!(lease.remaining(&now), Some(left), "{now:?}");
            assert_eq!(lease.is_over(&now), left.is_zero(), "{now:?}");
        }
    }

    #[test]
    fn without_a_longest_life_nothing_ends() {
        let lease = GrantedLease {
            lease: Lease {
                max_lifetime: None,
                idle_timeout: Some(Duration::from_secs(1)),
                on_expiry: OnExpiry::Delete,
            },
            granted: moment(0, None),
        };
        assert!(!lease.is_over(&moment(1 << 40, None)));
    }
}
