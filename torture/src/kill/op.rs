//! The commands of the workload, and how they are drawn.

use super::change::{Change, KINDS, KINDS_APART};
use super::derived::Derived;
use super::model::Key;
use crate::rng::Rng;

/// What a SET does with the expiry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ttl {
    /// Removes it.
    None,
    /// KEEPTTL.
    Keep,
    /// So many ms from the execution.
    InMs(i64),
    /// At this unix time in ms.
    AtMs(i64),
}

/// Which command writes a string; they share one effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spelling {
    /// SET with its options.
    Set,
    /// SETEX: the ttl is in whole seconds.
    SetEx,
    /// PSETEX.
    PSetEx,
}

/// One command on keys that a single connection owns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Op {
    /// SET, SETEX or PSETEX.
    Set {
        /// The key.
        key: Key,
        /// The new value.
        value: Vec<u8>,
        /// The expiry.
        ttl: Ttl,
        /// The command's name.
        spelled: Spelling,
    },
    /// DEL of some keys.
    Del(Vec<Key>),
    /// INCRBY.
    IncrBy {
        /// The key.
        key: Key,
        /// The increment.
        by: i64,
    },
    /// APPEND.
    Append {
        /// The key.
        key: Key,
        /// What is added.
        value: Vec<u8>,
    },
    /// SETRANGE.
    SetRange {
        /// The key.
        key: Key,
        /// From which byte on.
        at: u64,
        /// What is written there.
        value: Vec<u8>,
    },
    /// MSET.
    MSet(Vec<(Key, Vec<u8>)>),
    /// MSETNX.
    MSetNx(Vec<(Key, Vec<u8>)>),
    /// RENAME of the first to the second.
    Rename(Key, Key),
    /// COPY of the first to the second, which are not the same, with REPLACE.
    Copy(Key, Key),
    /// GETDEL.
    GetDel(Key),
    /// GET.
    Get(Key),
    /// PERSIST.
    Persist(Key),
    /// GETEX PERSIST.
    GetExPersist(Key),
    /// PEXPIRE.
    ExpireIn {
        /// The key.
        key: Key,
        /// The time to live in ms.
        ms: i64,
    },
    /// PEXPIREAT.
    ExpireAt {
        /// The key.
        key: Key,
        /// The unix time in ms.
        ms: i64,
    },
    /// One of those on a value that has elements.
    Change {
        /// The key.
        key: Key,
        /// What is done to it.
        change: Change,
    },
    /// One key is made of another one.
    Derive {
        /// How.
        how: Derived,
        /// Of which.
        from: Key,
        /// The other one, or the same.
        to: Key,
    },
    /// FLUSHDB of a database that no other connection uses.
    FlushDb,
    /// MULTI, these, and EXEC or DISCARD: all of them, or none.
    Multi {
        /// Keys to WATCH before. Nobody else changes them, so EXEC executes all the same.
        watched: Vec<Key>,
        /// What is queued.
        queued: Vec<Op>,
        /// Whether EXEC comes, or DISCARD.
        executes: bool,
    },
}

/// How keys begin that may expire while the test runs.
const SHORT_LIVED: &[u8] = b"brief:";

impl Op {
    /// The commands, the last of which has the answer that counts: one, but for a transaction.
    #[must_use]
    pub fn commands(&self) -> Vec<Vec<Vec<u8>>> {
        let Self::Multi { watched, queued, executes } = self else { return vec![self.args()] };
        let name = |name: &str| name.as_bytes().to_vec();
        let watch = std::iter::once(name("WATCH")).chain(watched.iter().cloned()).collect();
        let mut commands = if watched.is_empty() { Vec::new() } else { vec![watch] };
        commands.push(vec![name("MULTI")]);
        commands.extend(queued.iter().map(Self::args));
        commands.push(vec![name(if *executes { "EXEC" } else { "DISCARD" })]);
        commands
    }

