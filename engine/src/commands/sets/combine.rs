//! SINTER, SINTERCARD, SUNION, SDIFF, and those that store what comes of it: what is made of sets, wherever they come from.

use std::collections::HashSet;

use emberkv_resp::schema::CommandId;
use emberkv_resp::{Args, Reply, format};

use crate::collections::{CompactSet, Encoding, Members, Whole, int_of};
use crate::stop::Stop;

/// What is made of them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Operation {
    /// What all have.
    Inter,
    /// What any has.
    Union,
    /// What the first one has and no other.
    Diff,
}

/// What becomes of that.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum End {
    /// It is replied.
    Reply,
    /// It is counted, up to so many.
    Count { limit: usize },
    /// The key named first holds it.
    Store,
}

/// A command of these.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Combination {
    operation: Operation,
    end: End,
    /// The arguments that name sets.
    first: usize,
    behind: usize,
}

/// What sets come to.
#[derive(Debug)]
pub(crate) enum Combined<'a> {
    Members(Members<'a>),
    Count(usize),
}

impl Combination {
    /// Reads one.
    ///
    /// # Errors
    /// If its arguments are wrong.
    pub fn parse(id: CommandId, args: Args<'_>) -> Result<Self, Stop> {
        let operation = match id {
            CommandId::Sunion | CommandId::Sunionstore => Operation::Union,
            CommandId::Sdiff | CommandId::Sdiffstore => Operation::Diff,
            _ => Operation::Inter,
        };
        let (end, first, behind) = match id {
            CommandId::Sinterstore | CommandId::Sunionstore | CommandId::Sdiffstore => (End::Store, 2, args.len()),
            CommandId::Sintercard => {
                let (limit, behind) = parse_count(args)?;
                (End::Count { limit }, 2, behind)
            }
            _ => (End::Reply, 1, args.len()),
        };
        Ok(Self { operation, end, first, behind })
    }

    /// The keys of the sets.
    pub fn sources(self, args: Args<'_>) -> Args<'_> {
        args.to(self.behind).from(self.first)
    }

    /// The key that is to hold what comes of it.
    pub fn destination(self, args: Args<'_>) -> Option<&[u8]> {
        (self.end == End::Store).then(|| args.at(1))
    }

    /// What these sets come to.
    pub fn of(self, images: &[Option<Vec<u8>>], limits: CompactSet) -> Combined<'_> {
        let sets: Vec<_> = images.iter().map(|image| image.as_deref().map(Whole::read)).collect();
        let mut members = match (self.operation, self.end) {
            (Operation::Inter, End::Count { limit }) => return Combined::Count(inter(&sets).0.take(limit).count()),
            (Operation::Inter, end) => collect_inter(&sets, end, limits),
            (Operation::Union, end) => {
                let mut members = Members::new(beginning(&sets, end));
                let mut seen = HashSet::new();
                for member in sets.iter().flatten().flat_map(|set| set.pairs()).map(|pair| pair.field) {
                    if seen.insert(member) {
                        members.push(member, limits);
                    }
                }
                members
            }
            (Operation::Diff, end) => collect_diff(&sets, end, limits),
        };
        if members.encoding == Encoding::Intset {
            members.sort();
        }
        Combined::Members(members)
    }
}

impl Combined<'_> {
    /// Replies it, if it is not stored.
    pub fn answer(&self, reply: &mut Reply<'_>) {
        match self {
            Self::Count(count) => reply.integer(*count as i64),
            Self::Members(members) => {
                reply.set(members.list.len());
                members.list.iter().for_each(|member| reply.bulk(member));
            }
        }
    }

    /// The image of the set that is stored, and how many members it has; none if it has none.
    pub fn image(&self) -> Option<(Vec<u8>, usize)> {
        match self {
            Self::Members(members) if !members.list.is_empty() => Some((members.image(), members.list.len())),
            _ => None,
        }
    }
}

/// SINTERCARD's limit, and where its keys have ended.
fn parse_count(args: Args<'_>) -> Result<(usize, usize), Stop> {
    let keys = format::parse_integer(args.at(1)).and_then(|keys| usize::try_from(keys).ok()).filter(|keys| *keys > 0);
    let keys = keys.ok_or(Stop::error("ERR numkeys should be greater than 0"))?;
    let behind = keys.saturating_add(2);
    if behind > args.len() {
        return Err(Stop::error("ERR Number of keys can't be greater than number of args"));
    }
    let mut limit = usize::MAX;
    let mut rest = args.from(behind).iter();
    while let Some(option) = rest.next() {
        let Some(number) = rest.next().filter(|_| option.eq_ignore_ascii_case(b"LIMIT")) else {
            return Err(Stop::SYNTAX);
        };
        let number = format::parse_integer(number).and_then(|number| usize::try_from(number).ok());
        limit = match number.ok_or(Stop::error("ERR LIMIT can't be negative"))? {
            0 => usize::MAX,
            limit => limit,
        };
    }
    Ok((limit, behind))
}

