//! The commands on data: one short function each.

mod bitfield;
mod bitop;
mod bits;
mod blocking;
mod counters;
mod direct;
mod elements;
mod expire;
mod geo;
mod hashes;
mod hyperloglog;
mod keys;
mod lcs;
mod lists;
mod object;
mod rename;
mod restore;
mod scan;
mod set;
mod sets;
mod sort;
mod sorted_sets;
mod streams;
mod strings;

pub use blocking::{may_wait, timeout_of};
pub use direct::Direct;
use emberkv_log::disk::Disk;
use emberkv_resp::Reply;
use emberkv_resp::schema::CommandId;
pub(crate) use scan::{BegunWalk, Walk};
pub use sort::sort_refusal;

use crate::collections::Type;
use crate::events::Cause;
use crate::group::Request;
use crate::partition::Partition;
use crate::stop::Stop;

pub(crate) use bitop::Operation;
pub(crate) use blocking::Wish;
pub(crate) use geo::Search;
pub(crate) use keys::check_flush_mode;
pub(crate) use lcs::{Lcs, NOT_STRINGS};
pub(crate) use lists::{Moving, PopOfMany, answer_popped};
pub(crate) use rename::{CopyOptions, NO_SUCH_KEY, parse_db};
pub(crate) use sets::{Combination, SETS};
pub(crate) use sort::{Known, Next as SortNext, Sort, Sorting, answer as answer_sorted, list_of};
pub(crate) use sorted_sets::{MultiPop, SortedCombination, check_range};
pub(crate) use streams::Reading;

/// Values from here on are sent from where they lie in the log, without a copy. While one is being sent its
/// segment's memory stays, even if the segment is freed: with shorter values a client that does not read could
/// hold a lot of it.
pub(crate) const SHARED_VALUE_BYTES: usize = 256 << 10;

impl<D: Disk> Partition<D> {
    /// Executes a command on data and writes its reply, which may be sent when what
    /// [`Partition::take_dependency`] returns has been reached.
    ///
    /// # Errors
    /// See [`Stop`]: then nothing was changed and nothing was written.
    ///
    /// # Panics
    /// If the command is not one on data.
    #[inline]
    pub fn execute(&mut self, request: Request<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
        self.prepare(request)?;
        // from here on it is the number that records have
        let request = Request { db: self.databases.physical(request.db), ..request };
        let done = match request.id {
            CommandId::Get => self.get(request, reply),
            CommandId::Set => self.set_command(request, reply),
            _ if self.is_refused(request.id) => Err(Stop::OUT_OF_MEMORY),
            _ => self.execute_other(request, reply),
        };
        self.serve_waiters();
        done
    }

    /// What comes before any command: nobody has its keys to himself, nobody has waited for them, and their records are here.
    #[inline]
    pub(crate) fn prepare(&mut self, request: Request<'_>) -> Result<(), Stop> {
        if !self.locks.is_empty() {
            self.check_locks(request)?;
        }
        if self.waiters.has_ready() {
            self.comes_after_waiters(request)?;
        }
        if self.log.table().has_cold() {
            self.bring_for(request)?;
        }
        self.whose = request.whose;
        self.events.cause = Cause::Command(request.id);
        Ok(())
    }