    /// The words of the command; all that are queued, of a transaction.
    #[must_use]
    pub fn args(&self) -> Vec<Vec<u8>> {
        let name = |name: &str| name.as_bytes().to_vec();
        let int = |number: i64| number.to_string().into_bytes();
        match self {
            Self::Set { key, value, ttl, spelled } => match (spelled, ttl) {
                (Spelling::SetEx, Ttl::InMs(ms)) => {
                    vec![name("SETEX"), key.clone(), int(ms / 1000), value.clone()]
                }
                (Spelling::PSetEx, Ttl::InMs(ms)) => {
                    vec![name("PSETEX"), key.clone(), int(*ms), value.clone()]
                }
                (_, ttl) => {
                    let mut args = vec![name("SET"), key.clone(), value.clone()];
                    match ttl {
                        Ttl::None => {}
                        Ttl::Keep => args.push(name("KEEPTTL")),
                        Ttl::InMs(ms) if ms % 1000 == 0 => {
                            args.extend([name("EX"), int(ms / 1000)]);
                        }
                        Ttl::InMs(ms) => args.extend([name("PX"), int(*ms)]),
                        Ttl::AtMs(ms) => args.extend([name("PXAT"), int(*ms)]),
                    }
                    args
                }
            },
            Self::Del(keys) => std::iter::once(name("DEL")).chain(keys.iter().cloned()).collect(),
            Self::IncrBy { key, by: 1 } => vec![name("INCR"), key.clone()],
            Self::IncrBy { key, by: -1 } => vec![name("DECR"), key.clone()],
            Self::IncrBy { key, by } => vec![name("INCRBY"), key.clone(), int(*by)],
            Self::Append { key, value } => vec![name("APPEND"), key.clone(), value.clone()],
            Self::SetRange { key, at, value } => {
                vec![name("SETRANGE"), key.clone(), at.to_string().into_bytes(), value.clone()]
            }
            Self::MSet(pairs) => with_pairs(name("MSET"), pairs),
            Self::MSetNx(pairs) => with_pairs(name("MSETNX"), pairs),
            Self::Rename(from, to) => vec![name("RENAME"), from.clone(), to.clone()],
            Self::Copy(from, to) => vec![name("COPY"), from.clone(), to.clone(), name("REPLACE")],
            Self::GetDel(key) => vec![name("GETDEL"), key.clone()],
            Self::Get(key) => vec![name("GET"), key.clone()],
            Self::Persist(key) => vec![name("PERSIST"), key.clone()],
            Self::GetExPersist(key) => vec![name("GETEX"), key.clone(), name("PERSIST")],
            Self::ExpireIn { key, ms } if ms % 1000 == 0 => {
                vec![name("EXPIRE"), key.clone(), int(ms / 1000)]
            }
            Self::ExpireIn { key, ms } => vec![name("PEXPIRE"), key.clone(), int(*ms)],
            Self::Change { key, change } => change.args(key),
            Self::Derive { how, from, to } => how.args(from, to),
            Self::FlushDb => vec![name("FLUSHDB")],
            Self::Multi { .. } => self.commands().concat(),
            Self::ExpireAt { key, ms } => vec![name("PEXPIREAT"), key.clone(), int(*ms)],
        }
    }

    /// The keys that it names. FLUSHDB names none and changes all.
    #[must_use]
    pub fn keys(&self) -> Vec<&Key> {
        match self {
            Self::FlushDb => Vec::new(),
            Self::Multi { watched, queued, .. } => {
                let mut keys: Vec<&Key> = watched.iter().chain(queued.iter().flat_map(Self::keys)).collect();
                keys.sort_unstable();
                keys.dedup();
                keys
            }
            Self::Del(keys) => keys.iter().collect(),
            Self::Rename(from, to) | Self::Copy(from, to) | Self::Derive { from, to, .. } => vec![from, to],
            Self::MSet(pairs) | Self::MSetNx(pairs) => pairs.iter().map(|(key, _)| key).collect(),
            Self::Set { key, .. }
            | Self::IncrBy { key, .. }
            | Self::Append { key, .. }
            | Self::SetRange { key, .. }
            | Self::GetDel(key)
            | Self::Get(key)
            | Self::Persist(key)
            | Self::GetExPersist(key)
            | Self::ExpireIn { key, .. }
            | Self::ExpireAt { key, .. }
            | Self::Change { key, .. } => vec![key],
        }
    }

