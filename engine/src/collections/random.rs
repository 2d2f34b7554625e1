//! Elements at random.

use std::collections::HashSet;

use emberkv_log::disk::Disk;
use emberkv_resp::format;

use super::root::Root;
use crate::lookup::{Found, Key};
use crate::partition::Partition;
use crate::stop::Stop;
use crate::transact::Strings;

/// How often a leaf is drawn that may be thrown back, before one is taken that is not.
const DRAWS: u32 = 64;

/// Elements that may be asked for more than once: what redis would never end with is refused.
const MAX_REPEATED: u64 = 1 << 24;

/// And the bytes of these.
const MAX_REPEATED_BYTES: usize = 1 << 30;

/// So many are drawn leaf by leaf, also where leaves may not be in memory.
const FEW: u64 = 64;

const OUT_OF_RANGE: Stop = Stop::error("ERR value is out of range");

/// What is asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted {
    pub count: u64,
    /// Whether an element may come more than once.
    pub repeats: bool,
    /// Whether the values are asked for too.
    pub values: bool,
}

impl Wanted {
    /// What a count asks for: so many different ones, or, below zero, some that may come again.
    ///
    /// # Errors
    /// If it is no such count.
    pub fn parse(count: &[u8], values: bool) -> Result<Self, Stop> {
        let count = format::parse_integer(count).ok_or(Stop::NOT_AN_INTEGER)?;
        if count == i64::MIN {
            let text = format!("ERR value is out of range, value must between {} and {}", -i64::MAX, i64::MAX);
            return Err(Stop::Error(text.into()));
        }
        Ok(Self { count: count.unsigned_abs(), repeats: count < 0, values })
    }

    /// What redis would never end with is refused.
    ///
    /// # Errors
    /// If it is that.
    pub fn bounded(self) -> Result<Self, Stop> {
        let is_large = self.values && self.count > i64::MAX as u64 / 2;
        if is_large || self.repeats && self.count > MAX_REPEATED { Err(OUT_OF_RANGE) } else { Ok(self) }
    }

    fn push(self, strings: &mut Strings, field: &[u8], value: &[u8]) {
        strings.push(field);
        if self.values {
            strings.push(value);
        }
    }

    /// What is drawn again and again is bounded: each time it is copied.
    fn check(self, drawn: &Strings) -> Result<(), Stop> {
        if self.repeats && drawn.bytes_len() > MAX_REPEATED_BYTES { Err(OUT_OF_RANGE) } else { Ok(()) }
    }
}

impl<D: Disk> Partition<D> {
    /// Elements of a collection, each with its value behind it if that is wanted. Of different ones there may be fewer.
    ///
    /// # Errors
    /// See [`Stop`].
    pub(crate) fn random_elements(&mut self, key: Key<'_>, found: Found, wanted: Wanted) -> Result<Strings, Stop> {
        let size = self.head(found).map_or(0, |head| head.count);
        let before = self.random;
        // leaf by leaf a draw begins anew with each that is not in memory
        let may_draw = wanted.count <= FEW || !self.log.table().has_cold();
        let drawn = match self.root(found) {
            Some(root) if may_draw && (wanted.repeats || wanted.count.saturating_mul(3) < size) => {
                self.draw_elements(key, root, wanted)
            }
            _ => self.choose_elements(key, found, wanted),
        };
        if matches!(drawn, Err(Stop::Cold(_))) {
            self.random = before; // it draws the same when that has come
        }
        drawn
    }

    /// Out of all that there are.
    fn choose_elements(&mut self, key: Key<'_>, found: Found, wanted: Wanted) -> Result<Strings, Stop> {
        let mut all = Strings::default();
        self.each_pair(key, found, |pair| wanted.push(&mut all, pair.field, pair.value))?;
        let each = 1 + usize::from(wanted.values);
        let (size, mut chosen) = ((all.len() / each) as u64, Strings::default());
        let mut take = |i: u64| -> Result<(), Stop> {
            let first = i as usize * each;
            (first..first + each).for_each(|i| chosen.push(all.at(i)));
            wanted.check(&chosen)
        };
        if wanted.repeats && size > 0 {
            for _ in 0..wanted.count {
                take(self.next_random() % size)?;
            }
            return Ok(chosen);
        }
        let mut left = wanted.count.min(size);
        for i in 0..size {
            if self.next_random() % (size - i) < left {
                take(i)?;
                left -= 1;
            }
        }
        Ok(chosen)
    }

    /// Leaf by leaf, when few are wanted of many.
    fn draw_elements(&mut self, key: Key<'_>, root: Root, wanted: Wanted) -> Result<Strings, Stop> {
        let mut drawn = Strings::default();
        let mut seen = HashSet::new();
        let mut most = 4 * (root.head.count / u64::from(root.leaves) + 1);
        let mut left = wanted.count;
        while left > 0 {
            let mut is_drawn = false;
            // one that has fewer leaves than it says ends some time
            for nth in 0..DRAWS.saturating_mul(root.leaves) {
                // a leaf with twice as many is kept twice as often
                let leaf = (self.next_random() % u64::from(root.leaves)) as u32;
                let at = self.next_random() % most;
                let mut count = 0;
                self.each_of_leaf(key, root, leaf, |_| count += 1)?;
                most = most.max(count);
                let at = if nth < DRAWS || count == 0 { at } else { at % count };
                if at >= count {
                    continue;
                }
                let mut i = 0;
                self.each_of_leaf(key, root, leaf, |pair| {
                    if i == at && (wanted.repeats || seen.insert(pair.field.to_vec())) {
                        wanted.push(&mut drawn, pair.field, pair.value);
                        left -= 1;
                    }
                    i += 1;
                })?;
                is_drawn = true;
                break;
            }
            if !is_drawn {
                break;
            }
            wanted.check(&drawn)?;
        }
        Ok(drawn)
    }
}
