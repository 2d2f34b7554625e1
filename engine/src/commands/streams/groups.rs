//! XGROUP: groups of consumers.

use emberkv_log::Purpose;
use emberkv_log::disk::Disk;
use emberkv_resp::schema::CommandId;
use emberkv_resp::{Args, Reply, format};

use super::ids::{parse, parse_named};
use crate::collections::StreamDraft;
use crate::group::Request;
use crate::lookup::{Found, Key};
use crate::partition::Partition;
use crate::stop::Stop;

/// What is wrong with the arguments of a subcommand.
pub(super) fn wrong_arguments(container: &str, args: Args<'_>) -> Stop {
    let name = String::from_utf8_lossy(args.at(1));
    let text = format!("ERR unknown subcommand or wrong number of arguments for '{name}'. Try {container} HELP.");
    Stop::Error(text.into())
}

/// An error that names a group and its key.
pub(super) fn no_consumer_group(key: &[u8], group: &[u8]) -> Stop {
    let (key, group) = (String::from_utf8_lossy(key), String::from_utf8_lossy(group));
    Stop::Error(format!("NOGROUP No such consumer group '{group}' for key name '{key}'").into())
}

/// What XGROUP CREATE and SETID are asked for, beside an id.
#[derive(Clone, Copy, Default, Debug)]
struct Options {
    makes_stream: bool,
    /// How many entries the group has read, if that is known.
    read: Option<u64>,
}

impl Options {
    fn parse(id: CommandId, args: Args<'_>) -> Result<Self, Stop> {
        let mut options = Self::default();
        let mut i = 5;
        while i < args.len() {
            let is = |name: &str| args.at(i).eq_ignore_ascii_case(name.as_bytes());
            if id == CommandId::XgroupCreate && is("MKSTREAM") {
                options.makes_stream = true;
                i += 1;
            } else if is("ENTRIESREAD") && i + 1 < args.len() {
                let number = format::parse_integer(args.at(i + 1)).ok_or(Stop::NOT_AN_INTEGER)?;
                if number < -1 {
                    return Err(Stop::error("ERR value for ENTRIESREAD must be positive or -1"));
                }
                options.read = u64::try_from(number).ok();
                i += 2;
            } else {
                return Err(wrong_arguments("XGROUP", args));
            }
        }
        Ok(options)
    }

    /// No more than there have been.
    fn read_of(self, draft: &StreamDraft) -> Option<u64> {
        self.read.map(|read| read.min(draft.meta.added))
    }
}

impl<D: Disk> Partition<D> {
    /// The key of a subcommand of XGROUP, and its stream, which has to be there unless one `may_be_made`.
    fn group_key<'a>(
        &mut self,
        request: Request<'a>,
        may_be_made: bool,
    ) -> Result<(Key<'a>, Option<Found>, &'a [u8]), Stop> {
        let key = self.key(request.db, request.args.at(2));
        let found = self.lookup_stream(key)?;
        if found.is_none() && !may_be_made {
            return Err(Stop::error(
                "ERR The XGROUP subcommand requires the key to exist. Note that for CREATE you may want to use the \
                 MKSTREAM option to create an empty stream automatically.",
            ));
        }
        Ok((key, found, request.args.at(3)))
    }

    pub(in crate::commands) fn xgroup_create(
        &mut self,
        request: Request<'_>,
        reply: &mut Reply<'_>,
    ) -> Result<(), Stop> {
        let options = Options::parse(request.id, request.args)?;
        let (key, found, name) = self.group_key(request, options.makes_stream)?;
        let mut draft = self.stream_draft(found);
        let last = match request.args.at(4) {
            b"$" => draft.meta.last,
            id => parse(id, 0)?,
        };
        let nodes = &mut self.nodes(key, draft.id);
        if draft.group(nodes, name)?.is_some() {
            return Err(Stop::error("BUSYGROUP Consumer Group name already exists"));
        }
        let read = options.read_of(&draft);
        draft.add_group(nodes, name, last, read)?;
        match found {
            Some(_) => self.name_aside(Some("xgroup-create")),
            None => self.name_stream_event("xgroup-create"),
        }
        self.stream_commit(key, draft, Purpose::Grow)?;
        reply.ok();
        Ok(())
    }

    pub(in crate::commands) fn xgroup_setid(
        &mut self,
        request: Request<'_>,
        reply: &mut Reply<'_>,
    ) -> Result<(), Stop> {
        let options = Options::parse(request.id, request.args)?;
        let (key, found, name) = self.group_key(request, false)?;
        let mut draft = self.stream_draft(found);
        let nodes = &mut self.nodes(key, draft.id);
        let mut group = draft.group(nodes, name)?.ok_or_else(|| no_consumer_group(key.bytes, name))?;
        group.last = match request.args.at(4) {
            b"$" => draft.meta.last,
            id => parse_named(id, 0)?,
        };
        group.read = options.read_of(&draft);
        draft.set_group(nodes, &group)?;
        self.name_aside(Some("xgroup-setid"));
        self.stream_commit(key, draft, Purpose::Grow)?;
        reply.ok();
        Ok(())
    }

    pub(in crate::commands) fn xgroup_destroy(
        &mut self,
        request: Request<'_>,
        reply: &mut Reply<'_>,
    ) -> Result<(), Stop> {
        let (key, found, name) = self.group_key(request, false)?;
        let mut draft = self.stream_draft(found);
        let nodes = &mut self.nodes(key, draft.id);
        let Some(group) = draft.group(nodes, name)? else {
            reply.integer(0);
            return Ok(());
        };
        draft.remove_group(nodes, &group)?;
        self.name_aside(Some("xgroup-destroy"));
        self.stream_commit(key, draft, Purpose::Shrink)?;
        reply.integer(1);
        Ok(())
    }

    pub(in crate::commands) fn xgroup_createconsumer(
        &mut self,
        request: Request<'_>,
        reply: &mut Reply<'_>,
    ) -> Result<(), Stop> {
        let (key, found, name) = self.group_key(request, false)?;
        let (mut draft, now_ms) = (self.stream_draft(found), self.now_ms);
        let nodes = &mut self.nodes(key, draft.id);
        let group = draft.group(nodes, name)?.ok_or_else(|| no_consumer_group(key.bytes, name))?;
        let consumer = request.args.at(4);
        if draft.consumer(nodes, group.number, consumer)?.is_some() {
            reply.integer(0);
            return Ok(());
        }
        let consumer = draft.new_consumer(consumer, now_ms)?;
        draft.set_consumer(nodes, group.number, &consumer)?;
        self.name_aside(Some("xgroup-createconsumer"));
        self.stream_commit(key, draft, Purpose::Grow)?;
        reply.integer(1);
        Ok(())
    }

    pub(in crate::commands) fn xgroup_delconsumer(
        &mut self,
        request: Request<'_>,
        reply: &mut Reply<'_>,
    ) -> Result<(), Stop> {
        let (key, found, name) = self.group_key(request, false)?;
        let mut draft = self.stream_draft(found);
        let nodes = &mut self.nodes(key, draft.id);
        let group = draft.group(nodes, name)?.ok_or_else(|| no_consumer_group(key.bytes, name))?;
        let Some(consumer) = draft.consumer(nodes, group.number, request.args.at(4))? else {
            reply.integer(0);
            return Ok(());
        };
        let pending = draft.remove_consumer(nodes, group.number, &consumer)?;
        self.name_aside(Some("xgroup-delconsumer"));
        self.stream_commit(key, draft, Purpose::Shrink)?;
        reply.integer(pending as i64);
        Ok(())
    }
}