    /// True when its key may expire while the test runs.
    #[must_use]
    pub fn is_on_short_lived_key(&self) -> bool {
        self.keys().first().is_some_and(|key| key.starts_with(SHORT_LIVED))
    }
}

fn with_pairs(name: Vec<u8>, pairs: &[(Key, Vec<u8>)]) -> Vec<Vec<u8>> {
    let mut args = vec![name];
    for (key, value) in pairs {
        args.extend([key.clone(), value.clone()]);
    }
    args
}

/// Draws commands for one connection's own keys.
#[derive(Debug)]
pub struct Generator {
    rng: Rng,
    connection: usize,
    round: u64,
    counter: u64,
    now_ms: i64,
}

/// Long enough that no such key expires before the last round.
const HOUR_MS: i64 = 3_600_000;
/// Up to so many bytes has the value of a key that may have a large one.
const BIG_VALUE: u64 = 1_200_000;
/// New keys that each connection may make per round and kind.
const KEYS_PER_ROUND: u64 = 400;
/// The same, for what has elements.
const COLLECTIONS_PER_ROUND: u64 = 12;
/// The same, for long strings that are changed in places.
const MAPS_PER_ROUND: u64 = 3;
/// How long these become: from 16 KiB on they are kept in chunks.
const MAP_BYTES: u64 = 150_000;

impl Generator {
    /// A generator for one connection in one round, counted from 0.
    #[must_use]
    pub fn new(rng: Rng, connection: usize, round: u64, now_ms: i64) -> Self {
        Self { rng, connection, round, counter: 0, now_ms }
    }

    /// The next command.
    pub fn next_op(&mut self) -> Op {
        self.counter += 1;
        if self.rng.below(1_000) == 0 {
            return self.big_set();
        }
        if self.rng.percent(5) {
            return self.multi();
        }
        match self.rng.below(100) {
            90..94 => self.short_lived_set(),
            94..96 => self.short_lived_fields(),
            96..98 => Op::Del(vec![self.short_lived_key()]),
            98.. => Op::GetDel(self.short_lived_key()),
            _ => self.lasting_op(),
        }
    }

    /// One that may be in a transaction: what it does depends on no clock.
    fn lasting_op(&mut self) -> Op {
        match self.rng.below(134) {
            130.. => self.derive(),
            125..130 => self.change_of_map(),
            90..125 => self.change(),
            0..20 => self.set(),
            20..28 => {
                let by = *self.rng.pick(&[1, -1, 7, 1_000_003]);
                Op::IncrBy { key: self.key("num"), by }
            }
            28..30 => Op::IncrBy { key: self.key("str"), by: 1 },
            30..40 => Op::Append { key: self.key("app"), value: self.value(40) },
            40..48 => Op::Del((0..self.rng.between(1, 6)).map(|_| self.key_of_any_kind()).collect()),
            // not key_of_any_type: what is of these kinds is not renamed to another one
            80 => {
                let kind = *self.rng.pick(&KINDS_APART);
                Op::Rename(self.collection(kind), self.collection(kind))
            }
            48..56 => Op::MSet(self.pairs()),
            56..61 => Op::MSetNx(self.pairs()),
            61..66 => Op::GetDel(self.any_key()),
            66..70 => Op::Persist(self.key_of_any_kind()),
            70..72 => Op::GetExPersist(self.any_key()),
            72..77 => Op::ExpireIn { key: self.key_of_any_kind(), ms: self.long_ttl() },
            77..80 => Op::ExpireAt { key: self.key_of_any_type(), ms: self.now_ms + self.long_ttl() },
            81..83 => Op::Rename(self.key_of_any_type(), self.key_of_any_type()),
            83..86 => match (self.key_of_any_type(), self.key_of_any_type()) {
                (from, to) if from == to => Op::Get(from),
                (from, to) => Op::Copy(from, to),
            },
            _ => Op::Get(self.any_key()),
        }
    }

