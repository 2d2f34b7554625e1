//! CLIENT TRACKING, CACHING, GETREDIR, TRACKINGINFO.

use bytes::Bytes;
use emberkv_resp::{Args, format};

use super::{Outcome, SYNTAX};
use crate::core::Question;
use crate::core::shard::Shard;
use crate::core::tracking::{Mode, Redirect, Tracking};
use crate::driver::ConnId;

/// Whoever is to be told in place of a connection is not there.
pub(crate) const NO_CLIENT: &str = "ERR The client ID you want redirect to does not exist";

/// CLIENT TRACKING's options.
#[derive(Default)]
struct Options {
    redirect: Option<u64>,
    prefixes: Vec<Bytes>,
    broadcast: bool,
    opt_in: bool,
    opt_out: bool,
    no_loop: bool,
}

impl Options {
    fn parse(args: Args<'_>) -> Result<Self, String> {
        let mut options = Self::default();
        let mut rest = args.from(3).iter();
        while let Some(option) = rest.next() {
            match option.to_ascii_lowercase().as_slice() {
                b"redirect" if rest.len() > 0 => {
                    if options.redirect.is_some() {
                        return Err("ERR A client can only redirect to a single other client".into());
                    }
                    let id = rest.next().and_then(format::parse_integer);
                    let id = id.ok_or("ERR value is not an integer or out of range")?;
                    // no client has 0 or less
                    options.redirect = Some(u64::try_from(id).ok().filter(|id| *id > 0).ok_or(NO_CLIENT)?);
                }
                b"prefix" if rest.len() > 0 => {
                    options.prefixes.extend(rest.next().map(Bytes::copy_from_slice));
                }
                b"bcast" => options.broadcast = true,
                b"optin" => options.opt_in = true,
                b"optout" => options.opt_out = true,
                b"noloop" => options.no_loop = true,
                _ => return Err(SYNTAX.into()),
            }
        }
        Ok(options)
    }

    /// Why a client can't be tracked so, that is `before`.
    fn check(&self, before: Option<&Tracking>) -> Result<(), String> {
        const SWITCH: &str =
            "before disabling tracking for this client, and then re-enabling it with a different mode.";
        if !self.broadcast && !self.prefixes.is_empty() {
            return Err("ERR PREFIX option requires BCAST mode to be enabled".into());
        }
        if before.is_some_and(|before| before.broadcasts() != self.broadcast) {
            return Err(format!("ERR You can't switch BCAST mode on/off {SWITCH}"));
        }
        if self.broadcast && (self.opt_in || self.opt_out) {
            return Err("ERR OPTIN and OPTOUT are not compatible with BCAST".into());
        }
        if self.opt_in && self.opt_out {
            return Err("ERR You can't specify both OPTIN mode and OPTOUT mode".into());
        }
        let mode = before.map(|before| &before.mode);
        if self.opt_in && mode == Some(&Mode::OptOut) || self.opt_out && mode == Some(&Mode::OptIn) {
            return Err(format!("ERR You can't switch OPTIN/OPTOUT mode {SWITCH}"));
        }
        let overlap = |a: &Bytes, b: &Bytes| a.starts_with(b) || b.starts_with(a);
        let text = |prefix: &Bytes| String::from_utf8_lossy(prefix).into_owned();
        for (i, prefix) in self.prefixes.iter().enumerate() {
            let existing = if let Some(Mode::Broadcast(existing)) = mode { &existing[..] } else { &[] };
            let others = [(existing, "an existing"), (&self.prefixes[i + 1..], "another provided")];
            for (others, which) in others {
                if let Some(other) = others.iter().find(|other| overlap(other, prefix)) {
                    return Err(format!(
                        "ERR Prefix '{}' overlaps with {which} prefix '{}'. Prefixes for a single client must not overlap.",
                        text(prefix),
                        text(other)
                    ));
                }
            }
        }
        Ok(())
    }

    fn mode(&self, before: Option<&Tracking>) -> Mode {
        if !self.broadcast {
            return match (self.opt_in, self.opt_out) {
                (true, _) => Mode::OptIn,
                (_, true) => Mode::OptOut,
                _ => Mode::Reads,
            };
        }
        let mut prefixes = match before.map(|before| &before.mode) {
            Some(Mode::Broadcast(prefixes)) => prefixes.clone(),
            _ => Vec::new(),
        };
        prefixes.extend(self.prefixes.iter().cloned());
        if self.prefixes.is_empty() && !prefixes.contains(&Bytes::new()) {
            prefixes.push(Bytes::new());
        }
        prefixes.sort_unstable();
        Mode::Broadcast(prefixes)
    }
}

