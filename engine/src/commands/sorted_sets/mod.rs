//! Sorted sets: members with scores, in the order of (score, member).

mod add;
mod combine;
mod numbers;
mod pop;
mod random;
mod range;
mod read;
mod remove;
mod scan;
mod span;

use emberkv_log::disk::Disk;
use emberkv_resp::{Protocol, Reply};

use crate::collections::{Compact, Encoding, Head, Type, Whole, order_of, push_pair, score_of};
use crate::group::Request;
use crate::held::Held;
use crate::lookup::{Found, Key};
use crate::partition::Partition;
use crate::stop::Stop;
use crate::transact::Strings;

pub(crate) use combine::SortedCombination;
pub(super) use numbers::{parse_limit, parse_score};
pub(crate) use pop::MultiPop;
pub(crate) use range::check_range;
pub(super) use read::direct;
pub(super) use span::Span;

const NOT_A_FLOAT: Stop = Stop::error("ERR value is not a valid float");

/// Members with their scores, copied.
#[derive(Debug, Default)]
pub(crate) struct Members {
    names: Strings,
    orders: Vec<u64>,
}

impl Members {
    pub fn push(&mut self, member: &[u8], score: f64) {
        self.names.push(member);
        self.orders.push(order_of(score));
    }

    pub fn len(&self) -> usize {
        self.orders.len()
    }

    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&[u8], f64)> {
        self.names.iter().zip(self.orders.iter().map(|order| score_of(*order)))
    }
}

/// A sorted set that is made anew, of members that come in order.
#[derive(Debug)]
pub(crate) struct Image {
    pairs: Vec<u8>,
    head: Head,
    limits: Compact,
}

impl Image {
    pub fn new(limits: Compact) -> Self {
        let head = Head::new(Type::ZSet, Encoding::Listpack, 0);
        Self { pairs: Vec::new(), head, limits }
    }

    pub fn push(&mut self, member: &[u8], score: f64) {
        push_pair(&mut self.pairs, Type::ZSet.plain(), 0, member, &order_of(score).to_be_bytes());
        self.head.count += 1;
        if member.len() as u64 > self.limits.value || self.head.count > self.limits.entries {
            self.head.encoding = Encoding::Hashtable;
        }
    }

    pub fn image(self) -> Vec<u8> {
        Whole::write(self.head, &self.pairs)
    }

    /// The value; `None` if it has no members.
    pub fn held(self) -> Option<Held> {
        (self.head.count > 0).then(|| Held::whole(self.image(), None))
    }
}

/// How members are replied.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Shape {
    /// The members alone.
    Plain,
    /// Each, then its score.
    Flat,
    /// Each with its score, as a pair.
    Nested,
}

impl Shape {
    /// What version 3 nests.
    fn of(with_scores: bool, reply: &Reply<'_>) -> Self {
        match (with_scores, reply.protocol()) {
            (false, _) => Self::Plain,
            (true, Protocol::Resp2) => Self::Flat,
            (true, Protocol::Resp3) => Self::Nested,
        }
    }

    fn begin(self, count: usize, reply: &mut Reply<'_>) {
        reply.array(if self == Self::Flat { count * 2 } else { count });
    }

    fn show(self, member: &[u8], score: f64, reply: &mut Reply<'_>) {
        if self == Self::Nested {
            reply.array(2);
        }
        reply.bulk(member);
        if self != Self::Plain {
            reply.double(score);
        }
    }
}

impl<D: Disk> Partition<D> {
    /// A sorted set that a command reads; counted as a hit or a miss.
    pub(super) fn read_sorted<'a>(
        &mut self,
        request: Request<'a>,
        at: usize,
    ) -> Result<(Key<'a>, Option<Found>), Stop> {
        let key = self.key(request.db, request.args.at(at));
        let lookup = self.lookup_sorted(key)?;
        self.count_read(key, lookup);
        Ok((key, lookup.live()))
    }

    /// How many members a sorted set has.
    fn member_count(&self, found: Option<Found>) -> u64 {
        found.and_then(|found| self.head(found)).map_or(0, |head| head.count)
    }
}
