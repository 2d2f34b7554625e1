//! DEBUG: what of it does no harm to data. `enable-debug-command` says who may use it.

use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::time::Duration;

use emberkv_engine::Request;
use emberkv_log::{DbId, Whose};
use emberkv_resp::schema::CommandId;
use emberkv_resp::{Args, Output, OwnedArgs, Protocol, Reply};

use super::Outcome;
use super::replication::OF_THE_PRIMARY;
use crate::config::Guard;
use crate::core::connection::Connection;
use crate::core::shard::{Data, Shard};
use crate::core::{CoreId, Message, Mode, Place, Question, Told};
use crate::driver::ConnId;

pub(crate) const NOT_ALLOWED: &str = "ERR DEBUG command not allowed. If the enable-debug-command option is set to \"local\", \
    you can run it from a local connection, otherwise you need to set this option in the configuration file, and then \
    restart the server.";

const RELOAD_OPTIONS: &str = "ERR DEBUG RELOAD only supports the MERGE, NOFLUSH and NOSAVE options.";

const HELP: &[&str] = &[
    "DEBUG <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    "OBJECT <key>",
    "    Show low level info about `key` and associated value.",
    "RELOAD [option ...]",
    "    Close the log and start from it anew, while clients stay. Valid <option>",
    "    values, which all change nothing: MERGE, NOFLUSH, NOSAVE.",
    "SET-ACTIVE-EXPIRE <0|1>",
    "    Setting it to 0 disables expiring keys in background when they are not",
    "    accessed. Setting it to 1 reenables back the default.",
    "SLEEP <seconds>",
    "    Stop all cores for <seconds>. Decimals allowed.",
    "HELP",
    "    Print this help.",
];

/// The longest DEBUG SLEEP: what is not a number of seconds that can be waited for is cut off there.
const LONGEST_SLEEP_S: f64 = 1e9;

/// What precedes the text of a dumped value's length, and what comes behind the value.
const DUMP_AROUND: usize = 11;

impl Connection {
    /// Whether its client is on this machine.
    pub fn is_local(&self) -> bool {
        self.is_unix || self.address.starts_with("127.") || self.address.starts_with("[::1]")
    }

    /// Whether it may use what `guard` guards.
    pub fn may_pass(&self, guard: Guard) -> bool {
        match guard {
            Guard::No => false,
            Guard::Yes => true,
            Guard::Local => self.is_local(),
        }
    }
}

/// The number that a text begins with, as C reads it: 0 if there is none.
fn leading_number(text: &[u8]) -> f64 {
    let text = String::from_utf8_lossy(text);
    let is_number = |end: &usize| text.get(..*end).and_then(|text| text.parse::<f64>().ok());
    (1..=text.len().min(64)).rev().find_map(|end| is_number(&end)).unwrap_or(0.0)
}

impl Shard {
    pub(super) fn debug(&mut self, conn: ConnId, args: Args<'_>) -> Outcome {
        let is = |name: &str, len: usize| args.at(1).eq_ignore_ascii_case(name.as_bytes()) && args.len() == len;
        if is("help", 2) {
            self.with_reply(conn, |reply| {
                reply.array(HELP.len());
                HELP.iter().for_each(|line| reply.simple(line));
            });
            Ok(())
        } else if is("object", 3) {
            let db = self.connections.get(conn).map_or(DbId(0), |connection| connection.db);
            let about = [&b"object"[..], b"encoding", args.at(2)];
            self.ask_all(conn, Question::Object { db, args: OwnedArgs::from_words(&about) });
            Ok(())
        } else if args.at(1).eq_ignore_ascii_case(b"reload") {
            self.reload(conn, args)
        } else if is("set-active-expire", 3) {
            // whatever is no number is 0, as in redis
            let is_on = leading_number(args.at(2)).trunc() != 0.0;
            self.ask_all(conn, Question::ActiveExpire(is_on));
            Ok(())
        } else if is("sleep", 3) {
            let seconds = leading_number(args.at(2));
            let seconds = if seconds.is_nan() { 0.0 } else { seconds.clamp(0.0, LONGEST_SLEEP_S) };
            self.sleep_all(conn, Duration::from_secs_f64(seconds))
        } else {
            let name = &args.at(1)[..args.at(1).len().min(128)];
            let name = String::from_utf8_lossy(name);
            Err(format!("ERR unknown subcommand or wrong number of arguments for '{name}'. Try DEBUG HELP."))
        }
    }

