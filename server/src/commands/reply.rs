//! CLIENT REPLY, PAUSE, UNPAUSE, UNBLOCK, NO-TOUCH.

use emberkv_resp::{Args, format};

use super::{Outcome, SYNTAX};
use crate::core::shard::Shard;
use crate::core::{Pause, Question, Silence};
use crate::driver::ConnId;

impl Shard {
    pub(super) fn client_reply(&mut self, conn: ConnId, args: Args<'_>) -> Outcome {
        let silence = match args.at(2).to_ascii_lowercase().as_slice() {
            b"on" => Silence::No,
            b"off" => Silence::Off,
            b"skip" => Silence::Next,
            _ => return Err(SYNTAX.into()),
        };
        let Some(connection) = self.connections.get_mut(conn) else { return Ok(()) };
        // off is not taken back by the skipping of one
        if silence != Silence::Next || connection.silence != Silence::Off {
            connection.set_silence(silence, &mut self.spares);
            connection.settle_access(&self.users, self.looks);
        }
        if silence == Silence::No {
            self.with_reply(conn, |reply| reply.ok());
        }
        Ok(())
    }

    pub(super) fn client_pause(&mut self, conn: ConnId, args: Args<'_>) -> Outcome {
        let writes_only = match args.get(3).map(<[u8]>::to_ascii_lowercase).as_deref() {
            _ if args.len() > 4 => {
                let name = String::from_utf8_lossy(args.at(1));
                let reason = "unknown subcommand or wrong number of arguments for";
                return Err(format!("ERR {reason} '{name}'. Try CLIENT HELP."));
            }
            None | Some(b"all") => false,
            Some(b"write") => true,
            Some(_) => return Err("ERR CLIENT PAUSE mode must be WRITE or ALL".into()),
        };
        let timeout = format::parse_integer(args.at(2)).ok_or("ERR timeout is not an integer or out of range")?;
        let timeout_ms = u64::try_from(timeout).map_err(|_| "ERR timeout is negative")?;
        let until_ms = self.up_ms.checked_add(timeout_ms).filter(|until| i64::try_from(*until).is_ok());
        let until_ms = until_ms.ok_or("ERR timeout is out of range")?;
        self.ask_all(conn, Question::Pause(Some(Pause { writes_only, until_ms })));
        Ok(())
    }

    /// CLIENT UNBLOCK: a client that waits is answered as if its time were over, or with an error.
    pub(super) fn client_unblock(&mut self, conn: ConnId, args: Args<'_>) -> Outcome {
        if let Some(reason) = args.get(3)
            && (args.len() > 4 || ![b"timeout".as_slice(), b"error"].contains(&reason.to_ascii_lowercase().as_slice()))
        {
            return Err("ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR".into());
        }
        let client = format::parse_integer(args.at(2)).ok_or("ERR value is not an integer or out of range")?;
        let is_error = args.get(3).is_some_and(|reason| reason.eq_ignore_ascii_case(b"error"));
        // no client has a number below zero
        self.ask_all(conn, Question::Unblock { client: u64::try_from(client).unwrap_or(0), is_error });
        Ok(())
    }

    /// CLIENT NO-TOUCH ON or OFF: whether its reads are noted, for eviction to judge by.
    pub(super) fn client_no_touch(&mut self, conn: ConnId, args: Args<'_>) -> Outcome {
        let is_on = match args.at(2).to_ascii_lowercase().as_slice() {
            b"on" => true,
            b"off" => false,
            _ => return Err(SYNTAX.into()),
        };
        if let Some(connection) = self.connections.get_mut(conn) {
            connection.no_touch = is_on;
        }
        self.with_reply(conn, |reply| reply.ok());
        Ok(())
    }
}
