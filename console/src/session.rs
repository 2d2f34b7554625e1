//! A connection as people think of it: it stays where they left it, over reconnects and redirections.

use crate::connection::{Connection, Interrupt};
use crate::error::{Error, Result};
use crate::target::{Place, Target};
use crate::value::Value;

/// How often a command is sent on before the cluster is called broken.
const MOST_REDIRECTIONS: u32 = 16;

/// What is told beside the replies.
#[derive(Debug)]
pub(crate) enum Notice {
    /// A push came before the reply.
    Push(Value),
    /// The command was sent to another node.
    Redirected {
        /// Of the command's keys.
        slot: u16,
        /// Where it went.
        to: Place,
    },
    /// AUTH was refused; the server may let us in without.
    NotLetIn(String),
    /// The connection was lost between two commands, and with it the transaction that was open.
    TransactionLost,
}

/// What a series of commands has to do with it.
pub(crate) struct Session {
    target: Target,
    follows_redirections: bool,
    connection: Option<Connection>,
    in_transaction: bool,
    interrupt: Option<Interrupt>,
}

impl Session {
    /// Nothing is connected yet.
    pub(crate) fn new(target: Target, follows_redirections: bool) -> Self {
        Self { target, follows_redirections, connection: None, in_transaction: false, interrupt: None }
    }

    /// Where it is.
    pub(crate) fn target(&self) -> &Target {
        &self.target
    }

    /// Whether there is a connection, as far as is known.
    pub(crate) fn is_connected(&self) -> bool {
        self.connection.is_some()
    }

    /// Whether MULTI is open.
    pub(crate) fn in_transaction(&self) -> bool {
        self.in_transaction
    }

    /// What ends a wait for a reply.
    pub(crate) fn set_interrupt(&mut self, interrupt: Interrupt) {
        self.interrupt = Some(interrupt);
        self.disconnect();
    }

    /// Hangs up; the next command connects again.
    pub(crate) fn disconnect(&mut self) {
        self.connection = None;
        self.in_transaction = false;
    }

    /// Goes elsewhere.
    pub(crate) fn move_to(&mut self, place: Place) {
        self.target.place = place;
        self.disconnect();
    }

    /// The connection; a new one if there is none or its peer has gone. So a command is sent again only when it can't
    /// have been executed.
    ///
    /// # Errors
    /// When nobody answers there, or the database or protocol is refused.
    pub(crate) fn connect(&mut self, tell: &mut dyn FnMut(Notice)) -> Result<&mut Connection> {
        let kept = self.connection.take().and_then(|mut kept| if kept.is_closed() { None } else { Some(kept) });
        let connection = match kept {
            Some(connection) => connection,
            None => {
                if std::mem::take(&mut self.in_transaction) {
                    tell(Notice::TransactionLost);
                }
                open(&self.target, self.interrupt.clone(), tell)?
            }
        };
        Ok(self.connection.insert(connection))
    }

    /// Sends a command where it belongs, and waits for the reply.
    ///
    /// # Errors
    /// When nobody answers, or the connection fails; the command may have been executed unless it is
    /// [`Error::Connect`].
    pub(crate) fn ask(&mut self, words: &[Vec<u8>], tell: &mut dyn FnMut(Notice)) -> Result<Value> {
        let mut asking = false;
        for _ in 0..MOST_REDIRECTIONS {
            let connection = self.connect(tell)?;
            let answered = (|| {
                if std::mem::take(&mut asking) {
                    connection.must(&["ASKING"])?;
                }
                connection.call(words, |push| tell(Notice::Push(push)))
            })();
            let reply = match answered {
                Ok(reply) => reply,
                Err(error) => {
                    if error.is_fatal() {
                        self.disconnect();
                    }
                    return Err(error);
                }
            };
            match redirection(&reply) {
                Some((slot, to, ask)) if self.follows_redirections => {
                    let to = self.resolve(to);
                    asking = ask;
                    self.move_to(to.clone());
                    tell(Notice::Redirected { slot, to });
                }
                _ => {
                    self.note(words, &reply);
                    return Ok(reply);
                }
            }
        }
        Err(Error::Protocol(format!("sent on {MOST_REDIRECTIONS} times: the nodes do not agree who has the slot")))
    }

    /// A node that does not know its own name sends an empty one: it is the one that we asked.
    fn resolve(&self, to: Place) -> Place {
        match (to, &self.target.place) {
            (Place::Tcp(host, port), Place::Tcp(current, _)) if host.is_empty() => Place::Tcp(current.clone(), port),
            (to, _) => to,
        }
    }

