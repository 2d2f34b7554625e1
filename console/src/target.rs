//! Where a server is, and who we are there.

use std::fmt;
use std::path::PathBuf;

use crate::error::{Error, Result};
use crate::tls::TlsArgs;

/// Where to connect to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Place {
    /// A host and its port.
    Tcp(String, u16),
    /// A socket in the file system.
    Unix(PathBuf),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(host, port) if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp(host, port) => write!(f, "{host}:{port}"),
            Self::Unix(path) => write!(f, "{}", path.display()),
        }
    }
}

/// A server, and what a connection needs there.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Target {
    /// Where it is.
    pub place: Place,
    /// The user; `None`: the default one.
    pub user: Option<String>,
    /// The password, if one is to be given.
    pub password: Option<String>,
    /// The database.
    pub database: u32,
    /// Whether RESP3 is asked for.
    pub resp3: bool,
    /// Whether TLS is spoken, and how.
    pub tls: TlsArgs,
}

impl Default for Target {
    fn default() -> Self {
        let place = Place::Tcp("127.0.0.1".into(), 6379);
        Self { place, user: None, password: None, database: 0, resp3: false, tls: TlsArgs::default() }
    }
}

impl Target {
    /// Takes what `redis[s]://[[user]:password@]host[:port][/database]` or `unix://path` says; the rest stays as it is.
    ///
    /// # Errors
    /// When it is another kind of address, or a part of it makes no sense.
    pub fn apply_uri(&mut self, uri: &str) -> Result<()> {
        let wrong = |why: &str| Error::Usage(format!("invalid uri {uri:?}: {why}"));
        let (scheme, rest) = uri.split_once("://").ok_or_else(|| wrong("it has no scheme"))?;
        match scheme.to_ascii_lowercase().as_str() {
            "redis" | "valkey" | "emberkv" => {}
            "unix" => {
                self.place = Place::Unix(rest.into());
                return Ok(());
            }
            "rediss" | "valkeys" | "emberkvs" => self.tls.tls = true,
            _ => return Err(wrong("the scheme must be redis, rediss or unix")),
        }
        // a password may contain an @ or a / only as %40 and %2f, but many are written with them.
        let (authority, database) = match rest.rsplit_once('/') {
            Some((before, after)) if !after.contains('@') => (before, after.split('?').next().unwrap_or("")),
            _ => (rest, ""),
        };
        let host_port = match authority.rsplit_once('@') {
            None => authority,
            Some((who, host_port)) => {
                let (user, password) = who.split_once(':').unwrap_or(("", who));
                let decode = |text| decode(text).ok_or_else(|| wrong("a % that is followed by no number"));
                self.user = if user.is_empty() { None } else { Some(decode(user)?) };
                self.password = Some(decode(password)?);
                host_port
            }
        };
        if !host_port.is_empty() {
            self.place = place(host_port).ok_or_else(|| wrong("the port is no number"))?;
        }
        if !database.is_empty() {
            self.database = database.parse().map_err(|_| wrong("the database is no number"))?;
        }
        Ok(())
    }
}

fn place(text: &str) -> Option<Place> {
    let (host, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, port)) => (host, port.strip_prefix(':')),
        None => text.rsplit_once(':').map_or((text, None), |(host, port)| (host, Some(port))),
    };
    let port = port.map_or(Ok(6379), str::parse).ok()?;
    let host = if host.is_empty() { "127.0.0.1" } else { host };
    Some(Place::Tcp(host.into(), port))
}

fn decode(text: &str) -> Option<String> {
    let mut out = Vec::new();
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            out.push(byte);
            continue;
        }
        let digits = [bytes.next()?, bytes.next()?];
        out.push(u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?);
    }
    String::from_utf8(out).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(uri: &str) -> Option<Target> {
        let mut target = Target::default();
        target.apply_uri(uri).ok().map(|()| target)
    }

    fn tcp(host: &str, port: u16) -> Target {
        Target { place: Place::Tcp(host.into(), port), ..Target::default() }
    }

    #[test]
    fn uris_are_understood() {
        assert_eq!(target("redis://").unwrap(), Target::default());
        assert_eq!(target("redis://there").unwrap(), tcp("there", 6379));
        let secure = target("rediss://there:7").unwrap();
        assert!(secure.tls.tls && secure.place == tcp("there", 7).place);
        assert_eq!(target("redis://[::1]:7/").unwrap(), tcp("::1", 7));
        assert_eq!(target("redis://there:7/3").unwrap(), Target { database: 3, ..tcp("there", 7) });
        let password = Some("p@s/s".to_owned());
        assert_eq!(target("redis://:p%40s%2fs@there").unwrap(), Target { password, ..tcp("there", 6379) });
        let both = target("REDIS://me:a@b@there:1").unwrap();
        assert_eq!((both.user.as_deref(), both.password.as_deref()), (Some("me"), Some("a@b")));
        assert_eq!(target("unix:///run/s.sock").unwrap().place, Place::Unix("/run/s.sock".into()));
    }

    #[test]
    fn other_uris_are_refused() {
        for uri in ["there", "http://there", "redis://there:x", "redis://there/x", "redis://%zz@a"] {
            assert!(target(uri).is_none(), "{uri}");
        }
    }

    #[test]
    fn places_are_shown_as_they_are_typed() {
        assert_eq!(tcp("::1", 7).place.to_string(), "[::1]:7");
        assert_eq!(tcp("a", 7).place.to_string(), "a:7");
    }
}
