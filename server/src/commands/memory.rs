//! MEMORY: what INFO memory has, in other shapes.

use emberkv_engine::{DbStats, EXPIRY_BYTES, INDEX_BYTES};
use emberkv_resp::Reply;
use emberkv_resp::schema::CommandId;

use super::Outcome;
use super::info::{Snapshot, Used, dbs};
use crate::core::Question;
use crate::core::shard::Shard;
use crate::driver::ConnId;

/// Below this nothing that DOCTOR could find is worth a word.
const SMALL_BYTES: u64 = 5 << 20;

impl Shard {
    pub(super) fn memory(&mut self, conn: ConnId, command: CommandId) -> Outcome {
        match command {
            CommandId::MemoryDoctor => self.ask_all(conn, Question::MemoryDoctor),
            CommandId::MemoryStats => self.ask_all(conn, Question::MemoryStats),
            CommandId::MemoryPurge => self.ask_all(conn, Question::Purge),
            _ => self.with_reply(conn, |reply| {
                // the records and the index do not come out of an allocator
                reply.bulk(b"Stats not supported for the current allocator");
            }),
        }
        Ok(())
    }

    /// Gives back what is kept for the next segments.
    pub(crate) fn purge(&mut self) {
        for own in self.owned().into_iter().flat_map(|owned| &mut owned.list) {
            own.partition.log_mut().discard_kept_memory();
        }
    }

    /// The reply to MEMORY STATS.
    pub(crate) fn reply_memory_stats(&self, cores: &[Snapshot], reply: &mut Reply<'_>) {
        let used = Used::of(self, cores);
        let (all, rss) = (used.total(), used.resident.all);
        let dbs: Vec<(usize, DbStats)> = dbs(self, cores).filter(|(_, db)| db.keys > 0).collect();
        let before = [
            ("peak.allocated", used.peak),
            ("total.allocated", all),
            ("startup.allocated", used.startup),
            ("replication.backlog", 0),
            ("clients.slaves", 0),
            ("clients.normal", used.clients),
            ("cluster.links", 0),
            ("aof.buffer", 0),
            ("log.segments", used.segments),
            ("index", used.index),
            ("expiry", used.expiry),
        ];
        let after = [
            ("overhead.total", used.overhead()),
            ("keys.count", used.keys),
            ("keys.bytes-per-key", all.saturating_sub(used.startup).checked_div(used.keys).unwrap_or(0)),
            ("dataset.bytes", used.dataset),
        ];
        let allocator = [("allocator.allocated", all), ("allocator.active", rss), ("allocator.resident", rss)];
        let pairs = before.len() + dbs.len() + after.len() + allocator.len() + 4;
        reply.map(pairs);
        let number = |reply: &mut Reply<'_>, (name, value): (&str, u64)| {
            reply.bulk(name.as_bytes());
            reply.integer(value as i64);
        };
        let fraction = |reply: &mut Reply<'_>, name: &str, value: f64| {
            reply.bulk(name.as_bytes());
            reply.double(value);
        };
        before.into_iter().for_each(|pair| number(reply, pair));
        for (db, stats) in dbs {
            reply.bulk(format!("db.{db}").as_bytes());
            reply.map(2);
            number(reply, ("overhead.hashtable.main", stats.keys * INDEX_BYTES));
            number(reply, ("overhead.hashtable.expires", stats.expires * EXPIRY_BYTES));
        }
        after.into_iter().for_each(|pair| number(reply, pair));
        fraction(reply, "dataset.percentage", used.dataset_percent());
        fraction(reply, "peak.percentage", all as f64 * 100.0 / used.peak.max(1) as f64);
        allocator.into_iter().for_each(|pair| number(reply, pair));
        fraction(reply, "fragmentation", used.fragmentation());
        number(reply, ("fragmentation.bytes", rss.saturating_sub(all)));
    }

    /// The reply to MEMORY DOCTOR.
    pub(crate) fn doctor(&self, cores: &[Snapshot]) -> String {
        let used = Used::of(self, cores);
        let data = used.total().saturating_sub(used.startup);
        // the segments of an empty log are no sign of anything
        if used.dataset + used.index + used.clients < SMALL_BYTES {
            return "Hi Sam, this instance is empty or is using very little memory, my issues detector can't be used in these \
                    conditions. Please, leave for your mission on Earth and fill it with some data. The new Sam and I will \
                    be back to our programming as soon as I finished rebooting.\n"
                .into();
        }
        let mut found = String::new();
        let mut say = |text: String| {
            found.push_str(" * ");
            found.push_str(&text);
            found.push('\n');
        };
        let max = self.config.maxmemory;
        if used.peak * 2 > used.total() * 3 {
            say("Peak memory: in the past more than 1.5 times of what is used now was used.".into());
        }
        if used.segments > 2 * used.dataset.max(SMALL_BYTES) {
            let (segments, live) = (used.segments >> 20, used.dataset >> 20);
            say(format!(
                "Dead records: {segments} MiB of segments hold {live} MiB that live. compaction is behind, or there is \
                 little data: a log has three segments at least. see compaction-amplification, and BGREWRITEAOF."
            ));
        }
        if used.fragmentation() > 1.4 && used.resident.all - used.total() > 64 << 20 {
            say(format!(
                "Resident memory: {} MiB more than is accounted for.",
                (used.resident.all - used.total()) >> 20
            ));
        }
        if used.clients > data / 4 {
            say(format!("Clients: their requests and replies take {} MiB.", used.clients >> 20));
        }
        if max > 0 && used.total() > max {
            say("Over maxmemory: writes that add data wait or are refused.".into());
        }
        if found.is_empty() {
            return "Hi Sam, I can't find any memory issue in your instance. I can only account for what occurs on this base.\n"
                .into();
        }
        format!("Sam, I detected a few issues in this instance's memory:\n\n{found}")
    }
}
