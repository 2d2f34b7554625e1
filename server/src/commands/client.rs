//! CLIENT.

use emberkv_resp::{Args, format};

use super::{Outcome, SYNTAX};
use crate::core::connection::Connection;
use crate::core::shard::Shard;
use crate::core::{Kind, Question};
use crate::driver::ConnId;

pub(super) const BAD_NAME: &str = "ERR Client names cannot contain spaces, newlines or special characters.";

/// What the name of a client may consist of.
pub(super) fn is_printable(name: &[u8]) -> bool {
    name.iter().all(|byte| (b'!'..=b'~').contains(byte))
}

/// Which connections CLIENT LIST is to show.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Clients {
    All,
    /// By their numbers.
    Some(Vec<u64>),
    /// Those with subscriptions, or those without.
    Listening(bool),
}

impl Connection {
    /// The line of CLIENT LIST of one who waits for an element, or does not.
    pub(crate) fn describe(&self, up_ms: u64, waits: bool) -> Vec<u8> {
        let seconds = |since_ms: u64| up_ms.saturating_sub(since_ms) / 1000;
        let mut line =
            format!("id={} addr={} laddr={} fd=-1 name=", self.id, self.address, self.local_address).into_bytes();
        line.extend_from_slice(&self.name);
        let flags = [
            (self.monitors, 'O'),
            (self.listening.is_some(), 'P'),
            (waits, 'b'),
            (self.tracking.is_some(), 't'),
            (self.tracking.as_ref().is_some_and(|tracking| tracking.is_broken), 'R'),
            (self.tracking.as_ref().is_some_and(|tracking| tracking.broadcasts()), 'B'),
            (self.is_unix, 'U'),
            (self.no_evict, 'e'),
            (self.no_touch, 'T'),
        ];
        let mut flags: String = flags.iter().filter(|(is_set, _)| *is_set).map(|(_, flag)| *flag).collect();
        if flags.is_empty() {
            flags.push('N');
        }
        let unsent = self.unsent();
        let listening = |kind| self.listening.as_ref().map_or(0, |listening| listening.names(kind).len());
        let memory = self.query.capacity() + self.output.bytes_capacity() + size_of::<Self>();
        let multi = self.multi.as_ref().map_or(-1, |multi| multi.len() as i64);
        let multi_bytes = self.multi.as_ref().map_or(0, |multi| multi.bytes());
        let watch = self.watching.as_ref().map_or(0, |watching| watching.len());
        line.extend_from_slice(
            format!(
                " age={} idle={} flags={flags} db={} sub={} psub={} ssub={} multi={multi} watch={watch} qbuf={} qbuf-free={} \
                 argv-mem=0 multi-mem={multi_bytes} rbs={} rbp=0 obl={unsent} oll={} omem=0 tot-mem={memory} events=r cmd={} user=",
                seconds(self.created_ms),
                seconds(self.last_seen_ms),
                self.db.0,
                listening(Kind::Channel),
                listening(Kind::Pattern),
                listening(Kind::Shard),
                self.query.len(),
                self.query.capacity() - self.query.len(),
                self.output.bytes_capacity(),
                self.pieces.len(),
                self.last_command.map_or("NULL", |id| id.command().name),
            )
            .as_bytes(),
        );
        line.extend_from_slice(&self.user.name);
        let redirect = self
            .tracking
            .as_ref()
            .map_or(-1, |tracking| tracking.redirect.as_ref().map_or(0, |redirect| redirect.client as i64));
        line.extend_from_slice(format!(" redir={redirect} resp={} lib-name=", self.protocol.version()).as_bytes());
        line.extend_from_slice(&self.library);
        line.extend_from_slice(b" lib-ver=");
        line.extend_from_slice(&self.library_version);
        let counts = format!(
            " io-thread=0 tot-net-in={} tot-net-out={} tot-cmds={}\n",
            self.bytes_in, self.bytes_out, self.commands
        );
        line.extend_from_slice(counts.as_bytes());
        line
    }
}

impl Shard {
    pub(super) fn client_id(&mut self, conn: ConnId) -> Outcome {
        let id = self.connections.get_mut(conn).map_or(0, |connection| connection.id);
        self.with_reply(conn, |reply| reply.integer(id as i64));
        Ok(())
    }

