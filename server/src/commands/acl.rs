//! ACL: users and what they may do. All cores have the same users; a change is answered when all of them have taken it over.

use std::sync::{Arc, PoisonError};

use emberkv_resp::schema::{self, Categories, Command, CommandId, Unresolved, arity_error};
use emberkv_resp::{Args, Reply, format};

use super::Outcome;
use crate::acl::{
    Context, DEFAULT, Denied, Entry, Reason, Selector, User, Users, has_space, lines_of, load_file, merge_selectors,
    save_file,
};
use crate::boot::random;
use crate::config::{AclChannels, Config};
use crate::core::connection::Fate;
use crate::core::shard::Shard;
use crate::core::{Message, Peers, Question};
use crate::driver::ConnId;

/// Entries that ACL LOG replies if no other number is given.
const USUAL: i64 = 10;

/// Bits of ACL GENPASS.
const USUAL_BITS: i64 = 256;
const MOST_BITS: i64 = 4096;

const NO_FILE: &str = "ERR This Redis instance is not configured to use an ACL file. You may want to specify users via the ACL \
    SETUSER command and then issue a CONFIG REWRITE (assuming you have a Redis configuration file set) in order to store \
    users in the Redis configuration.";
const NOT_SAVED: &str =
    "ERR There was an error trying to save the ACLs. Please check the server logs for more information";

/// Why a request is denied, as it is said to the client; `all`: with the name of the key or channel.
fn explain(user: &User, command: &Command, args: Args<'_>, denied: Denied, all: bool) -> Vec<u8> {
    let user = String::from_utf8_lossy(&user.name);
    let named = |kind: &str, i: usize| match all {
        true => {
            let before = format!("User {user} has no permissions to access the '").into_bytes();
            [&before, args.at(i), format!("' {kind}").as_bytes()].concat()
        }
        false => format!("No permissions to access a {kind}").into_bytes(),
    };
    match denied {
        Denied::Command => format!("User {user} has no permissions to run the '{}' command", command.name).into_bytes(),
        Denied::Key(i) => named("key", i),
        Denied::Channel(i) => named("channel", i),
    }
}

/// Whether new users may use all channels.
fn all_channels(config: &Config) -> bool {
    config.acl_pubsub_default == AclChannels::All
}

/// The users that a server begins with.
///
/// # Errors
/// What is wrong with the file, or with the configuration.
pub(crate) fn users_at_start(config: &Config) -> Result<Users, String> {
    let mut users = Users::new();
    users.set_default_password(config.requirepass.bytes());
    for line in &config.users {
        let mut user = User::new(&line.name, all_channels(config));
        user.apply_all(&line.rules, all_channels(config))
            .map_err(|(i, error)| format!("user {}: rule {}: {error}", String::from_utf8_lossy(&line.name), i + 1))?;
        if !user.is_enabled() {
            let name = String::from_utf8_lossy(&line.name);
            tracing::info!("the user '{name}' can't come in: there is no 'on' among its rules");
        }
        users.put(user);
    }
    match &config.aclfile {
        None => Ok(users),
        Some(_) if !config.users.is_empty() => {
            Err("users are in the configuration and in an aclfile, which is likely to leave \
            some open that should not be: use one of the two"
                .into())
        }
        Some(path) => {
            let name = path.display().to_string();
            let text = std::fs::read(path).map_err(|error| format!("can't read the aclfile {name}: {error}"))?;
            load_file(&name, &text, all_channels(config)).map_err(|error| error.to_string())
        }
    }
}

impl Shard {
    pub(super) fn acl(&mut self, conn: ConnId, id: CommandId, args: Args<'_>) -> Outcome {
        match id {
            CommandId::AclCat => self.acl_cat(conn, args),
            CommandId::AclDeluser => self.acl_deluser(conn, args),
            CommandId::AclDryrun => self.acl_dryrun(conn, args),
            CommandId::AclGenpass => self.acl_genpass(conn, args),
            CommandId::AclGetuser => self.acl_getuser(conn, args),
            CommandId::AclList => {
                let lines: Vec<Vec<u8>> = self.users.iter().map(|user| user.describe()).collect();
                self.reply_texts(conn, &lines);
                Ok(())
            }
            CommandId::AclLoad => self.acl_load(conn),
            CommandId::AclLog => self.acl_log(conn, args),
            CommandId::AclSave => self.acl_save(conn),
            CommandId::AclSetuser => self.acl_setuser(conn, args),
            CommandId::AclUsers => {
                let names: Vec<Vec<u8>> = self.users.iter().map(|user| user.name.clone()).collect();
                self.reply_texts(conn, &names);
                Ok(())
            }
            _ => {
                let name = self.connections.get(conn).map(|connection| connection.user.name.clone());
                self.with_reply(conn, |reply| reply.bulk(&name.unwrap_or_default()));
                Ok(())
            }
        }
    }

