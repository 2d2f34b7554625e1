//! Two servers in lock-step: the one under test and the referee.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::compare::agree;
use super::script::{Action, Compare, Script, Step};
use crate::client::Reply;
use crate::value::escape;
use crate::{Client, Error, Flavor, Result, Server, ServerSpec, TempDir};

/// How long a reply may take before it counts as missing.
const REPLY_TIMEOUT: Duration = Duration::from_secs(15);

/// Which servers compete.
#[derive(Debug, Clone)]
pub struct Contest {
    /// The program under test.
    pub subject: PathBuf,
    /// More words for its command line.
    pub subject_args: Vec<String>,
    /// The program that is right by definition.
    pub referee: PathBuf,
}

/// A step whose replies disagree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mismatch {
    /// Where: script and line, or seed and step.
    pub place: String,
    /// The protocol version in use.
    pub protocol: u8,
    /// The step as written.
    pub step: String,
    /// What the subject said.
    pub subject: String,
    /// What the referee said.
    pub referee: String,
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} (RESP{}): {}", self.place, self.protocol, self.step)?;
        writeln!(f, "    subject: {}", self.subject)?;
        write!(f, "    referee: {}", self.referee)
    }
}

/// Two running servers.
#[derive(Debug)]
pub(super) struct Pair {
    pub(super) servers: [Server; 2],
    protocol: u8,
    connections: HashMap<String, [Client; 2]>,
    specs: [ServerSpec; 2],
    _dirs: [TempDir; 2],
}

impl Contest {
    pub(super) fn start(&self, args: &[String], protocol: u8) -> Result<Pair> {
        let start = |program: &PathBuf, own: &[String]| -> Result<(Server, ServerSpec, TempDir)> {
            let dir = TempDir::new("differential")?;
            let mut spec = ServerSpec::new(program, dir.path());
            if spec.flavor() == Flavor::Redis {
                // what is compared has its log on, as emberkv always has.
                spec = spec.args(["--appendonly", "yes"]);
            }
            let spec = spec.args(own).args(args);
            Ok((Server::start(&spec)?, spec, dir))
        };
        let (subject, subject_spec, subject_dir) = start(&self.subject, &self.subject_args)?;
        let (referee, referee_spec, referee_dir) = start(&self.referee, &[])?;
        Ok(Pair {
            servers: [subject, referee],
            protocol,
            connections: HashMap::new(),
            specs: [subject_spec, referee_spec],
            _dirs: [subject_dir, referee_dir],
        })
    }

    /// Runs a script in one protocol; the steps that disagree, in order.
    ///
    /// # Errors
    /// When a server does not start, or dies.
    pub fn run_script(&self, script: &Script, protocol: u8) -> Result<Vec<Mismatch>> {
        let mut pair = self.start(&script.args, protocol)?;
        let mut mismatches = Vec::new();
        for step in &script.steps {
            if let Some([subject, referee]) = pair.step(step)? {
                mismatches.push(Mismatch {
                    place: format!("{}:{}", script.name, step.line),
                    protocol,
                    step: step.text.clone(),
                    subject,
                    referee,
                });
            }
            pair.both_alive(&step.text)?;
        }
        Ok(mismatches)
    }
}

impl Pair {
    /// The named connection of both servers, in the pair's protocol.
    pub(super) fn connection(&mut self, name: &str) -> Result<&mut [Client; 2]> {
        if !self.connections.contains_key(name) {
            let open = |server: &Server| -> Result<Client> {
                let mut client = server.connect()?;
                client.set_timeout(REPLY_TIMEOUT)?;
                if self.protocol == 3 {
                    client.ask("HELLO 3")?;
                }
                Ok(client)
            };
            let clients = [open(&self.servers[0])?, open(&self.servers[1])?];
            self.connections.insert(name.to_owned(), clients);
        }
        self.connections.get_mut(name).ok_or_else(|| Error::Missing(format!("the connection {name} was not opened")))
    }

    /// Ends both servers and starts them again over what they have left.
    pub(super) fn restart(&mut self, kill: bool, timeout: Duration) -> Result<()> {
        self.connections.clear();
        for (server, spec) in self.servers.iter_mut().zip(&self.specs) {
            if kill {
                server.kill9()?;
            } else {
                server.terminate(timeout)?;
            }
            *server = Server::start(spec)?;
        }
        Ok(())
    }

    pub(super) fn forget(&mut self, name: &str) {
        self.connections.remove(name);
    }

    pub(super) fn both_alive(&mut self, last: &str) -> Result<()> {
        for server in &mut self.servers {
            if let Some(status) = server.exited()? {
                return Err(server.failure(format!("the server died after {last}: {status}")));
            }
        }
        Ok(())
    }

