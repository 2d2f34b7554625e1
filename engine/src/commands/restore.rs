//! DUMP and RESTORE: values as redis writes them into its files, to be taken elsewhere.

use emberkv_log::disk::Disk;
use emberkv_log::{Purpose, Value};
use emberkv_resp::{Args, Reply, format};

use super::sorted_sets::Image;
use crate::collections::{Compact, Encoding, Head, Members, Type, Whole, order_of, push_element, push_field};
use crate::dump::{
    Bad, Content, LISTPACK_ENDS, Timed, dump, dump_elements, dump_expiring, dump_sorted_set, dump_stream, listpack_len,
    read,
};
use crate::group::Request;
use crate::held::Held;
use crate::lookup::{Found, Key, Lookup, TextBuf};
use crate::partition::Partition;
use crate::stop::Stop;
use crate::write::stored;

const BAD_FORMAT: Stop = Stop::error("ERR Bad data format");

/// RESTORE's options. How long a key has not been asked for, and how often it has, are not kept: they are only checked.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
struct Options {
    replace: bool,
    /// The time to live is a time.
    absolute: bool,
    idle_time: bool,
    frequency: bool,
}

impl Options {
    fn parse(args: Args<'_>) -> Result<Self, Stop> {
        let mut options = Self::default();
        let mut rest = args.from(4).iter();
        while let Some(option) = rest.next() {
            let is = |name: &str| option.eq_ignore_ascii_case(name.as_bytes());
            let number = |text| format::parse_integer(text).ok_or(Stop::NOT_AN_INTEGER);
            if is("REPLACE") {
                options.replace = true;
            } else if is("ABSTTL") {
                options.absolute = true;
            } else if is("IDLETIME")
                && !options.frequency
                && let Some(seconds) = rest.next()
            {
                options.idle_time = true;
                if number(seconds)? < 0 {
                    return Err(Stop::error("ERR Invalid IDLETIME value, must be >= 0"));
                }
            } else if is("FREQ")
                && !options.idle_time
                && let Some(frequency) = rest.next()
            {
                options.frequency = true;
                if !(0..256).contains(&number(frequency)?) {
                    return Err(Stop::error("ERR Invalid FREQ value, must be >= 0 and <= 255"));
                }
            } else {
                return Err(Stop::SYNTAX);
            }
        }
        Ok(options)
    }
}

impl<D: Disk> Partition<D> {
    pub(super) fn dump_command(&mut self, request: Request<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
        let key = self.key(request.db, request.args.at(1));
        let lookup = self.lookup(key)?;
        self.count_read(key, lookup);
        match lookup.live() {
            Some(found) => reply.bulk(&self.payload(key, found)?),
            None => reply.null(),
        }
        Ok(())
    }

    fn payload(&mut self, key: Key<'_>, found: Found) -> Result<Vec<u8>, Stop> {
        match self.head(found) {
            None if found.is_root() => {
                self.bring_texts(&[key])?;
                Ok(dump(Value::Bytes(self.text(found, &mut TextBuf::default()))))
            }
            None => Ok(dump(self.value(found))),
            Some(Head { kind: kind @ Type::List, count, .. }) => {
                dump_elements(kind, count, |show| self.each_element(key, found, show))
            }
            Some(Head { kind: Type::ZSet, count, .. }) => dump_sorted_set(count, |show| {
                // as redis does it: the last one first
                self.each_placed(key, found, 0..count, true, show)
            }),
            Some(Head { kind: Type::Stream, .. }) => {
                let mut draft = self.stream_draft(Some(found));
                Ok(dump_stream(&draft.whole(&mut self.nodes(key, draft.id))?))
            }
            Some(Head { count, due_ms, .. }) if due_ms > 0 => dump_expiring(count, due_ms, |show| {
                self.each_pair(key, found, |pair| show(pair.field, pair.value, pair.expires_at_ms))
            }),
            Some(Head { kind, count, .. }) => dump_elements(kind, count, |show| {
                self.each_pair(key, found, |pair| {
                    show(pair.field);
                    if kind == Type::Hash {
                        show(pair.value);
                    }
                })
            }),
        }
    }