    fn reply_texts(&mut self, conn: ConnId, texts: &[Vec<u8>]) {
        self.with_reply(conn, |reply| {
            reply.array(texts.len());
            texts.iter().for_each(|text| reply.bulk(text));
        });
    }

    fn acl_cat(&mut self, conn: ConnId, args: Args<'_>) -> Outcome {
        let names: Vec<Vec<u8>> = match args.get(2) {
            _ if args.len() > 3 => return Err(wrong_number("CAT")),
            None => Categories::NAMES.iter().map(|name| name.as_bytes().to_vec()).collect(),
            Some(name) => {
                let shown = String::from_utf8_lossy(name);
                let category = Categories::named(name).ok_or_else(|| format!("ERR Unknown category '{shown}'"))?;
                let is_in = |command: &&Command| command.categories.contains(category);
                schema::all().iter().filter(is_in).map(|command| command.name.as_bytes().to_vec()).collect()
            }
        };
        self.reply_texts(conn, &names);
        Ok(())
    }

    /// Changes the users of all cores; replies OK, or the count that `change` returns.
    pub(super) fn change_users(
        &mut self,
        conn: ConnId,
        change: impl FnOnce(&mut Users, &Config) -> Result<Option<u64>, String>,
    ) -> Outcome {
        let peers = Arc::clone(&self.peers);
        // a panic on any thread ends the process, so the lock is never poisoned
        let mut shared = peers.config.lock().unwrap_or_else(PoisonError::into_inner);
        let mut users = Users::clone(&shared.users);
        let count = change(&mut users, &shared.config)?;
        shared.users = Arc::new(users);
        shared.version += 1;
        let (config, users) = (Box::new(shared.config.clone()), Arc::clone(&shared.users));
        self.ask_all(conn, Question::Config { config, users, version: shared.version, count });
        self.end_after_reply(conn);
        Ok(())
    }

    /// If a connection has just condemned itself: it has its own reply yet to get, but what it has sent behind is not executed.
    pub(super) fn end_after_reply(&mut self, conn: ConnId) {
        if let Some(connection) = self.connections.get_mut(conn)
            && self.condemned.iter().any(|(other, id)| *other == conn && *id == connection.id)
        {
            connection.fate = Fate::CloseAfterReply;
            self.condemned.retain(|(other, _)| *other != conn);
        }
    }

    fn acl_setuser(&mut self, conn: ConnId, args: Args<'_>) -> Outcome {
        let name = args.at(2);
        if has_space(name) {
            return Err("ERR Usernames can't contain spaces or null characters".into());
        }
        let rules = merge_selectors(args.from(3).iter()).map_err(|open| {
            let word = String::from_utf8_lossy(args.at(3 + open));
            format!("ERR Unmatched parenthesis in acl selector starting at '{word}'.")
        })?;
        self.change_users(conn, |users, config| {
            let user = users.changed(name, &rules, all_channels(config)).map_err(|(i, error)| {
                format!("ERR Error in ACL SETUSER modifier '{}': {error}", String::from_utf8_lossy(&rules[i]))
            })?;
            users.put(user);
            Ok(None)
        })
    }

    fn acl_deluser(&mut self, conn: ConnId, args: Args<'_>) -> Outcome {
        if args.from(2).iter().any(|name| name == DEFAULT) {
            return Err("ERR The 'default' user cannot be removed".into());
        }
        self.change_users(conn, |users, _| {
            Ok(Some(args.from(2).iter().map(|name| u64::from(users.remove(name))).sum()))
        })
    }

