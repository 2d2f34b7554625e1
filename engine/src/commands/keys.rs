//! Keys of any kind: what there is, and away with it.

use emberkv_log::DbId;
use emberkv_log::disk::Disk;
use emberkv_resp::schema::CommandId;
use emberkv_resp::{Args, Reply};

use crate::collections::type_name;
use crate::group::Request;
use crate::lookup::Lookup;
use crate::partition::Partition;
use crate::stop::Stop;

/// FLUSHALL's and FLUSHDB's argument; both ways are the same here, as nothing is freed key by key.
pub(crate) fn check_flush_mode(args: Args<'_>) -> Result<(), Stop> {
    let known = |name: &[u8]| name.eq_ignore_ascii_case(b"SYNC") || name.eq_ignore_ascii_case(b"ASYNC");
    match args.get(1) {
        None => Ok(()),
        Some(mode) if args.len() == 2 && known(mode) => Ok(()),
        Some(_) => Err(Stop::SYNTAX),
    }
}

impl<D: Disk> Partition<D> {
    pub(super) fn del(&mut self, request: Request<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
        let keys = request.args.from(1);
        self.reserve_delete(keys.iter())?;
        let mut deleted = 0;
        for bytes in keys.iter() {
            let key = self.key(request.db, bytes);
            match self.peek(key) {
                Lookup::Live(found) => {
                    self.delete(key, found);
                    deleted += 1;
                }
                // "no such key" waits like any other answer: for what hides an older value
                Lookup::Stale(found) => self.depends = self.depends.max(self.end(found)).max(self.last_delete),
                Lookup::Absent => self.depends = self.depends.max(self.last_delete),
            }
        }
        reply.integer(deleted);
        Ok(())
    }

    pub(super) fn exists(&mut self, request: Request<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
        let mut found = 0;
        for bytes in request.args.from(1).iter() {
            let key = self.key(request.db, bytes);
            let lookup = self.lookup(key)?;
            match request.id {
                CommandId::Touch => self.count_touch(key, lookup),
                _ => self.count_look(key, lookup),
            }
            found += i64::from(lookup.live().is_some());
        }
        reply.integer(found);
        Ok(())
    }

    pub(super) fn type_command(&mut self, request: Request<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
        let key = self.key(request.db, request.args.at(1));
        let found = self.lookup(key)?.live();
        if found.is_none() {
            self.note_miss(key);
        }
        reply.simple(found.map_or("none", |found| type_name(self.value(found))));
        Ok(())
    }

    pub(super) fn dbsize(&mut self, request: Request<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
        self.note_all()?;
        reply.integer(self.key_count(request.db) as i64);
        Ok(())
    }

    pub(super) fn flushall(&mut self, request: Request<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
        self.flush_command(request, None, reply)
    }

    pub(super) fn flushdb(&mut self, request: Request<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
        self.flush_command(request, Some(request.db), reply)
    }

    fn flush_command(&mut self, request: Request<'_>, db: Option<DbId>, reply: &mut Reply<'_>) -> Result<(), Stop> {
        check_flush_mode(request.args)?;
        self.flush(db)?;
        reply.ok();
        Ok(())
    }

    pub(super) fn randomkey(&mut self, request: Request<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
        self.note_all()?;
        match self.random_key(request.db)? {
            Some(key) => reply.bulk(&key),
            None => reply.null(),
        }
        Ok(())
    }
}
