//! Commands that another core than the owner can answer: those that read one key.

use crossbeam_epoch::Guard;
use emberkv_index::Fingerprint;
use emberkv_log::{Located, Value};
use emberkv_resp::Reply;
use emberkv_resp::schema::CommandId;

use super::SHARED_VALUE_BYTES;
use super::elements;
use super::expire::time_answer;
use super::lists;
use super::sorted_sets;
use super::strings::{Range, range_of};
use crate::collections::type_name;
use crate::foreign::{Foreign, PartitionReader};
use crate::group::Request;
use crate::lookup::{TextBuf, text_len};

/// What has become of a command that was tried directly.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Direct {
    /// Its reply is written, and counts as a keyspace hit.
    Hit,
    /// Its reply is written, and counts as a keyspace miss.
    Miss,
    /// Its reply is written, and counts as neither.
    Uncounted,
    /// Nothing is written: the owner is to be asked.
    Ask,
}

impl PartitionReader {
    /// Whether [`PartitionReader::answer`] can answer such a command: it reads one key.
    #[inline]
    pub fn answers(request: Request<'_>) -> bool {
        match request.id {
            CommandId::Get
            | CommandId::Strlen
            | CommandId::Getrange
            | CommandId::Substr
            | CommandId::Ttl
            | CommandId::Pttl
            | CommandId::Expiretime
            | CommandId::Pexpiretime
            | CommandId::Type
            | CommandId::Hget
            | CommandId::Hexists
            | CommandId::Hlen
            | CommandId::Hstrlen
            | CommandId::Llen
            | CommandId::Scard
            | CommandId::Sismember
            | CommandId::Zcard
            | CommandId::Zscore => true,
            CommandId::Exists | CommandId::Touch => request.args.len() == 2,
            _ => false,
        }
    }

    /// Writes the reply to a command of those, if it can be told without the owner. The reply may be sent at once: what
    /// it depends on has reached the policy's level.
    pub fn answer(
        &self,
        guard: &Guard,
        request: Request<'_>,
        fingerprint: Fingerprint,
        now_ms: u64,
        reply: &mut Reply<'_>,
    ) -> Direct {
        debug_assert!(Self::answers(request));
        let range = match request.id {
            CommandId::Getrange | CommandId::Substr => match Range::parse(request.args) {
                Ok(range) => Some(range),
                // the owner finds the words for it
                Err(_) => return Direct::Ask,
            },
            _ => None,
        };
        // the others ask about a key, and not for what it holds
        let is_read = matches!(
            request.id,
            CommandId::Get
                | CommandId::Strlen
                | CommandId::Getrange
                | CommandId::Substr
                | CommandId::Touch
                | CommandId::Hget
                | CommandId::Hexists
                | CommandId::Hlen
                | CommandId::Hstrlen
                | CommandId::Llen
                | CommandId::Scard
                | CommandId::Sismember
                | CommandId::Zcard
                | CommandId::Zscore
        );
        let record = match self.record(guard, request.db, request.args.at(1), fingerprint, now_ms, is_read) {
            Foreign::Ask => return Direct::Ask,
            Foreign::Nil => None,
            Foreign::Value(record) => Some(record),
        };
        // what is no string, the owner finds the words for
        let is_string = |record: &Located<'_>| match record.value() {
            Value::Bytes(_) | Value::Int(_) | Value::Packed(_) => true,
            // the owner has its chunks
            Value::Chunked(_) => request.id == CommandId::Strlen,
            Value::Whole(_) | Value::Root(_) => false,
        };
        if matches!(request.id, CommandId::Strlen | CommandId::Getrange | CommandId::Substr)
            && !record.as_ref().is_none_or(is_string)
        {
            return Direct::Ask;
        }
        let mut buf = TextBuf::default();
        match request.id {
            CommandId::Get => match record {
                None => reply.null(),
                Some(record) => match record.value() {
                    Value::Bytes(bytes) if bytes.len() < SHARED_VALUE_BYTES => reply.bulk(bytes),
                    Value::Bytes(bytes) => match record.share_value() {
                        Some(shared) => reply.bulk_shared(shared),
                        None => reply.bulk(bytes),
                    },
                    Value::Int(int) => reply.bulk_integer(int),
                    Value::Packed(packed) => reply.bulk_with(packed.len(), |out| packed.unpack(out)),
                    Value::Whole(_) | Value::Root(_) | Value::Chunked(_) => return Direct::Ask,
                },
            },
            CommandId::Strlen => reply.integer(record.map_or(0, |record| text_len(record.record().value())) as i64),
            CommandId::Getrange | CommandId::Substr => {
                let text = text_of(record, &mut buf);
                reply.bulk(range.map_or(&[], |range| range_of(text, range)));
            }
            CommandId::Hget
            | CommandId::Hexists
            | CommandId::Hlen
            | CommandId::Hstrlen
            | CommandId::Scard
            | CommandId::Sismember => {
                let value = record.as_ref().map(|record| record.record().value());
                if !elements::direct(request, value, now_ms, reply) {
                    return Direct::Ask;
                }
            }
            CommandId::Zcard | CommandId::Zscore => {
                let value = record.as_ref().map(|record| record.record().value());
                if !sorted_sets::direct(request.id, request.args, value, reply) {
                    return Direct::Ask;
                }
            }
            CommandId::Llen => {
                if !lists::direct(record.as_ref().map(|record| record.record().value()), reply) {
                    return Direct::Ask;
                }
            }
            CommandId::Exists | CommandId::Touch => reply.integer(i64::from(record.is_some())),
            CommandId::Type => {
                reply.simple(record.map_or("none", |record| type_name(record.value())));
                return Direct::Uncounted;
            }
            id => {
                reply.integer(time_answer(id, record.map(|record| record.expires_at_ms()), now_ms));
                return Direct::Uncounted;
            }
        }
        if record.is_some() { Direct::Hit } else { Direct::Miss }
    }
}

/// The value as text, by way of `buf` if it is not kept as such; empty for no record.
fn text_of<'a>(record: Option<Located<'a>>, buf: &'a mut TextBuf) -> &'a [u8] {
    record.map_or(&[], |record| buf.text(record.record().value()))
}