    fn multi(&mut self) -> Op {
        let watched = if self.rng.percent(30) { vec![self.any_key(), self.any_key()] } else { Vec::new() };
        let queued = (0..self.rng.between(1, 6)).map(|_| self.lasting_op()).collect();
        Op::Multi { watched, queued, executes: self.rng.percent(85) }
    }

    fn set(&mut self) -> Op {
        let key = if self.rng.percent(20) { self.key("num") } else { self.any_key() };
        let value = if key.starts_with(b"num") {
            self.rng.below(1_000_000).to_string().into_bytes()
        } else {
            let longest = *self.rng.pick(&[0, 8, 64, 64, 64, 300, 1024, 5000, 70_000]);
            self.value(longest)
        };
        let (ttl, spelled) = match self.rng.below(8) {
            0 => (Ttl::InMs(self.long_ttl() / 1000 * 1000), Spelling::SetEx),
            1 => (Ttl::InMs(self.long_ttl()), Spelling::PSetEx),
            2 => (Ttl::InMs(self.long_ttl()), Spelling::Set),
            3 => (Ttl::AtMs(self.now_ms + self.long_ttl()), Spelling::Set),
            4 => (Ttl::Keep, Spelling::Set),
            _ => (Ttl::None, Spelling::Set),
        };
        Op::Set { key, value, ttl, spelled }
    }

    /// A value that takes more than half of a small segment; few keys have one.
    fn big_set(&mut self) -> Op {
        let key = format!("big:{}:{}", self.connection, self.rng.below(2)).into_bytes();
        Op::Set { key, value: self.value(BIG_VALUE), ttl: Ttl::None, spelled: Spelling::Set }
    }

    fn short_lived_set(&mut self) -> Op {
        let ms = i64::try_from(self.rng.between(1, 3_000)).unwrap_or(1);
        let (key, value) = (self.short_lived_key(), self.value(50));
        Op::Set { key, value, ttl: Ttl::InMs(ms), spelled: Spelling::Set }
    }

    /// Fields that expire while the test runs, or have by then; now and then some are removed before.
    fn short_lived_fields(&mut self) -> Op {
        let key = format!("brief:{}:fields:{}", self.connection, self.rng.below(20)).into_bytes();
        let most = *self.rng.pick(&[3, 3, 40]);
        let names: Vec<_> =
            (0..self.rng.between(1, most)).map(|_| format!("e{}", self.rng.below(200)).into_bytes()).collect();
        let change = if self.rng.percent(15) {
            Change::HDel(names)
        } else {
            let ms = self.now_ms + i64::try_from(self.rng.below(8_000)).unwrap_or(0);
            Change::HSetEx(ms, names.into_iter().map(|name| (name, self.value(60))).collect())
        };
        Op::Change { key, change }
    }

    fn short_lived_key(&mut self) -> Key {
        let number = self.rng.below(200);
        format!("brief:{}:{number}", self.connection).into_bytes()
    }

    /// A key of a kind: of this round mostly, of an earlier one sometimes.
    fn key(&mut self, kind: &str) -> Key {
        let round = if self.rng.percent(75) { self.round } else { self.rng.below(self.round + 1) };
        let number = self.rng.below(KEYS_PER_ROUND);
        format!("{kind}:{}:{round}:{number}", self.connection).into_bytes()
    }

