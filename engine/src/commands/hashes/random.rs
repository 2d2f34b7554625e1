//! HRANDFIELD.

use std::collections::HashSet;

use emberkv_log::disk::Disk;
use emberkv_resp::{Args, Protocol, Reply, format};

use crate::collections::Root;
use crate::group::Request;
use crate::lookup::{Found, Key};
use crate::partition::Partition;
use crate::stop::Stop;
use crate::transact::Strings;

/// How often a leaf is drawn that may be thrown back, before one is taken that is not.
const DRAWS: u32 = 64;

/// Fields that may be asked for more than once: what redis would never end with is refused.
const MAX_REPEATED: u64 = 1 << 24;

/// And the bytes of these.
const MAX_REPEATED_BYTES: usize = 1 << 30;

/// So many are drawn leaf by leaf, also where leaves may not be in memory.
const FEW: u64 = 64;

const OUT_OF_RANGE: Stop = Stop::error("ERR value is out of range");

impl<D: Disk> Partition<D> {
    pub(in crate::commands) fn hrandfield(&mut self, request: Request<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
        let args = request.args;
        let Some(count) = args.get(2) else {
            let (key, found) = self.read_hash(request)?;
            match found {
                Some(found) => {
                    let drawn = self.random_fields(key, found, Drawing { count: 1, repeats: true, values: false })?;
                    if drawn.is_empty() { reply.null() } else { reply.bulk(drawn.at(0)) }
                }
                None => reply.null(),
            }
            return Ok(());
        };
        let drawing = Drawing::parse(count, args, b"withvalues")?;
        let (key, found) = self.read_hash(request)?;
        let drawn = match found {
            Some(found) if drawing.count != 0 => self.random_fields(key, found, drawing)?,
            _ => Strings::default(),
        };
        let nests = drawing.values && reply.protocol() == Protocol::Resp3;
        reply.array(if nests { drawn.len() / 2 } else { drawn.len() });
        for (i, string) in drawn.iter().enumerate() {
            if nests && i.is_multiple_of(2) {
                reply.array(2);
            }
            reply.bulk(string);
        }
        Ok(())
    }

    /// Fields of a hash, each with its value behind it if that is wanted. Of different ones there may be fewer.
    pub(in crate::commands) fn random_fields(
        &mut self,
        key: Key<'_>,
        found: Found,
        drawing: Drawing,
    ) -> Result<Strings, Stop> {
        let size = self.head(found).map_or(0, |head| head.count);
        let before = self.random;
        // leaf by leaf a draw begins anew with each that is not in memory
        let may_draw = drawing.count <= FEW || !self.log.table().has_cold();
        let drawn = match self.root(found) {
            Some(root) if may_draw && (drawing.repeats || drawing.count.saturating_mul(3) < size) => {
                self.draw_fields(key, root, drawing)
            }
            _ => self.choose_fields(key, found, drawing),
        };
        if matches!(drawn, Err(Stop::Cold(_))) {
            self.random = before; // it draws the same when that has come
        }
        drawn
    }

    /// Out of all that there are.
    fn choose_fields(&mut self, key: Key<'_>, found: Found, drawing: Drawing) -> Result<Strings, Stop> {
        let mut all = Strings::default();
        self.each_pair(key, found, |pair| drawing.push(&mut all, pair.field, pair.value))?;
        let each = 1 + usize::from(drawing.values);
        let (size, mut chosen) = ((all.len() / each) as u64, Strings::default());
        let mut take = |i: u64| -> Result<(), Stop> {
            let first = i as usize * each;
            (first..first + each).for_each(|i| chosen.push(all.at(i)));
            drawing.check(&chosen)
        };
        if drawing.repeats && size > 0 {
            for _ in 0..drawing.count {
                take(self.next_random() % size)?;
            }
            return Ok(chosen);
        }
        let mut left = drawing.count.min(size);
        for i in 0..size {
            if self.next_random() % (size - i) < left {
                take(i)?;
                left -= 1;
            }
        }
        Ok(chosen)
    }

    /// Leaf by leaf, when few are wanted of many.
    fn draw_fields(&mut self, key: Key<'_>, root: Root, drawing: Drawing) -> Result<Strings, Stop> {
        let mut drawn = Strings::default();
        let mut seen = HashSet::new();
        let mut most = 4 * (root.head.count / u64::from(root.leaves) + 1);
        let mut left = drawing.count;
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
                    if i == at && (drawing.repeats || seen.insert(pair.field.to_vec())) {
                        drawing.push(&mut drawn, pair.field, pair.value);
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
            drawing.check(&drawn)?;
        }
        Ok(drawn)
    }
}

/// What is asked for.
#[derive(Clone, Copy, Debug)]
pub(in crate::commands) struct Drawing {
    pub count: u64,
    /// Whether a field may come more than once.
    pub repeats: bool,
    /// Whether the values are asked for too.
    pub values: bool,
}

impl Drawing {
    /// Reads a count, and whether a word behind it asks for the values.
    pub fn parse(count: &[u8], args: Args<'_>, values_word: &[u8]) -> Result<Self, Stop> {
        let count = format::parse_integer(count).ok_or(Stop::NOT_AN_INTEGER)?;
        if count == i64::MIN {
            let text = format!("ERR value is out of range, value must between {} and {}", -i64::MAX, i64::MAX);
            return Err(Stop::Error(text.into()));
        }
        let values = args.get(3).is_some();
        if args.len() > 4 || args.get(3).is_some_and(|word| !word.eq_ignore_ascii_case(values_word)) {
            return Err(Stop::SYNTAX);
        }
        if values && !(-i64::MAX / 2..=i64::MAX / 2).contains(&count)
            || count < 0 && count.unsigned_abs() > MAX_REPEATED
        {
            return Err(OUT_OF_RANGE);
        }
        Ok(Self { count: count.unsigned_abs(), repeats: count < 0, values })
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
