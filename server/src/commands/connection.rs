//! PING, HELLO, AUTH, SELECT, RESET, QUIT.

use emberkv_log::DbId;
use emberkv_resp::schema::arity_error;
use emberkv_resp::{Args, Protocol, format};

use super::{Outcome, REDIS_VERSION, SYNTAX};
use crate::acl::{Context, DEFAULT, Reason};
use crate::commands::client::{BAD_NAME, is_printable};
use crate::core::Silence;
use crate::core::connection::{Access, Fate};
use crate::core::shard::Shard;
use crate::driver::ConnId;

const NO_PASSWORD: &str = "ERR AUTH <password> called without any password configured for the default user. Are you \
    sure your configuration is correct?";
const WRONG_PASSWORD: &str = "WRONGPASS invalid username-password pair or user is disabled.";
const HELLO_NEEDS_AUTH: &str = "NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO \
    <proto> AUTH <user> <pass> option can be used to authenticate the client and select the RESP protocol version at \
    the same time";

impl Shard {
    pub(super) fn ping(&mut self, conn: ConnId, args: Args<'_>) -> Outcome {
        let only_listens = self.connections.get(conn).is_some_and(|connection| connection.only_listens);
        match args.len() {
            1 | 2 if only_listens => self.with_reply(conn, |reply| {
                reply.array(2);
                reply.bulk(b"pong");
                reply.bulk(args.get(1).unwrap_or_default());
            }),
            1 => self.with_reply(conn, |reply| reply.simple("PONG")),
            2 => self.with_reply(conn, |reply| reply.bulk(args.at(1))),
            _ => return Err(arity_error("ping")),
        }
        Ok(())
    }

    pub(super) fn select(&mut self, conn: ConnId, args: Args<'_>) -> Outcome {
        let index = format::parse_integer(args.at(1)).ok_or("ERR value is not an integer or out of range")?;
        if i32::try_from(index).is_err() {
            let (min, max) = (i32::MIN, i32::MAX);
            return Err(format!("ERR value is out of range, value must between {min} and {max}"));
        }
        if !(0..i64::from(self.config.databases)).contains(&index) {
            return Err("ERR DB index is out of range".into());
        }
        if let Some(connection) = self.connections.get_mut(conn) {
            connection.db = DbId(index as u8);
        }
        self.with_reply(conn, |reply| reply.ok());
        Ok(())
    }

    /// Makes a connection a user's, if that may come in with this password.
    fn let_in(&mut self, conn: ConnId, command: &[u8], name: &[u8], password: &[u8]) -> Outcome {
        let user = self.users.get(name).filter(|user| user.is_let_in_with(password)).cloned();
        let Some(user) = user else {
            let is_multi = self.connections.get(conn).is_some_and(|connection| connection.multi.is_some());
            let context = if is_multi { Context::Multi } else { Context::TopLevel };
            self.note_denied(conn, Reason::Auth, command, name, context);
            return Err(WRONG_PASSWORD.into());
        };
        if let Some(connection) = self.connections.get_mut(conn) {
            connection.be(user, &self.users, self.looks);
        }
        Ok(())
    }

    pub(super) fn auth(&mut self, conn: ConnId, args: Args<'_>) -> Outcome {
        match args.len() {
            2 if self.users.default().needs_no_password() => return Err(NO_PASSWORD.into()),
            2 => self.let_in(conn, args.at(0), DEFAULT, args.at(1))?,
            3 => self.let_in(conn, args.at(0), args.at(1), args.at(2))?,
            _ => return Err(SYNTAX.into()),
        }
        self.with_reply(conn, |reply| reply.ok());
        Ok(())
    }

    pub(super) fn hello(&mut self, conn: ConnId, args: Args<'_>) -> Outcome {
        let mut protocol = None;
        if let Some(version) = args.get(1) {
            protocol = Some(match format::parse_integer(version) {
                Some(2) => Protocol::Resp2,
                Some(3) => Protocol::Resp3,
                Some(_) => return Err("NOPROTO unsupported protocol version".into()),
                None => return Err("ERR Protocol version is not an integer or out of range".into()),
            });
        }
        let (mut user, mut name) = (None, None);
        let mut i = 2;
        while let Some(option) = args.get(i) {
            let left = args.len() - 1 - i;
            if option.eq_ignore_ascii_case(b"AUTH") && left >= 2 {
                user = Some((args.at(i + 1), args.at(i + 2)));
                i += 3;
            } else if option.eq_ignore_ascii_case(b"SETNAME") && left >= 1 {
                let wanted = args.at(i + 1);
                if !is_printable(wanted) {
                    return Err(BAD_NAME.into());
                }
                name = Some(wanted);
                i += 2;
            } else {
                let option = String::from_utf8_lossy(option);
                return Err(format!("ERR Syntax error in HELLO option '{option}'"));
            }
        }
        if let Some((user, password)) = user {
            self.let_in(conn, args.at(0), user, password)?;
        }
        let Some(connection) = self.connections.get_mut(conn) else { return Ok(()) };
        if connection.access == Access::None {
            return Err(HELLO_NEEDS_AUTH.into());
        }
        if let Some(name) = name {
            connection.name = name.to_vec();
        }
        connection.protocol = protocol.unwrap_or(connection.protocol);
        connection.note_listening();
        let id = connection.id;
        let role: &[u8] = if self.link.is_some() { b"replica" } else { b"master" };
        self.with_reply(conn, |reply| {
            reply.map(7);
            reply.bulk(b"server");
            reply.bulk(b"redis");
            reply.bulk(b"version");
            reply.bulk(REDIS_VERSION.as_bytes());
            reply.bulk(b"proto");
            reply.integer(reply.protocol().version());
            reply.bulk(b"id");
            reply.integer(id as i64);
            reply.bulk(b"mode");
            reply.bulk(b"standalone");
            reply.bulk(b"role");
            reply.bulk(role);
            reply.bulk(b"modules");
            reply.array(0);
        });
        Ok(())
    }

    pub(super) fn quit(&mut self, conn: ConnId) -> Outcome {
        self.with_reply(conn, |reply| reply.ok());
        if let Some(connection) = self.connections.get_mut(conn) {
            connection.fate = Fate::CloseAfterReply;
        }
        Ok(())
    }

    pub(super) fn reset(&mut self, conn: ConnId) -> Outcome {
        self.unsubscribe_all(conn);
        self.end_monitor(conn);
        self.set_tracking(conn, None);
        if let Some(connection) = self.connections.get_mut(conn) {
            connection.db = DbId(0);
            connection.protocol = Protocol::Resp2;
            connection.name.clear();
            connection.no_evict = false;
            connection.no_touch = false;
            connection.set_silence(Silence::No, &mut self.spares);
            connection.be_default(&self.users, self.looks);
            (connection.multi, connection.watching) = (None, None);
        }
        self.with_reply(conn, |reply| reply.simple("RESET"));
        Ok(())
    }
}