impl Shard {
    /// CLIENT TRACKING ON or OFF. Answered when all cores know, so nothing is lost behind the reply; what comes before it is tracked
    /// already.
    pub(super) fn client_tracking(&mut self, conn: ConnId, args: Args<'_>) -> Outcome {
        let options = Options::parse(args)?;
        let before = self.connections.get(conn).and_then(|connection| connection.tracking.as_deref());
        let redirect = options.redirect;
        match args.at(2).to_ascii_lowercase().as_slice() {
            b"on" => {}
            b"off" => {
                if let Some(redirect) = redirect {
                    self.ask_all(conn, Question::Untrack { redirect });
                    return Ok(());
                }
                self.set_tracking(conn, None);
                self.with_reply(conn, |reply| reply.ok());
                return Ok(());
            }
            _ => return Err(SYNTAX.into()),
        }
        options.check(before)?;
        let mode = options.mode(before);
        let redirects = redirect.map(|client| Redirect { client, place: None });
        let tracking = Tracking::new(mode, options.no_loop, redirects);
        if redirect.is_some() {
            self.try_tracking(conn, tracking);
        } else {
            self.set_tracking(conn, Some(tracking));
        }
        self.ask_all(conn, Question::Track { redirect });
        Ok(())
    }

    /// CLIENT CACHING YES or NO: of the next command alone.
    pub(super) fn client_caching(&mut self, conn: ConnId, args: Args<'_>) -> Outcome {
        const MODE: &str = "ERR CLIENT CACHING can be called only when the client is in tracking mode with OPTIN or OPTOUT mode enabled";
        let connection = self.connections.get_mut(conn);
        let tracking = connection.and_then(|connection| connection.tracking.as_deref_mut()).ok_or(MODE)?;
        match args.at(2).to_ascii_lowercase().as_slice() {
            b"yes" if tracking.mode != Mode::OptIn => {
                return Err("ERR CLIENT CACHING YES is only valid when tracking is enabled in OPTIN mode.".into());
            }
            b"no" if tracking.mode != Mode::OptOut => {
                return Err("ERR CLIENT CACHING NO is only valid when tracking is enabled in OPTOUT mode.".into());
            }
            b"yes" | b"no" => tracking.caching = true,
            _ => return Err(SYNTAX.into()),
        }
        self.with_reply(conn, |reply| reply.ok());
        Ok(())
    }

    fn redirection(&self, conn: ConnId) -> i64 {
        let tracking = self.connections.get(conn).and_then(|connection| connection.tracking.as_ref());
        tracking.map_or(-1, |tracking| tracking.redirect.as_ref().map_or(0, |redirect| redirect.client as i64))
    }

    /// CLIENT GETREDIR.
    pub(super) fn client_getredir(&mut self, conn: ConnId) -> Outcome {
        let redirection = self.redirection(conn);
        self.with_reply(conn, |reply| reply.integer(redirection));
        Ok(())
    }

    /// CLIENT TRACKINGINFO.
    pub(super) fn client_trackinginfo(&mut self, conn: ConnId) -> Outcome {
        let redirection = self.redirection(conn);
        let Some(connection) = self.connections.get(conn) else { return Ok(()) };
        let mut flags = Vec::new();
        let mut prefixes = Vec::new();
        match &connection.tracking {
            None => flags.push("off"),
            Some(tracking) => {
                flags.push("on");
                match &tracking.mode {
                    Mode::Reads => {}
                    Mode::OptIn => flags.push("optin"),
                    Mode::OptOut => flags.push("optout"),
                    Mode::Broadcast(all) => {
                        flags.push("bcast");
                        prefixes.clone_from(all);
                    }
                }
                match tracking.mode {
                    Mode::OptIn if tracking.caching => flags.push("caching-yes"),
                    Mode::OptOut if tracking.caching => flags.push("caching-no"),
                    _ => {}
                }
                if tracking.no_loop {
                    flags.push("noloop");
                }
                if tracking.is_broken {
                    flags.push("broken_redirect");
                }
            }
        }
        self.with_reply(conn, |reply| {
            reply.map(3);
            reply.bulk(b"flags");
            reply.set(flags.len());
            flags.iter().for_each(|flag| reply.bulk(flag.as_bytes()));
            reply.bulk(b"redirect");
            reply.integer(redirection);
            reply.bulk(b"prefixes");
            reply.array(prefixes.len());
            prefixes.iter().for_each(|prefix| reply.bulk(prefix));
        });
        Ok(())
    }
}