/// What all sets have, in the order of the smallest one, and how that is kept.
fn inter<'a>(sets: &[Option<Whole<'a>>]) -> (impl Iterator<Item = &'a [u8]>, Encoding) {
    let mut all: Vec<Whole<'a>> = sets.iter().flatten().copied().collect();
    if all.len() < sets.len() {
        all.clear(); // one of them is not there
    }
    all.sort_by_key(|set| set.head.count);
    let mut all = all.into_iter();
    let smallest = all.next();
    let others: Vec<HashSet<&[u8]>> = all.map(|set| set.pairs().map(|pair| pair.field).collect()).collect();
    let members = smallest.into_iter().flat_map(|set| set.pairs().map(|pair| pair.field));
    let members = members.filter(move |member| others.iter().all(|other| other.contains(member)));
    (members, smallest.map_or(Encoding::Listpack, |set| set.head.encoding))
}

fn collect_inter<'a>(sets: &[Option<Whole<'a>>], end: End, limits: CompactSet) -> Members<'a> {
    let (found, encoding) = inter(sets);
    if end == End::Reply {
        let list = found.collect();
        return Members { encoding: Encoding::Hashtable, list };
    }
    let mut members = Members::new(if encoding == Encoding::Intset { encoding } else { Encoding::Listpack });
    found.for_each(|member| members.push(member, limits));
    if members.list.len() as u64 <= limits.integers && members.list.iter().all(|member| int_of(member).is_some()) {
        members.encoding = Encoding::Intset;
    }
    members
}

/// How redis begins to collect members of any of these sets.
fn beginning(sets: &[Option<Whole<'_>>], end: End) -> Encoding {
    let are_integers = sets.iter().flatten().all(|set| set.head.encoding == Encoding::Intset);
    if end == End::Store || are_integers { Encoding::Intset } else { Encoding::Hashtable }
}

fn collect_diff<'a>(sets: &[Option<Whole<'a>>], end: End, limits: CompactSet) -> Members<'a> {
    let mut members = Members::new(beginning(sets, end));
    let Some((Some(first), others)) = sets.split_first() else { return members };
    let gone: HashSet<&[u8]> = others.iter().flatten().flat_map(|set| set.pairs()).map(|pair| pair.field).collect();
    let stays = |member: &&[u8]| !gone.contains(member);
    // by their sizes redis looks up all of the first set in the others, or takes all of it and removes what they have
    let there = sets.iter().flatten().count() as u64;
    let sum: u64 = sets.iter().flatten().map(|set| set.head.count).sum();
    let removes = first.head.count * there / 2 > sum;
    let all = first.pairs().map(|pair| pair.field);
    all.filter(|member| removes || stays(member)).for_each(|member| members.push(member, limits));
    members.list.retain(stays);
    members
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;
    use crate::collections::Compact;

    const LIMITS: CompactSet = CompactSet { integers: 8, listpack: Compact { entries: 6, value: 3 } };

    fn image(set: &BTreeSet<Vec<u8>>) -> Option<Vec<u8>> {
        let mut members = Members::new(Encoding::Intset);
        set.iter().for_each(|member| members.push(member, LIMITS));
        if members.encoding == Encoding::Intset {
            members.sort();
        }
        (!set.is_empty()).then(|| members.image())
    }

    fn made(operation: Operation, end: End, images: &[Option<Vec<u8>>]) -> Vec<Vec<u8>> {
        let combination = Combination { operation, end, first: 1, behind: 1 };
        match combination.of(images, LIMITS) {
            Combined::Members(members) => members.list.iter().map(|member| member.to_vec()).collect(),
            Combined::Count(count) => vec![count.to_string().into_bytes()],
        }
    }

    proptest! {
        #[test]
        fn what_comes_of_sets_is_what_the_words_say(
            numbers in proptest::collection::vec(proptest::collection::btree_set(0u8..14, 0..14), 1..4), texts: bool,
        ) {
            let text = |number: &u8| if texts { format!("m{number}") } else { number.to_string() }.into_bytes();
            let sets: Vec<BTreeSet<Vec<u8>>> = numbers.iter().map(|set| set.iter().map(text).collect()).collect();
            let images: Vec<Option<Vec<u8>>> = sets.iter().map(image).collect();
            let union: BTreeSet<_> = sets.iter().flatten().cloned().collect();
            let inter: BTreeSet<_> = union.iter().filter(|m| sets.iter().all(|set| set.contains(*m))).cloned().collect();
            let diff: BTreeSet<_> =
                sets[0].iter().filter(|m| !sets[1..].iter().any(|set| set.contains(*m))).cloned().collect();
            for (operation, expected) in
                [(Operation::Inter, &inter), (Operation::Union, &union), (Operation::Diff, &diff)]
            {
                for end in [End::Reply, End::Store] {
                    let list = made(operation, end, &images);
                    prop_assert_eq!(&list.iter().cloned().collect::<BTreeSet<_>>(), expected);
                    prop_assert_eq!(list.len(), expected.len(), "each once");
                }
            }
            let limited = made(Operation::Inter, End::Count { limit: 3 }, &images);
            prop_assert_eq!(&limited[0], &inter.len().min(3).to_string().into_bytes());
        }
    }
}