    /// Remembers what the command did to the connection.
    fn note(&mut self, words: &[Vec<u8>], reply: &Value) {
        let name = words.first().map(|word| word.to_ascii_uppercase()).unwrap_or_default();
        let text = |index: usize| words.get(index).map(|word| String::from_utf8_lossy(word).into_owned());
        let failed = reply.is_error();
        // in a transaction the answer is QUEUED, and nothing has happened.
        let queued = matches!(reply, Value::Status(text) if text == b"QUEUED");
        match name.as_slice() {
            b"EXEC" | b"DISCARD" => {
                let still_open = reply.error().is_some_and(|error| !error.starts_with("EXECABORT"));
                self.in_transaction &= still_open;
            }
            _ if failed || queued => {}
            b"MULTI" => self.in_transaction = true,
            b"SELECT" => {
                if let Some(database) = text(1).and_then(|text| text.parse().ok()) {
                    self.target.database = database;
                }
            }
            b"HELLO" => {
                if let Some(protocol) = text(1) {
                    self.target.resp3 = protocol == "3";
                }
                let auth = words.iter().position(|word| word.eq_ignore_ascii_case(b"AUTH"));
                if let Some(at) = auth {
                    (self.target.user, self.target.password) = (text(at + 1), text(at + 2));
                }
            }
            b"AUTH" => {
                let pair = if words.len() == 3 { (text(1), text(2)) } else { (None, text(1)) };
                (self.target.user, self.target.password) = pair;
            }
            b"RESET" => {
                self.in_transaction = false;
                self.target.database = 0;
                self.target.resp3 = false;
            }
            _ => {}
        }
    }
}

/// Connects and does what a target asks for.
fn open(target: &Target, interrupt: Option<Interrupt>, tell: &mut dyn FnMut(Notice)) -> Result<Connection> {
    let mut connection = Connection::open(target, interrupt)?;
    let auth = match (&target.user, &target.password) {
        (_, None) => None,
        (None, Some(password)) => Some(vec!["AUTH", password]),
        (Some(user), Some(password)) => Some(vec!["AUTH", user, password]),
    };
    if let Some(auth) = auth {
        match connection.must(&auth) {
            Err(Error::Refused { reply, .. }) => tell(Notice::NotLetIn(reply)),
            other => drop(other?),
        }
    }
    if target.resp3 {
        connection.must(&["HELLO", "3"])?;
    }
    if target.database != 0 {
        connection.must(&["SELECT", &target.database.to_string()])?;
    }
    Ok(connection)
}

/// `MOVED slot host:port` and `ASK slot host:port`; true for the latter.
fn redirection(reply: &Value) -> Option<(u16, Place, bool)> {
    let error = reply.error()?;
    let mut words = error.split(' ');
    let asking = match words.next()? {
        "MOVED" => false,
        "ASK" => true,
        _ => return None,
    };
    let slot = words.next()?.parse().ok()?;
    let (host, port) = words.next()?.rsplit_once(':')?;
    Some((slot, Place::Tcp(host.to_owned(), port.parse().ok()?), asking))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session() -> Session {
        Session::new(Target::default(), true)
    }

    fn note(session: &mut Session, line: &str, reply: &str) {
        let reply = Value::read(&mut reply.as_bytes()).unwrap();
        session.note(&crate::quote::split(line.as_bytes()).unwrap(), &reply);
    }

    #[test]
    fn the_database_is_what_the_server_agreed_to() {
        let mut session = session();
        note(&mut session, "select 3", "+OK\r\n");
        note(&mut session, "select 99", "-ERR out of range\r\n");
        assert_eq!(session.target().database, 3);
        note(&mut session, "multi", "+OK\r\n");
        note(&mut session, "select 4", "+QUEUED\r\n");
        assert_eq!((session.target().database, session.in_transaction()), (3, true));
        note(&mut session, "reset", "+RESET\r\n");
        assert_eq!((session.target().database, session.in_transaction()), (0, false));
    }

    #[test]
    fn a_transaction_ends_with_exec_and_what_refuses_it() {
        for (reply, open) in [("*0\r\n", false), ("-EXECABORT no\r\n", false), ("-ERR wrong number\r\n", true)] {
            let mut session = session();
            note(&mut session, "MULTI", "+OK\r\n");
            note(&mut session, "EXEC", reply);
            assert_eq!(session.in_transaction(), open, "{reply}");
        }
    }

    #[test]
    fn who_we_are_is_remembered_for_the_next_connection() {
        let mut session = session();
        note(&mut session, "AUTH me secret", "+OK\r\n");
        assert_eq!(session.target().user.as_deref(), Some("me"));
        note(&mut session, "AUTH other", "-WRONGPASS\r\n");
        assert_eq!(session.target().password.as_deref(), Some("secret"));
        note(&mut session, "HELLO 3 AUTH you more", "%0\r\n");
        assert!(session.target().resp3 && session.target().password.as_deref() == Some("more"));
    }

    #[test]
    fn redirections_name_slot_and_node() {
        let parse = |text: &str| redirection(&Value::Error(text.into()));
        let place = |host: &str| Place::Tcp(host.into(), 7001);
        assert_eq!(parse("MOVED 12 10.0.0.1:7001"), Some((12, place("10.0.0.1"), false)));
        assert_eq!(parse("ASK 12 ::1:7001"), Some((12, place("::1"), true)));
        assert_eq!(parse("ERR MOVED 12 a:1"), None);
        assert_eq!(session().resolve(place("")), place("127.0.0.1"));
    }
}