    /// Runs a step on both; what they said, if they disagree.
    fn step(&mut self, step: &Step) -> Result<Option<[String; 2]>> {
        let name = &step.connection;
        match &step.action {
            Action::Close => {
                self.forget(name);
                Ok(None)
            }
            Action::Fresh => {
                for client in self.connection(name)? {
                    client.command(&["FLUSHALL"])?;
                }
                self.connections.clear();
                Ok(None)
            }
            Action::Command(args, compare) => {
                let replies = self.ask(name, args)?;
                Ok(self.judge(name, compare, &replies))
            }
            Action::Send(bytes, count) => {
                let clients = self.connection(name)?;
                for client in clients.iter_mut() {
                    client.send_raw(bytes);
                    client.flush()?;
                }
                let mut verdict = None;
                for _ in 0..*count {
                    let replies = self.read(name)?;
                    verdict = verdict.or(self.judge(name, &Compare::Exact, &replies));
                }
                Ok(verdict)
            }
            Action::SendToClose(bytes) => {
                let clients = self.connection(name)?;
                let [a, b] = clients.each_mut().map(|client| {
                    client.send_raw(bytes);
                    client.read_to_close()
                });
                self.forget(name);
                let shown = [&a, &b].map(|outcome| match outcome {
                    Ok(bytes) => format!("{} and closes", escape(bytes)),
                    Err(error) => format!("does not close ({error})"),
                });
                if b.is_err() {
                    // the script is wrong: it would wait in vain on every run.
                    return Ok(Some(shown));
                }
                Ok((shown[0] != shown[1]).then_some(shown))
            }
            Action::Until(args, wanted) => {
                let deadline = Instant::now() + REPLY_TIMEOUT;
                loop {
                    let replies = self.ask(name, args)?;
                    let there =
                        replies.iter().all(|reply| matches!(reply, Ok(reply) if reply.raw.trim_ascii_end() == wanted));
                    if there {
                        return Ok(None);
                    }
                    if Instant::now() > deadline {
                        return Ok(Some(replies.map(|reply| show(&reply))));
                    }
                    std::thread::sleep(Duration::from_millis(5));
                }
            }
            Action::Scan(args) => {
                let sets = self.connection(name)?.each_mut().map(|client| scan(client, args));
                let shown = sets.map(|set| match set {
                    Ok(set) => format!("{set:?}"),
                    Err(error) => format!("({error})"),
                });
                Ok((shown[0] != shown[1]).then_some(shown))
            }
        }
    }

    /// Sends a command to both and reads their replies.
    pub(super) fn ask(&mut self, name: &str, args: &[Vec<u8>]) -> Result<[Result<Reply>; 2]> {
        for client in self.connection(name)? {
            client.send(args);
            match client.flush() {
                // seen again, and judged, when the reply is read.
                Ok(()) | Err(Error::Closed) => {}
                Err(error) => return Err(error),
            }
        }
        self.read(name)
    }

    fn read(&mut self, name: &str) -> Result<[Result<Reply>; 2]> {
        Ok(self.connection(name)?.each_mut().map(Client::read_reply))
    }

    /// Compares two replies; after anything but two replies the connection starts anew.
    pub(super) fn judge(&mut self, name: &str, compare: &Compare, replies: &[Result<Reply>; 2]) -> Option<[String; 2]> {
        let [Ok(a), Ok(b)] = replies else {
            self.forget(name);
            let shown = replies.each_ref().map(show);
            // both closed: that is agreement too.
            return (shown[0] != shown[1]).then_some(shown);
        };
        (!agree(compare, a, b)).then(|| [escape(&a.raw), escape(&b.raw)])
    }
}

fn show(reply: &Result<Reply>) -> String {
    match reply {
        Ok(reply) => escape(&reply.raw),
        Err(error) => format!("({error})"),
    }
}

/// All keys that a whole SCAN yields.
fn scan(client: &mut Client, args: &[Vec<u8>]) -> Result<BTreeSet<String>> {
    let mut keys = BTreeSet::new();
    let mut cursor = b"0".to_vec();
    loop {
        let mut command = vec![b"SCAN".to_vec(), cursor];
        command.extend_from_slice(args);
        let reply = client.command(&command)?;
        let Some([next, batch]) = reply.items() else {
            return Err(Error::Protocol(format!("SCAN was answered {reply:?}")));
        };
        let batch = batch.items().unwrap_or_default();
        keys.extend(batch.iter().filter_map(|key| key.text()).map(escape));
        cursor = next.text().unwrap_or(b"0").to_vec();
        if cursor == b"0" {
            return Ok(keys);
        }
    }
}