    pub(super) fn client_getname(&mut self, conn: ConnId) -> Outcome {
        let name = self.connections.get_mut(conn).map(|connection| connection.name.clone()).unwrap_or_default();
        self.with_reply(conn, |reply| if name.is_empty() { reply.null() } else { reply.bulk(&name) });
        Ok(())
    }

    pub(super) fn client_setname(&mut self, conn: ConnId, args: Args<'_>) -> Outcome {
        let name = args.at(2);
        if !is_printable(name) {
            return Err(BAD_NAME.into());
        }
        if let Some(connection) = self.connections.get_mut(conn) {
            connection.name = name.to_vec();
        }
        self.with_reply(conn, |reply| reply.ok());
        Ok(())
    }

    pub(super) fn client_setinfo(&mut self, conn: ConnId, args: Args<'_>) -> Outcome {
        let (option, value) = (args.at(2), args.at(3));
        let Some(connection) = self.connections.get_mut(conn) else { return Ok(()) };
        let (name, field) = if option.eq_ignore_ascii_case(b"lib-name") {
            (option, &mut connection.library)
        } else if option.eq_ignore_ascii_case(b"lib-ver") {
            (option, &mut connection.library_version)
        } else {
            return Err(format!("ERR Unrecognized option '{}'", String::from_utf8_lossy(option)));
        };
        if !is_printable(value) {
            let name = String::from_utf8_lossy(name);
            return Err(format!("ERR {name} cannot contain spaces, newlines or special characters."));
        }
        *field = value.to_vec();
        self.with_reply(conn, |reply| reply.ok());
        Ok(())
    }

    /// CLIENT NO-EVICT ON or OFF: no client is evicted, so it only shows in its flags.
    pub(super) fn client_no_evict(&mut self, conn: ConnId, args: Args<'_>) -> Outcome {
        let is_on = match args.at(2).to_ascii_lowercase().as_slice() {
            b"on" => true,
            b"off" => false,
            _ => return Err(SYNTAX.into()),
        };
        if let Some(connection) = self.connections.get_mut(conn) {
            connection.no_evict = is_on;
        }
        self.with_reply(conn, |reply| reply.ok());
        Ok(())
    }

    pub(super) fn client_info(&mut self, conn: ConnId) -> Outcome {
        let up_ms = self.up_ms;
        let line =
            self.connections.get_mut(conn).map(|connection| connection.describe(up_ms, false)).unwrap_or_default();
        self.with_reply(conn, |reply| reply.verbatim(*b"txt", &line));
        Ok(())
    }

    /// CLIENT LIST [TYPE type] or [ID id ...].
    pub(super) fn client_list(&mut self, conn: ConnId, args: Args<'_>) -> Outcome {
        let option = args.get(2).map(<[u8]>::to_ascii_uppercase);
        let wanted = match (option.as_deref(), args.len()) {
            (None, _) => Clients::All,
            (Some(b"TYPE"), 4) => {
                let kind = args.at(3);
                match kind.to_ascii_lowercase().as_slice() {
                    b"normal" => Clients::Listening(false),
                    b"pubsub" => Clients::Listening(true),
                    b"master" | b"replica" | b"slave" => Clients::Some(Vec::new()),
                    _ => return Err(format!("ERR Unknown client type '{}'", String::from_utf8_lossy(kind))),
                }
            }
            (Some(b"ID"), 4..) => {
                let mut ids = Vec::new();
                for id in args.from(3).iter() {
                    let id = format::parse_integer(id).ok_or("ERR Invalid client ID")?;
                    // an id below zero is nobody's
                    ids.extend(u64::try_from(id).ok());
                }
                Clients::Some(ids)
            }
            _ => return Err(SYNTAX.into()),
        };
        self.ask_all(conn, Question::Clients(wanted));
        Ok(())
    }

    /// The lines of this core's connections.
    pub(crate) fn describe_clients(&self, wanted: &Clients) -> Vec<(u64, Vec<u8>)> {
        let wanted = |connection: &&Connection| match wanted {
            Clients::All => true,
            Clients::Some(ids) => ids.contains(&connection.id),
            Clients::Listening(listens) => connection.listening.is_some() == *listens,
        };
        let waits = |connection: &Connection| connection.blocked.is_some_and(|token| self.blocks.waits(token));
        let line = |connection: &Connection| (connection.id, connection.describe(self.up_ms, waits(connection)));
        self.connections.iter().filter(wanted).map(line).collect()
    }
}