    pub(super) fn restore(&mut self, request: Request<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
        let args = request.args;
        let options = Options::parse(args)?;
        let key = self.key(request.db, args.at(1));
        let old = self.lookup(key)?;
        if old.live().is_some() && !options.replace {
            return Err(Stop::error("BUSYKEY Target key name already exists."));
        }
        let ttl = format::parse_integer(args.at(2)).ok_or(Stop::NOT_AN_INTEGER)?;
        if ttl < 0 {
            return Err(Stop::error("ERR Invalid TTL value, must be >= 0"));
        }
        let content = read(args.at(3), self.limits.max_value_bytes).map_err(|bad| match bad {
            Bad::Footer => Stop::error("ERR DUMP payload version or checksum are wrong"),
            Bad::Content => BAD_FORMAT,
        })?;
        let expires_at_ms = match ttl {
            0 => None,
            at if options.absolute => Some(at as u64),
            // what is too far away is long ago, as for redis
            ms => Some(u64::try_from(ms.wrapping_add(self.now_ms as i64)).unwrap_or(0)),
        };
        let image = match content {
            Content::Text(text) => return self.restore_text(key, old, &text, expires_at_ms, reply),
            Content::Hash(pairs) => {
                let fields: Vec<_> = pairs.into_iter().map(|(field, value)| (field, value, 0)).collect();
                self.hash_image(&fields, false)
            }
            Content::ExpiringHash(mut fields) => {
                fields.sort_by_key(|(.., ms)| if *ms == 0 { u64::MAX } else { *ms });
                self.hash_image(&fields, true)
            }
            Content::List(elements) => self.list_image(&elements),
            Content::Stream(image) => image.write().ok_or(BAD_FORMAT)?,
            Content::Set(members, encoding) => self.set_image(&members, encoding),
            Content::SortedSet { mut members, is_listpack } => {
                members.sort_by(|a, b| (order_of(a.1), &a.0).cmp(&(order_of(b.1), &b.0)));
                let limits = self.limits.compact_zset;
                let mut image = Image::new(if is_listpack { Compact { value: u64::MAX, ..limits } } else { limits });
                members.iter().for_each(|(member, score)| image.push(member, *score));
                image.image()
            }
        };
        self.restore_image(key, old, image, expires_at_ms, reply)
    }

    fn restore_text(
        &mut self,
        key: Key<'_>,
        old: Lookup,
        text: &[u8],
        expires_at_ms: Option<u64>,
        reply: &mut Reply<'_>,
    ) -> Result<(), Stop> {
        let value = stored(text);
        let mut ahead = None;
        if expires_at_ms.is_some_and(|ms| ms <= self.now_ms) {
            self.reserve_delete(std::iter::once(key.bytes))?;
        } else {
            ahead = self.reserve_put(key, value, expires_at_ms, None)?;
        }
        self.put_or_expire(key, value, expires_at_ms, old, ahead);
        reply.ok();
        Ok(())
    }

    fn hash_image(&self, fields: &[Timed], may_expire: bool) -> Vec<u8> {
        let limits = self.limits.compact_hash;
        let is_long = |text: &[u8]| text.len() as u64 > limits.value;
        let is_large = fields.len() as u64 > limits.entries
            || fields.iter().any(|(field, value, _)| is_long(field) || is_long(value));
        let encoding = if is_large { Encoding::Hashtable } else { Encoding::Listpack };
        let encoding = if may_expire { encoding.expiring() } else { encoding };
        let due_ms = fields.iter().map(|(.., ms)| *ms).filter(|ms| *ms > 0).min().unwrap_or(0);
        let head = Head { due_ms, ..Head::new(Type::Hash, encoding, fields.len() as u64) };
        let mut pairs = Vec::new();
        for (field, value, expires_at_ms) in fields {
            push_field(&mut pairs, head.plain(), 0, field, value, *expires_at_ms);
        }
        Whole::write(head, &pairs)
    }

    fn set_image(&self, members: &[Vec<u8>], encoding: Option<Encoding>) -> Vec<u8> {
        let limits = self.limits.compact_set;
        let count = members.len() as u64;
        let mut set = Members::new(limits.expecting(encoding.unwrap_or(Encoding::Intset), count));
        match encoding {
            // what was kept in a simple way stays so, however long its members are
            Some(_) => set.list = members.iter().map(Vec::as_slice).collect(),
            None => members.iter().for_each(|member| set.push(member, limits)),
        }
        set.image()
    }

    fn restore_image(
        &mut self,
        key: Key<'_>,
        old: Lookup,
        image: Vec<u8>,
        expires_at_ms: Option<u64>,
        reply: &mut Reply<'_>,
    ) -> Result<(), Stop> {
        if expires_at_ms.is_some_and(|ms| ms <= self.now_ms) {
            self.reserve_delete(std::iter::once(key.bytes))?;
            if let Some(found) = old.live() {
                self.delete(key, found);
            }
            reply.ok();
            return Ok(());
        }
        let writes = self.writes(key, Held::whole(image, expires_at_ms));
        self.reserve_writes(key, &writes, 0, Purpose::Grow)?;
        self.write_all(key, &writes);
        reply.ok();
        Ok(())
    }

    fn list_image(&self, elements: &[Vec<u8>]) -> Vec<u8> {
        let (mut bytes, mut listpack) = (Vec::new(), LISTPACK_ENDS);
        for element in elements {
            push_element(&mut bytes, element);
            listpack += listpack_len(element);
        }
        let count = elements.len() as u64;
        let encoding = self.limits.list_fill.encoding(listpack, count);
        Whole::write(Head::new(Type::List, encoding, count), &bytes)
    }
}