    fn acl_dryrun(&mut self, conn: ConnId, args: Args<'_>) -> Outcome {
        let shown = |name: &[u8]| String::from_utf8_lossy(name).into_owned();
        let user = self.users.get(args.at(2)).ok_or_else(|| format!("ERR User '{}' not found", shown(args.at(2))))?;
        let request = args.from(3);
        let command = self.names.resolve(request).map_err(|unresolved| match unresolved {
            Unresolved::Arity(command) => arity_error(command.name),
            Unresolved::Command | Unresolved::Subcommand(_) => format!("ERR Command '{}' not found", shown(args.at(3))),
        })?;
        let denied = user.check(command, request).err().map(|denied| explain(user, command, request, denied, true));
        self.with_reply(conn, |reply| match denied {
            Some(text) => reply.bulk(&text),
            None => reply.ok(),
        });
        Ok(())
    }

    fn acl_genpass(&mut self, conn: ConnId, args: Args<'_>) -> Outcome {
        let bits = match args.get(2) {
            _ if args.len() > 3 => return Err(wrong_number("GENPASS")),
            None => USUAL_BITS,
            Some(bits) => format::parse_integer(bits).ok_or("ERR value is not an integer or out of range")?,
        };
        if !(1..=MOST_BITS).contains(&bits) {
            let reason = "the number of bits for the output password, a positive number up to";
            return Err(format!("ERR ACL GENPASS argument must be {reason} {MOST_BITS}"));
        }
        let digits = (bits as usize).div_ceil(4);
        let mut text: String = (0..digits.div_ceil(16)).map(|_| format!("{:016x}", random())).collect();
        text.truncate(digits);
        self.with_reply(conn, |reply| reply.bulk(text.as_bytes()));
        Ok(())
    }

    fn acl_getuser(&mut self, conn: ConnId, args: Args<'_>) -> Outcome {
        let user = self.users.get(args.at(2)).cloned();
        self.with_reply(conn, |reply| {
            let Some(user) = user else { return reply.null() };
            let (flags, (own, others)) = (user.flags(), user.selectors());
            reply.map(6);
            reply.bulk(b"flags");
            reply.set(flags.len());
            flags.iter().for_each(|flag| reply.bulk(flag.as_bytes()));
            reply.bulk(b"passwords");
            reply.array(user.passwords().len());
            user.passwords().for_each(|hash| reply.bulk(hash.as_bytes()));
            write_selector(own, reply);
            reply.bulk(b"selectors");
            reply.array(others.len());
            for other in others {
                reply.map(3);
                write_selector(other, reply);
            }
        });
        Ok(())
    }

    fn acl_log(&mut self, conn: ConnId, args: Args<'_>) -> Outcome {
        let peers = Arc::clone(&self.peers);
        let mut journal = peers.denials.lock().unwrap_or_else(PoisonError::into_inner);
        let count = match args.get(2) {
            _ if args.len() > 3 => return Err(wrong_number("LOG")),
            None => USUAL,
            Some(word) if word.eq_ignore_ascii_case(b"reset") => {
                journal.clear();
                self.with_reply(conn, |reply| reply.ok());
                return Ok(());
            }
            Some(count) => format::parse_integer(count).ok_or("ERR value is not an integer or out of range")?,
        };
        let count = usize::try_from(count).unwrap_or(0).min(journal.entries().len());
        let now_ms = self.now_ms;
        self.with_reply(conn, |reply| {
            reply.array(count);
            for entry in journal.entries().take(count) {
                reply.map(10);
                reply.bulk(b"count");
                reply.integer(entry.count as i64);
                for (name, value) in [
                    ("reason", entry.reason.name().as_bytes()),
                    ("context", entry.context.name().as_bytes()),
                    ("object", &entry.object),
                    ("username", &entry.user),
                ] {
                    reply.bulk(name.as_bytes());
                    reply.bulk(value);
                }
                reply.bulk(b"age-seconds");
                reply.double(now_ms.saturating_sub(entry.updated_ms) as f64 / 1000.0);
                reply.bulk(b"client-info");
                reply.bulk(&entry.client);
                for (name, value) in [
                    ("entry-id", entry.id),
                    ("timestamp-created", entry.created_ms),
                    ("timestamp-last-updated", entry.updated_ms),
                ] {
                    reply.bulk(name.as_bytes());
                    reply.integer(value as i64);
                }
            }
        });
        Ok(())
    }