    /// DEBUG RELOAD: what a start would find is served when the reply comes.
    fn reload(&mut self, conn: ConnId, args: Args<'_>) -> Outcome {
        let is_known =
            |word: &[u8]| ["merge", "noflush", "nosave"].iter().any(|name| word.eq_ignore_ascii_case(name.as_bytes()));
        if !args.iter().skip(2).all(is_known) {
            return Err(RELOAD_OPTIONS.into());
        }
        if self.link.is_some() {
            return Err(OF_THE_PRIMARY.into());
        }
        let peers = Arc::clone(&self.peers);
        self.run_errand(conn, "debug-reload", move || {
            let (asker, answer) = sync_channel(1);
            peers.send(CoreId::FIRST, Message::Reopen(Box::new(Mode::Again(asker))));
            answer.recv().map_err(|_| "ERR the data were opened otherwise meanwhile".to_owned())
        })
    }

    /// DEBUG SLEEP: no core does anything meanwhile, and the reply comes after it.
    fn sleep_all(&mut self, conn: ConnId, time: Duration) -> Outcome {
        let peers = Arc::clone(&self.peers);
        self.run_errand(conn, "debug-sleep", move || {
            for core in peers.all() {
                peers.send(core, Message::Sleep(time));
            }
            std::thread::sleep(time);
            Ok(())
        })
    }

    /// What DEBUG OBJECT says of a key, if it is here. It is a look from inside, which does not wait for the log as a read does.
    pub(crate) fn tell_object(&mut self, db: DbId, args: &OwnedArgs) -> Told {
        let Data::Ready(owned) = &mut self.data else { return Told::Done };
        let args = args.args();
        let key = args.at(2);
        let Place::Own(own) = owned.map.place_of_key(key) else { return Told::Done };
        let partition = &mut owned.list[usize::from(own)].partition;
        let mut ask = |id: CommandId, args: Args<'_>| {
            let mut output = Output::new();
            let request = Request { id, db, args, whose: Whose::default() };
            let result = partition.execute(request, &mut Reply::new(&mut output, Protocol::Resp3));
            let _ = partition.take_dependency();
            // a transaction has it, it is on disk, or the log is at work
            result.map(|()| output.to_vec()).map_err(|_| "ERR the key is not to be had at this moment: ask again")
        };
        let dump = OwnedArgs::from_words(&[b"dump", key]);
        let facts = ask(CommandId::ObjectEncoding, args)
            .and_then(|encoding| Ok((encoding, ask(CommandId::Dump, dump.args())?)));
        Told::Object(facts.map(|(encoding, dump)| {
            let at = partition.address_of(db, key)?;
            let payload = behind_length(&dump)?.len() - 2;
            let encoding = String::from_utf8_lossy(behind_length(&encoding)?);
            Some(format!(
                "Value at:{:#x} refcount:1 encoding:{} serializedlength:{} lru:0 lru_seconds_idle:0",
                at.raw(),
                encoding.trim_end(),
                payload - DUMP_AROUND,
            ))
        }))
    }
}

/// What is behind the length of a text, with the line's end.
fn behind_length(reply: &[u8]) -> Option<&[u8]> {
    let rest = reply.strip_prefix(b"$")?;
    let end = rest.iter().position(|byte| *byte == b'\r')?;
    rest.get(end + 2..)
}

/// The reply to DEBUG OBJECT, out of what all cores have told.
pub(crate) fn reply_object(told: &[Told], reply: &mut Reply<'_>) {
    match told.iter().find_map(|told| if let Told::Object(found) = told { Some(found) } else { None }) {
        Some(Ok(Some(text))) => reply.simple(text),
        Some(Err(text)) => reply.error(text),
        Some(Ok(None)) | None => reply.error("ERR no such key"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_as_far_as_they_go() {
        for (text, number) in [("1", 1.0), ("0.5x", 0.5), ("x", 0.0), ("", 0.0), ("-2", -2.0), ("1e1z", 10.0)] {
            assert_eq!(leading_number(text.as_bytes()), number, "{text}");
        }
    }
}
