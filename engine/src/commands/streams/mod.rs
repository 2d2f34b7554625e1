//! Commands on streams.

mod add;
mod change;
mod claim;
mod counter;
mod groups;
mod ids;
mod info;
mod pending;
mod range;
mod read;

pub(crate) use read::Reading;

use emberkv_log::disk::Disk;
use emberkv_resp::Reply;

use crate::collections::{Elements, Group, StreamDraft, StreamId, Type};
use crate::events::{Cause, EventClass};
use crate::group::Request;
use crate::lookup::{Found, Key};
use crate::partition::Partition;
use crate::stop::Stop;

/// Ids without bounds.
const ALL: (StreamId, StreamId) = (StreamId::MIN, StreamId::MAX);

/// An id as a string.
fn reply_id(id: StreamId, reply: &mut Reply<'_>) {
    reply.bulk(id.to_string().as_bytes());
}

/// An entry: its id, and its fields and values.
fn reply_entry(id: StreamId, fields: Elements<'_>, reply: &mut Reply<'_>) {
    reply.array(2);
    reply_id(id, reply);
    reply.array(fields.count());
    fields.for_each(|field| reply.bulk(field));
}

/// An error that names a key and a group; `text` has a `{key}` and a `{group}`.
fn no_group(key: &[u8], group: &[u8]) -> Stop {
    let (key, group) = (String::from_utf8_lossy(key), String::from_utf8_lossy(group));
    Stop::Error(format!("NOGROUP No such key '{key}' or consumer group '{group}'").into())
}

impl<D: Disk> Partition<D> {
    /// Looks a key up whose value has to be a stream, if there is one.
    fn lookup_stream(&mut self, key: Key<'_>) -> Result<Option<Found>, Stop> {
        Ok(self.lookup_of(Type::Stream, key)?.live())
    }

    /// The same for a command that reads it; counted as a hit or a miss.
    fn read_stream(&mut self, key: Key<'_>) -> Result<Option<Found>, Stop> {
        let lookup = self.lookup_of(Type::Stream, key)?;
        self.count_read(key, lookup);
        Ok(lookup.live())
    }

    /// The stream under the key of a command, and the group that it names next.
    fn with_group<'a>(&mut self, request: Request<'a>) -> Result<(Key<'a>, Option<(StreamDraft, Group)>), Stop> {
        let key = self.key(request.db, request.args.at(1));
        let Some(found) = self.read_stream(key)? else { return Ok((key, None)) };
        let mut draft = self.stream_draft(Some(found));
        let group = draft.group(&mut self.nodes(key, draft.id), request.args.at(2))?;
        Ok((key, group.map(|group| (draft, group))))
    }

    /// What the command does next is told like this.
    fn name_stream_event(&mut self, name: &'static str) {
        self.name_event(EventClass::Stream, name);
    }

    /// What the command does next is about a group, and no change of the key as redis sees it; what it is told as, if it is.
    fn name_aside(&mut self, name: Option<&'static str>) {
        self.events.cause = Cause::Aside(name);
    }
}