    /// A request is denied: counts it, keeps it for ACL LOG, and returns what its client is told.
    #[cold]
    pub(crate) fn deny(
        &mut self,
        conn: ConnId,
        command: &'static Command,
        args: Args<'_>,
        denied: Denied,
        context: Context,
    ) -> Vec<u8> {
        let (reason, object) = match denied {
            Denied::Command => (Reason::Command, command.name.as_bytes()),
            Denied::Key(i) => (Reason::Key, args.at(i)),
            Denied::Channel(i) => (Reason::Channel, args.at(i)),
        };
        let Some(user) = self.connections.get(conn).map(|connection| Arc::clone(&connection.user)) else {
            return Vec::new();
        };
        self.note_denied(conn, reason, object, &user.name, context);
        [b"NOPERM ".as_slice(), &explain(&user, command, args, denied, false)].concat()
    }

    /// Counts a denial, and keeps it for ACL LOG.
    pub(super) fn note_denied(&mut self, conn: ConnId, reason: Reason, object: &[u8], user: &[u8], context: Context) {
        let Some(connection) = self.connections.get(conn) else { return };
        let mut client = connection.describe(self.up_ms, false);
        client.pop(); // the line's end
        self.stats.denied[reason as usize] += 1;
        let entry = Entry {
            id: 0,
            count: 1,
            reason,
            context,
            object: object.to_vec(),
            user: user.to_vec(),
            client,
            created_ms: self.now_ms,
            updated_ms: self.now_ms,
        };
        let max_len = usize::try_from(self.config.acllog_max_len).unwrap_or(usize::MAX);
        self.peers.denials.lock().unwrap_or_else(PoisonError::into_inner).add(entry, max_len);
    }

    /// ACL LOAD: another thread reads the file, and tells all cores.
    fn acl_load(&mut self, conn: ConnId) -> Outcome {
        let path = self.config.aclfile.clone().ok_or(NO_FILE)?;
        let peers = Arc::clone(&self.peers);
        self.run_errand(conn, "acl-load", move || {
            let name = path.display().to_string();
            let text = std::fs::read(&path)
                .map_err(|error| format!("ERR Error loading ACLs, opening file '{name}': {}", system_text(&error)))?;
            let mut shared = peers.config.lock().unwrap_or_else(PoisonError::into_inner);
            let users =
                load_file(&name, &text, all_channels(&shared.config)).map_err(|error| format!("ERR {error}"))?;
            shared.users = Arc::new(users);
            shared.version += 1;
            tell_all(&peers, &shared.config, &shared.users, shared.version);
            Ok(())
        })
    }

    /// ACL SAVE: another thread writes the file.
    fn acl_save(&mut self, conn: ConnId) -> Outcome {
        let path = self.config.aclfile.clone().ok_or(NO_FILE)?;
        let text = lines_of(&self.users);
        self.run_errand(conn, "acl-save", move || {
            save_file(&path, &text).map_err(|error| {
                tracing::warn!(%error, "the users can't be written to {}", path.display());
                NOT_SAVED.into()
            })
        })
    }

    /// Does from now on as these users say.
    pub(crate) fn take_over_users(&mut self, users: &Arc<Users>) {
        self.users = Arc::clone(users);
        for conn in self.connections.ids() {
            let Some(connection) = self.connections.get_mut(conn) else { continue };
            let Some(user) = users.get(&connection.user.name) else {
                self.condemned.push((conn, connection.id));
                continue;
            };
            if !Arc::ptr_eq(user, &connection.user) {
                connection.user = Arc::clone(user);
                let listening = connection.listening.as_deref();
                if listening.is_some_and(|listening| !listening.is_permitted_to(user)) {
                    self.condemned.push((conn, connection.id));
                }
            }
            connection.settle_access(users, self.looks);
        }
    }
}

/// Tells all cores what counts from now on. While the lock of what they share is held, so that they hear of it in order.
pub(crate) fn tell_all(peers: &Peers, config: &Config, users: &Arc<Users>, version: u64) {
    for core in peers.all() {
        let config = Box::new(config.clone());
        peers.send(core, Message::TakeOver { config, users: Arc::clone(users), version });
    }
}

fn write_selector(selector: &Selector, reply: &mut Reply<'_>) {
    for (name, text) in [
        ("commands", selector.describe_commands()),
        ("keys", selector.describe_keys()),
        ("channels", selector.describe_channels()),
    ] {
        reply.bulk(name.as_bytes());
        reply.bulk(&text);
    }
}

fn wrong_number(name: &str) -> String {
    format!("ERR unknown subcommand or wrong number of arguments for '{name}'. Try ACL HELP.")
}

/// What the system says, without its number.
pub(super) fn system_text(error: &std::io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or_default().to_owned()
}
