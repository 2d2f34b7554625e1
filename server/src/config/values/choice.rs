//! One of a few names: yes and no, and the enums.

use super::{Codec, Put, Reason, only};

/// When the log is synced to the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AppendFsync {
    /// Once a second: a reply survives `kill -9`, a power cut may take the last second.
    #[default]
    EverySec,
    /// Before the reply: it survives a power cut.
    Always,
    /// When the operating system likes to.
    No,
}

/// Which channels a new user may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AclChannels {
    /// All.
    All,
    /// None.
    #[default]
    None,
}

/// How much is logged. Each level includes those after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogLevel {
    /// Everything, for development.
    Debug,
    /// A lot that is rarely useful.
    Verbose,
    /// What one wants to know in production.
    #[default]
    Notice,
    /// Only what needs attention.
    Warning,
    /// Nothing at all.
    Nothing,
}

/// In what form events are logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogFormat {
    /// A line of text for people.
    #[default]
    Text,
    /// A line with a JSON object.
    Json,
}

/// Who may use a command that is protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Guard {
    /// Nobody.
    #[default]
    No,
    /// Everybody.
    Yes,
    /// Clients of this machine.
    Local,
}

/// Whether clients of `tls-port` show a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AuthClients {
    /// They are not asked for one.
    No,
    /// They must.
    #[default]
    Yes,
    /// They may.
    Optional,
}

/// What in a client's certificate names a user.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CertificateUser {
    /// Nothing.
    #[default]
    Off,
    /// The subject's common name.
    CommonName,
}

/// Which i/o driver the cores use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum IoDriver {
    /// `io_uring` where the kernel has and permits it, epoll otherwise.
    #[default]
    Auto,
    /// `io_uring`, or the start fails.
    Uring,
    /// `epoll`.
    Epoll,
}

/// What happens to data that is over `maxmemory`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum EvictionPolicy {
    /// The least recently used keys with a ttl go.
    VolatileLru,
    /// The least often used keys with a ttl go.
    VolatileLfu,
    /// Any keys with a ttl go.
    VolatileRandom,
    /// The keys with a ttl go, the soonest to expire first.
    VolatileTtl,
    /// The least recently used keys go.
    AllKeysLru,
    /// The least often used keys go.
    AllKeysLfu,
    /// Any keys go.
    AllKeysRandom,
    /// Nothing goes, writes get an error.
    NoEviction,
    /// Nothing goes: cold segments stay on disk only and are read from there.
    #[default]
    Spill,
}