    fn any_key(&mut self) -> Key {
        let kind = *self.rng.pick(&["str", "str", "app", "num"]);
        self.key(kind)
    }

    /// One of those keys, or one that most commands on it take for a collection: of these there are fewer, so that they grow.
    fn key_of_any_type(&mut self) -> Key {
        if self.rng.percent(85) {
            return self.any_key();
        }
        if self.rng.percent(10) {
            return self.map();
        }
        let kind = *self.rng.pick(&KINDS);
        self.collection(kind)
    }

    /// One of those, or of a kind that no command brings to another one's name.
    fn key_of_any_kind(&mut self) -> Key {
        if self.rng.percent(97) {
            return self.key_of_any_type();
        }
        let kind = *self.rng.pick(&KINDS_APART);
        self.collection(kind)
    }

    fn derive(&mut self) -> Op {
        let (how, from, to) = *self.rng.pick(&[
            (Derived::Sorted, "list", "list"),
            (Derived::Sorted, "set", "list"),
            (Derived::Sorted, "zset", "set"),
            (Derived::Found, "geo", "geo"),
            (Derived::Merged, "hll", "hll"),
        ]);
        Op::Derive { how, from: self.collection(from), to: self.collection(to) }
    }

    fn collection(&mut self, kind: &str) -> Key {
        let round = if self.rng.percent(75) { self.round } else { self.rng.below(self.round + 1) };
        format!("{kind}:{}:{round}:{}", self.connection, self.rng.below(COLLECTIONS_PER_ROUND)).into_bytes()
    }

    fn map(&mut self) -> Key {
        let round = if self.rng.percent(75) { self.round } else { self.rng.below(self.round + 1) };
        format!("map:{}:{round}:{}", self.connection, self.rng.below(MAPS_PER_ROUND)).into_bytes()
    }

    fn change_of_map(&mut self) -> Op {
        let key = self.map();
        match self.rng.below(10) {
            0 => Op::Append { key, value: self.value(3000) },
            1 => Op::Set { key, value: self.value(MAP_BYTES), ttl: Ttl::None, spelled: Spelling::Set },
            _ => {
                let longest = *self.rng.pick(&[8, 8, 60, 5000]);
                Op::SetRange { key, at: self.rng.below(MAP_BYTES), value: self.value(longest) }
            }
        }
    }

    fn change(&mut self) -> Op {
        let kind = if self.rng.percent(25) { *self.rng.pick(&KINDS_APART) } else { *self.rng.pick(&KINDS) };
        let key = self.collection(kind);
        let begin = self.begin();
        Op::Change {
            key,
            change: Change::draw(&mut self.rng, kind, |rng, longest| filled(begin.clone(), rng, longest)),
        }
    }

    fn pairs(&mut self) -> Vec<(Key, Vec<u8>)> {
        let count = self.rng.between(1, 8);
        (0..count).map(|_| (self.key("str"), self.value(80))).collect()
    }

    fn long_ttl(&mut self) -> i64 {
        HOUR_MS + i64::try_from(self.rng.below(1_000_000_000)).unwrap_or(0)
    }

    /// What a value begins with that no other command writes.
    fn begin(&self) -> Vec<u8> {
        format!("{}.{}.{};", self.connection, self.round, self.counter).into_bytes()
    }

    /// A value that no other command writes (unless it is too short to say so), of at most
    /// about `longest` bytes.
    fn value(&mut self, longest: u64) -> Vec<u8> {
        filled(self.begin(), &mut self.rng, longest)
    }
}

fn filled(mut value: Vec<u8>, rng: &mut Rng, longest: u64) -> Vec<u8> {
    if longest == 0 {
        return Vec::new();
    }
    let length = usize::try_from(rng.below(longest)).unwrap_or(0);
    while value.len() < length {
        value.extend_from_slice(&rng.next_u64().to_le_bytes());
    }
    value
}
