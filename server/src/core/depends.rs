//! What replies wait for: positions of the partitions that this core owns.

use emberkv_log::LogPosition;

/// See the module. Nearly always it is one partition.
#[derive(Debug, Default)]
pub(crate) struct Depends {
    own: u16,
    position: LogPosition,
    others: Vec<(u16, LogPosition)>,
}

impl Depends {
    /// Waits for `position` of the core's partition `own` too.
    #[inline]
    pub fn add(&mut self, own: u16, position: LogPosition) {
        if own == self.own {
            self.position = self.position.max(position);
        } else if position.0 > 0 {
            self.add_other(own, position);
        }
    }

    fn add_other(&mut self, own: u16, position: LogPosition) {
        if self.position.0 == 0 {
            (self.own, self.position) = (own, position);
            return;
        }
        match self.others.iter_mut().find(|(other, _)| *other == own) {
            Some((_, known)) => *known = (*known).max(position),
            None => self.others.push((own, position)),
        }
    }

    /// Whether all that is waited for has reached the level that the sync policy promises; `gates` are those of the
    /// core's partitions.
    #[inline]
    pub fn is_reached(&self, gates: &[LogPosition]) -> bool {
        let reached = |own: u16, position: LogPosition| {
            position.0 == 0 || gates.get(usize::from(own)).is_some_and(|gate| position <= *gate)
        };
        reached(self.own, self.position)
            && (self.others.is_empty() || self.others.iter().all(|(own, position)| reached(*own, *position)))
    }

    /// Whether it waits for a partition that is `hopeless`: whose log will not go on.
    pub fn is_hopeless(&self, gates: &[LogPosition], hopeless: &[bool]) -> bool {
        let waits = |own: u16, position: LogPosition| {
            let own = usize::from(own);
            position.0 > 0 && hopeless.get(own) == Some(&true) && gates.get(own).is_none_or(|gate| position > *gate)
        };
        waits(self.own, self.position) || self.others.iter().any(|(own, position)| waits(*own, *position))
    }

    /// Takes it and leaves nothing.
    #[inline]
    pub fn take(&mut self) -> Self {
        std::mem::take(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_wait_for_the_latest_position_of_each_partition() {
        let gates = |first, second| [LogPosition(first), LogPosition(second)];
        let mut depends = Depends::default();
        assert!(depends.is_reached(&[]), "nothing is waited for");
        depends.add(1, LogPosition(0));
        assert!(depends.is_reached(&[]));
        depends.add(1, LogPosition(7));
        depends.add(1, LogPosition(5));
        assert!(!depends.is_reached(&gates(100, 6)));
        assert!(depends.is_reached(&gates(0, 7)));
        depends.add(0, LogPosition(3));
        depends.add(0, LogPosition(9));
        assert!(!depends.is_reached(&gates(8, 7)) && !depends.is_reached(&gates(9, 6)));
        assert!(depends.is_reached(&gates(9, 7)));
        let third = [LogPosition(0), LogPosition(0), LogPosition(0)];
        assert!(
            depends.is_hopeless(&third, &[true, false, false]) && !depends.is_hopeless(&third, &[false, false, true])
        );
        assert!(!depends.is_hopeless(&gates(9, 7), &[true, true]), "what is reached needs no hope");
        assert!(depends.take().is_reached(&gates(9, 7)) && depends.is_reached(&[]));
    }
}
