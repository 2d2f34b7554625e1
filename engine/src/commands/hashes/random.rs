//! HRANDFIELD.

use std::collections::HashSet;

use emberkv_log::disk::Disk;
use emberkv_resp::{Protocol, Reply, format};

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

const OUT_OF_RANGE: Stop = Stop::error("ERR value is out of range");

impl<D: Disk> Partition<D> {
    pub(in crate::commands) fn hrandfield(&mut self, request: Request<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
        let args = request.args;
        let Some(count) = args.get(2) else {
            let (key, found) = self.read_hash(request)?;
            match found {
                Some(found) => reply.bulk(self.random_fields(key, found, 1, true)?.at(0)),
                None => reply.null(),
            }
            return Ok(());
        };
        let count = format::parse_integer(count).ok_or(Stop::NOT_AN_INTEGER)?;
        if count == i64::MIN {
            let text = format!("ERR value is out of range, value must between {} and {}", -i64::MAX, i64::MAX);
            return Err(Stop::Error(text.into()));
        }
        let values = args.get(3).is_some();
        if args.len() > 4 || args.get(3).is_some_and(|word| !word.eq_ignore_ascii_case(b"withvalues")) {
            return Err(Stop::SYNTAX);
        }
        if values && !(-i64::MAX / 2..=i64::MAX / 2).contains(&count)
            || count < 0 && count.unsigned_abs() > MAX_REPEATED
        {
            return Err(OUT_OF_RANGE);
        }
        let (key, found) = self.read_hash(request)?;
        let pairs = match found {
            Some(found) if count != 0 => self.random_fields(key, found, count.unsigned_abs(), count < 0)?,
            _ => Strings::default(),
        };
        let nests = values && reply.protocol() == Protocol::Resp3;
        reply.array(if values && !nests { pairs.len() } else { pairs.len() / 2 });
        for i in (0..pairs.len()).step_by(2) {
            if nests {
                reply.array(2);
            }
            reply.bulk(pairs.at(i));
            if values {
                reply.bulk(pairs.at(i + 1));
            }
        }
        Ok(())
    }

    /// So many fields of a hash, and their values, in turn: any, or different ones, of which there may be fewer.
    fn random_fields(&mut self, key: Key<'_>, found: Found, count: u64, repeats: bool) -> Result<Strings, Stop> {
        let size = self.head(found).map_or(0, |head| head.count);
        let before = self.random;
        let drawn = match self.root(found) {
            Some(root) if repeats || count.saturating_mul(3) < size => self.draw_fields(key, root, count, repeats),
            _ => self.choose_fields(key, found, count, size, repeats),
        };
        if matches!(drawn, Err(Stop::Cold(_))) {
            self.random = before; // it draws the same when that has come
        }
        drawn
    }

    /// Out of all that there are.
    fn choose_fields(
        &mut self,
        key: Key<'_>,
        found: Found,
        count: u64,
        size: u64,
        repeats: bool,
    ) -> Result<Strings, Stop> {
        let mut all = Strings::default();
        self.each_pair(key, found, |pair| {
            all.push(pair.field);
            all.push(pair.value);
        })?;
        let mut chosen = Strings::default();
        let mut take = |i: usize| {
            chosen.push(all.at(2 * i));
            chosen.push(all.at(2 * i + 1));
        };
        if repeats {
            (0..count).for_each(|_| take((self.next_random() % size) as usize));
            return Ok(chosen);
        }
        let mut left = count.min(size);
        for i in 0..size {
            if self.next_random() % (size - i) < left {
                take(i as usize);
                left -= 1;
            }
        }
        Ok(chosen)
    }

    /// Leaf by leaf, when few are wanted of many.
    fn draw_fields(&mut self, key: Key<'_>, root: Root, count: u64, repeats: bool) -> Result<Strings, Stop> {
        let mut drawn = Strings::default();
        let mut seen = HashSet::new();
        let mut most = 4 * (root.head.count / u64::from(root.leaves) + 1);
        while (drawn.len() as u64) < 2 * count {
            let mut pair = None;
            for nth in 0.. {
                // a leaf with twice as many is kept twice as often
                let leaf = (self.next_random() % u64::from(root.leaves)) as u32;
                let at = self.next_random() % most;
                let mut pairs = Vec::new();
                self.each_of_leaf(key, root, leaf, |pair| pairs.push((pair.field.to_vec(), pair.value.to_vec())))?;
                most = most.max(pairs.len() as u64);
                let at = if nth < DRAWS || pairs.is_empty() { at as usize } else { at as usize % pairs.len() };
                if at < pairs.len() {
                    pair = Some(pairs.swap_remove(at));
                    break;
                }
            }
            let Some((field, value)) = pair else { break };
            if repeats || seen.insert(field.clone()) {
                drawn.push(&field);
                drawn.push(&value);
            }
        }
        Ok(drawn)
    }
}
