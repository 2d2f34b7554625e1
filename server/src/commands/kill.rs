//! CLIENT KILL: connections of all cores are closed.

use std::num::NonZeroU64;

use emberkv_resp::{Args, Reply, format};

use super::{Outcome, SYNTAX};
use crate::acl::Users;
use crate::core::connection::{Connection, Fate};
use crate::core::shard::Shard;
use crate::core::{Question, Told};
use crate::driver::ConnId;

/// Which connections are to go: those that all of this is true of.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Killed {
    id: Option<u64>,
    address: Option<Vec<u8>>,
    local_address: Option<Vec<u8>>,
    /// Whether it listens; what has neither is nobody.
    listens: Option<bool>,
    is_nobody: bool,
    user: Option<Vec<u8>>,
    age_s: Option<u64>,
    /// All but this one.
    but: Option<u64>,
    /// By address alone: the reply is not a count.
    is_old_form: bool,
}

impl Killed {
    fn parse(args: Args<'_>, users: &Users) -> Result<(Self, bool), String> {
        let (mut killed, mut skip_me) = (Self::default(), true);
        if args.len() == 3 {
            killed.address = Some(args.at(2).to_vec());
            killed.is_old_form = true;
            return Ok((killed, false));
        }
        let words: Vec<&[u8]> = args.from(2).iter().collect();
        for pair in words.chunks(2) {
            let [option, value] = pair else { return Err(SYNTAX.into()) };
            match option.to_ascii_uppercase().as_slice() {
                b"ID" => {
                    let id = format::parse_integer(value).and_then(|id| u64::try_from(id).ok());
                    let id = id.and_then(NonZeroU64::new).ok_or("ERR client-id should be greater than 0")?;
                    killed.id = Some(id.get());
                }
                b"ADDR" => killed.address = Some(value.to_vec()),
                b"LADDR" => killed.local_address = Some(value.to_vec()),
                b"TYPE" => match value.to_ascii_lowercase().as_slice() {
                    b"normal" => killed.listens = Some(false),
                    b"pubsub" => killed.listens = Some(true),
                    b"master" | b"replica" | b"slave" => killed.is_nobody = true,
                    _ => return Err(format!("ERR Unknown client type '{}'", String::from_utf8_lossy(value))),
                },
                b"USER" if users.get(value).is_some() => killed.user = Some(value.to_vec()),
                b"USER" => return Err(format!("ERR No such user '{}'", String::from_utf8_lossy(value))),
                b"SKIPME" if value.eq_ignore_ascii_case(b"yes") => skip_me = true,
                b"SKIPME" if value.eq_ignore_ascii_case(b"no") => skip_me = false,
                b"MAXAGE" => {
                    let age = format::parse_integer(value).ok_or("ERR maxage is not an integer or out of range")?;
                    if age <= 0 {
                        return Err("ERR maxage should be greater than 0".into());
                    }
                    killed.age_s = Some(age.unsigned_abs());
                }
                _ => return Err(SYNTAX.into()),
            }
        }
        Ok((killed, skip_me))
    }

    fn is_meant(&self, connection: &Connection, up_ms: u64) -> bool {
        let age_s = up_ms.saturating_sub(connection.created_ms) / 1000;
        !self.is_nobody
            && self.id.is_none_or(|id| id == connection.id)
            && self.but != Some(connection.id)
            && self.address.as_ref().is_none_or(|address| *address == connection.address.as_bytes())
            && self.local_address.as_ref().is_none_or(|address| *address == connection.local_address.as_bytes())
            && self.listens.is_none_or(|listens| listens == connection.listening.is_some())
            && self.user.as_ref().is_none_or(|user| *user == connection.user.name)
            && self.age_s.is_none_or(|least| age_s >= least)
    }
}

impl Shard {
    pub(super) fn client_kill(&mut self, conn: ConnId, args: Args<'_>) -> Outcome {
        let (mut killed, skip_me) = Killed::parse(args, &self.users)?;
        if skip_me {
            killed.but = self.connections.get(conn).map(|connection| connection.id);
        }
        self.ask_all(conn, Question::Kill(killed));
        self.end_after_reply(conn);
        Ok(())
    }

    /// Closes those of this core's connections that are meant.
    pub(crate) fn kill_clients(&mut self, killed: &Killed) -> Told {
        let mut count = 0;
        for conn in self.connections.ids() {
            let Some(connection) = self.connections.get(conn) else { continue };
            if connection.fate == Fate::Open && killed.is_meant(connection, self.up_ms) {
                self.condemned.push((conn, connection.id));
                self.leave_block(conn);
                count += 1;
            }
        }
        Told::Killed(count)
    }
}

/// The reply, out of what all cores have told.
pub(crate) fn reply_killed(killed: &Killed, told: &[Told], reply: &mut Reply<'_>) {
    let of = |told: &Told| if let Told::Killed(count) = told { *count } else { 0 };
    let count: u64 = told.iter().map(of).sum();
    match (killed.is_old_form, count) {
        (true, 0) => reply.error("ERR No such client"),
        (true, _) => reply.ok(),
        (false, count) => reply.integer(count as i64),
    }
}