/// One of the named values; names are read in any case.
#[derive(Debug)]
pub(in crate::config) struct Choice<T: 'static>(&'static [(&'static str, T)]);

/// `appendfsync`.
pub(in crate::config) const APPEND_FSYNC: Choice<AppendFsync> =
    Choice(&[("everysec", AppendFsync::EverySec), ("always", AppendFsync::Always), ("no", AppendFsync::No)]);

/// `acl-pubsub-default`.
pub(in crate::config) const ACL_CHANNELS: Choice<AclChannels> =
    Choice(&[("allchannels", AclChannels::All), ("resetchannels", AclChannels::None)]);

/// `loglevel`.
pub(in crate::config) const LOG_LEVEL: Choice<LogLevel> = Choice(&[
    ("debug", LogLevel::Debug),
    ("verbose", LogLevel::Verbose),
    ("notice", LogLevel::Notice),
    ("warning", LogLevel::Warning),
    ("nothing", LogLevel::Nothing),
]);

/// `log-format`.
pub(in crate::config) const LOG_FORMAT: Choice<LogFormat> =
    Choice(&[("text", LogFormat::Text), ("json", LogFormat::Json)]);

/// `enable-debug-command`.
pub(in crate::config) const GUARD: Choice<Guard> =
    Choice(&[("no", Guard::No), ("yes", Guard::Yes), ("local", Guard::Local)]);

/// `tls-auth-clients`.
pub(in crate::config) const AUTH_CLIENTS: Choice<AuthClients> =
    Choice(&[("no", AuthClients::No), ("yes", AuthClients::Yes), ("optional", AuthClients::Optional)]);

/// `tls-auth-clients-user`.
pub(in crate::config) const CERTIFICATE_USER: Choice<CertificateUser> =
    Choice(&[("off", CertificateUser::Off), ("CN", CertificateUser::CommonName)]);

/// `io`.
pub(in crate::config) const IO_DRIVER: Choice<IoDriver> =
    Choice(&[("auto", IoDriver::Auto), ("uring", IoDriver::Uring), ("epoll", IoDriver::Epoll)]);

/// `maxmemory-policy`.
pub(in crate::config) const EVICTION_POLICY: Choice<EvictionPolicy> = Choice(&[
    ("volatile-lru", EvictionPolicy::VolatileLru),
    ("volatile-lfu", EvictionPolicy::VolatileLfu),
    ("volatile-random", EvictionPolicy::VolatileRandom),
    ("volatile-ttl", EvictionPolicy::VolatileTtl),
    ("allkeys-lru", EvictionPolicy::AllKeysLru),
    ("allkeys-lfu", EvictionPolicy::AllKeysLfu),
    ("allkeys-random", EvictionPolicy::AllKeysRandom),
    ("noeviction", EvictionPolicy::NoEviction),
    ("spill", EvictionPolicy::Spill),
]);

impl<T> Choice<T> {
    fn names(&self) -> Vec<&'static str> {
        self.0.iter().map(|(name, _)| *name).collect()
    }
}

impl<T: Copy + PartialEq> Codec<T> for Choice<T> {
    fn parse(&self, words: &[&[u8]], _: &T, _: Put) -> Result<T, Reason> {
        let word = only(words);
        let named = |(name, _): &&(&str, T)| name.as_bytes().eq_ignore_ascii_case(word);
        match self.0.iter().find(named) {
            Some((_, value)) => Ok(*value),
            None => Err(one_of(&self.names())),
        }
    }

    fn print(&self, value: &T) -> Vec<u8> {
        let name = self.0.iter().find(|(_, named)| named == value);
        debug_assert!(name.is_some(), "every value of a choice has a name");
        name.map_or_else(Vec::new, |(name, _)| name.as_bytes().to_vec())
    }

    fn kind(&self) -> String {
        self.names().join("|")
    }
}

/// Redis's message for a value that is none of these.
pub(in crate::config) fn one_of(names: &[&str]) -> Reason {
    Reason::new(format!("argument(s) must be one of the following: {}", names.join(", ")))
}

/// `yes` or `no`.
#[derive(Debug)]
pub(in crate::config) struct YesNo;

impl Codec<bool> for YesNo {
    fn parse(&self, words: &[&[u8]], _: &bool, _: Put) -> Result<bool, Reason> {
        let word = only(words);
        if word.eq_ignore_ascii_case(b"yes") {
            Ok(true)
        } else if word.eq_ignore_ascii_case(b"no") {
            Ok(false)
        } else {
            Err(Reason::new("argument must be 'yes' or 'no'"))
        }
    }

    fn print(&self, value: &bool) -> Vec<u8> {
        if *value { b"yes".to_vec() } else { b"no".to_vec() }
    }

    fn kind(&self) -> String {
        "yes|no".to_owned()
    }
}

/// `yes`, and nothing else: `no` is refused for this reason.
#[derive(Debug)]
pub(in crate::config) struct OnlyYes(pub &'static str);

impl Codec<bool> for OnlyYes {
    fn parse(&self, words: &[&[u8]], current: &bool, put: Put) -> Result<bool, Reason> {
        if YesNo.parse(words, current, put)? { Ok(true) } else { Err(Reason::new(self.0)) }
    }

    fn print(&self, value: &bool) -> Vec<u8> {
        YesNo.print(value)
    }

    fn kind(&self) -> String {
        "yes".to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{parse, round_trips};
    use super::*;

    #[test]
    fn names_are_read_in_any_case_and_the_error_lists_them() {
        let current = AppendFsync::No;
        assert_eq!(parse(&APPEND_FSYNC, &current, "ALWAYS"), Ok(AppendFsync::Always));
        let reason = parse(&APPEND_FSYNC, &current, "sometimes").unwrap_err();
        assert_eq!(reason, "argument(s) must be one of the following: everysec, always, no");
        assert_eq!(parse(&YesNo, &false, "YES"), Ok(true));
        assert_eq!(parse(&YesNo, &false, "1").unwrap_err(), "argument must be 'yes' or 'no'");
    }

    #[test]
    fn every_value_round_trips() {
        fn all<T: Copy + PartialEq + std::fmt::Debug>(choice: &Choice<T>) {
            for (_, value) in choice.0 {
                round_trips(choice, value, value);
            }
        }
        all(&APPEND_FSYNC);
        all(&ACL_CHANNELS);
        all(&LOG_LEVEL);
        all(&LOG_FORMAT);
        all(&GUARD);
        all(&AUTH_CLIENTS);
        all(&CERTIFICATE_USER);
        all(&IO_DRIVER);
        all(&EVICTION_POLICY);
        round_trips(&YesNo, &false, &true);
        round_trips(&YesNo, &true, &false);
    }
}