    #[inline(never)]
    pub(crate) fn execute_other(&mut self, request: Request<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
        match request.id {
            CommandId::Append => self.append(request, reply),
            CommandId::Bitcount => self.bitcount(request, reply),
            CommandId::Bitfield | CommandId::BitfieldRo => self.bitfield(request, reply),
            CommandId::Bitop => self.bitop(request, reply),
            CommandId::Bitpos => self.bitpos(request, reply),
            CommandId::Blmove
            | CommandId::Blmpop
            | CommandId::Blpop
            | CommandId::Brpop
            | CommandId::Brpoplpush
            | CommandId::Bzmpop
            | CommandId::Bzpopmax
            | CommandId::Bzpopmin => self.pop_now(request, reply),
            CommandId::Copy => self.copy(request, reply),
            CommandId::Dbsize => self.dbsize(request, reply),
            CommandId::Decr => self.decr(request, reply),
            CommandId::Decrby => self.decrby(request, reply),
            CommandId::Del | CommandId::Unlink => self.del(request, reply),
            CommandId::Delifeq => self.delifeq(request, reply),
            CommandId::Dump => self.dump_command(request, reply),
            CommandId::Exists | CommandId::Touch => self.exists(request, reply),
            CommandId::Expire | CommandId::Pexpire | CommandId::Expireat | CommandId::Pexpireat => {
                self.expire_command(request, reply)
            }
            CommandId::Expiretime | CommandId::Pexpiretime | CommandId::Ttl | CommandId::Pttl => {
                self.ttl(request, reply)
            }
            CommandId::Flushall => self.flushall(request, reply),
            CommandId::Flushdb => self.flushdb(request, reply),
            CommandId::Geoadd => self.geoadd(request, reply),
            CommandId::Geodist => self.geodist(request, reply),
            CommandId::Geohash => self.geohash(request, reply),
            CommandId::Geopos => self.geopos(request, reply),
            CommandId::Georadius
            | CommandId::GeoradiusRo
            | CommandId::Georadiusbymember
            | CommandId::GeoradiusbymemberRo
            | CommandId::Geosearch
            | CommandId::Geosearchstore => self.geosearch(request, reply),
            CommandId::Get => self.get(request, reply),
            CommandId::Getbit => self.getbit(request, reply),
            CommandId::Getdel => self.getdel(request, reply),
            CommandId::Getex => self.getex(request, reply),
            CommandId::Getrange | CommandId::Substr => self.getrange(request, reply),
            CommandId::Getset => self.getset(request, reply),
            CommandId::Hdel => self.remove_elements(request, Type::Hash, reply),
            CommandId::Hexpire | CommandId::Hexpireat | CommandId::Hpexpire | CommandId::Hpexpireat => {
                self.hexpire(request, reply)
            }
            CommandId::Hexpiretime | CommandId::Hpexpiretime | CommandId::Hpttl | CommandId::Httl => {
                self.httl(request, reply)
            }
            CommandId::Hget | CommandId::Hstrlen | CommandId::Hexists => self.ask_element(request, Type::Hash, reply),
            CommandId::Hgetall | CommandId::Hkeys | CommandId::Hvals => self.hgetall(request, reply),
            CommandId::Hgetdel => self.hgetdel(request, reply),
            CommandId::Hgetex => self.hgetex(request, reply),
            CommandId::Hincrby => self.hincrby(request, reply),
            CommandId::Hincrbyfloat => self.hincrbyfloat(request, reply),
            CommandId::Hlen => self.count_elements(request, Type::Hash, reply),
            CommandId::Hmget => self.ask_elements(request, Type::Hash, reply),
            CommandId::Hpersist => self.hpersist(request, reply),
            CommandId::Hrandfield => self.hrandfield(request, reply),
            CommandId::Hscan => self.element_scan(request, Type::Hash, reply),
            CommandId::Hset | CommandId::Hmset => self.hset(request, reply),
            CommandId::Hsetex => self.hsetex(request, reply),
            CommandId::Hsetnx => self.hsetnx(request, reply),
            CommandId::Incr => self.incr(request, reply),
            CommandId::Incrby => self.incrby(request, reply),
            CommandId::Incrbyfloat => self.incrbyfloat(request, reply),
            CommandId::Keys => self.keys(request, reply),
            CommandId::Lcs => self.lcs(request, reply),
            CommandId::Lindex => self.lindex(request, reply),
            CommandId::Linsert => self.linsert(request, reply),
            CommandId::Llen => self.llen(request, reply),
            CommandId::Lmove | CommandId::Rpoplpush => self.lmove(request, reply),
            CommandId::Lmpop => self.lmpop(request, reply),
            CommandId::Lpop | CommandId::Rpop => self.pop_command(request, reply),
            CommandId::Lpos => self.lpos(request, reply),
            CommandId::Lpush | CommandId::Lpushx | CommandId::Rpush | CommandId::Rpushx => {
                self.push_command(request, reply)
            }
            CommandId::Lrange => self.lrange(request, reply),
            CommandId::Lrem => self.lrem(request, reply),
            CommandId::Lset => self.lset(request, reply),
            CommandId::Ltrim => self.ltrim(request, reply),
            CommandId::MemoryUsage => self.memory_usage(request, reply),
            CommandId::Mget => self.mget(request, reply),
            CommandId::Move => self.move_command(request, reply),
            CommandId::Mset => self.mset(request, reply),
            CommandId::Msetnx => self.msetnx(request, reply),
            CommandId::ObjectEncoding
            | CommandId::ObjectFreq
            | CommandId::ObjectIdletime
            | CommandId::ObjectRefcount => self.object(request, reply),
            CommandId::Persist => self.persist(request, reply),
            CommandId::Pfadd => self.pfadd(request, reply),
            CommandId::Pfcount => self.pfcount(request, reply),
            CommandId::Pfdebug => self.pfdebug(request, reply),
            CommandId::Pfmerge => self.pfmerge(request, reply),
            CommandId::Psetex | CommandId::Setex => self.setex(request, reply),
            CommandId::Randomkey => self.randomkey(request, reply),
            CommandId::Rename | CommandId::Renamenx => self.rename(request, reply),
            CommandId::Restore => self.restore(request, reply),
            CommandId::Sadd => self.sadd(request, reply),
            CommandId::Scan => self.scan(request, reply),
            CommandId::Scard => self.count_elements(request, Type::Set, reply),
            CommandId::Sdiff
            | CommandId::Sdiffstore
            | CommandId::Sinter
            | CommandId::Sintercard
            | CommandId::Sinterstore
            | CommandId::Sunion
            | CommandId::Sunionstore => self.combine_sets(request, reply),
            CommandId::Set => self.set_command(request, reply),
            CommandId::Setbit => self.setbit(request, reply),
            CommandId::Setnx => self.setnx(request, reply),
            CommandId::Setrange => self.setrange(request, reply),
            CommandId::Sismember => self.ask_element(request, Type::Set, reply),
            CommandId::Smembers => self.smembers(request, reply),
            CommandId::Smismember => self.ask_elements(request, Type::Set, reply),
            CommandId::Smove => self.smove(request, reply),
            CommandId::Sort | CommandId::SortRo => self.sort(request, reply),
            CommandId::Spop => self.spop(request, reply),
            CommandId::Srandmember => self.srandmember(request, reply),
            CommandId::Srem => self.remove_elements(request, Type::Set, reply),
            CommandId::Sscan => self.element_scan(request, Type::Set, reply),
            CommandId::Strlen => self.strlen(request, reply),
            CommandId::Type => self.type_command(request, reply),
            CommandId::Xack => self.xack(request, reply),
            CommandId::Xadd => self.xadd(request, reply),
            CommandId::Xautoclaim => self.xautoclaim(request, reply),
            CommandId::Xclaim => self.xclaim(request, reply),
            CommandId::Xdel => self.xdel(request, reply),
            CommandId::XgroupCreate => self.xgroup_create(request, reply),
            CommandId::XgroupCreateconsumer => self.xgroup_createconsumer(request, reply),
            CommandId::XgroupDelconsumer => self.xgroup_delconsumer(request, reply),
            CommandId::XgroupDestroy => self.xgroup_destroy(request, reply),
            CommandId::XgroupSetid => self.xgroup_setid(request, reply),
            CommandId::XinfoConsumers => self.xinfo_consumers(request, reply),
            CommandId::XinfoGroups => self.xinfo_groups(request, reply),
            CommandId::XinfoStream => self.xinfo_stream(request, reply),
            CommandId::Xlen => self.xlen(request, reply),
            CommandId::Xpending => self.xpending(request, reply),
            CommandId::Xrange | CommandId::Xrevrange => self.xrange(request, reply),
            CommandId::Xread | CommandId::Xreadgroup => self.pop_now(request, reply),
            CommandId::Xsetid => self.xsetid(request, reply),
            CommandId::Xtrim => self.xtrim(request, reply),
            CommandId::Zadd | CommandId::Zincrby => self.zadd(request, reply),
            CommandId::Zcard => self.zcard(request, reply),
            CommandId::Zcount | CommandId::Zlexcount => self.zcount(request, reply),
            CommandId::Zdiff
            | CommandId::Zdiffstore
            | CommandId::Zinter
            | CommandId::Zintercard
            | CommandId::Zinterstore
            | CommandId::Zunion
            | CommandId::Zunionstore => self.zcombine(request, reply),
            CommandId::Zmpop => self.zmpop(request, reply),
            CommandId::Zmscore => self.zmscore(request, reply),
            CommandId::Zpopmax | CommandId::Zpopmin => self.zpop(request, reply),
            CommandId::Zrandmember => self.zrandmember(request, reply),
            CommandId::Zrange
            | CommandId::Zrangebylex
            | CommandId::Zrangebyscore
            | CommandId::Zrevrange
            | CommandId::Zrevrangebylex
            | CommandId::Zrevrangebyscore => self.zrange(request, reply),
            CommandId::Zrangestore => self.zrangestore(request, reply),
            CommandId::Zrank | CommandId::Zrevrank => self.zrank(request, reply),
            CommandId::Zrem => self.zrem(request, reply),
            CommandId::Zremrangebylex | CommandId::Zremrangebyrank | CommandId::Zremrangebyscore => {
                self.zremrange(request, reply)
            }
            CommandId::Zscan => self.zscan(request, reply),
            CommandId::Zscore => self.zscore(request, reply),
            other => unreachable!("{other:?} is no command on data"),
        }
    }
}
