//! The directives that mean something here, one row each.
//!
//! A row is `Variant field: type = default, "name" (| "alias")*, when, codec, "help";`, below the
//! heading that it has in the help. Everything else comes out of it: the field of [`Config`],
//! its default, the variant of [`Field`], how it is read and printed, and the help.

use std::path::PathBuf;

use super::foreign::Given;
use super::values::{
    ACL_CHANNELS, APPEND_FSYNC, AUTH_CLIENTS, AclChannels, Addresses, AppendFsync, AuthClients, BindAddress,
    BufferLimits, CERTIFICATE_USER, CertificateUser, Codec, CpuList, EVICTION_POLICY, EventClasses, EvictionPolicy,
    Folder, GIB, GUARD, Guard, IO_DRIVER, IoDriver, KeyspaceEvents, LOG_FORMAT, LOG_LEVEL, LogFormat, LogLevel, MIB,
    Memory, Number, Octal, OnlyYes, OptionalPath, OutputLimits, Password, Primary, PrimaryAddress, ProtocolNames,
    Protocols, Put, Reason, RenameLines, Renames, SaveLine, SavePoint, Secret, Text, UserLine, UserLines, YesNo,
    every_address, stock_save_points,
};

/// When a directive may be given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum When {
    /// Also by CONFIG SET.
    Runtime,
    /// In the file and on the command line only.
    Start,
    /// As `Start`; CONFIG SET has redis's words for what it protects.
    Protected,
    /// In the file only: CONFIG does not know it at all.
    FileOnly,
}

/// Parses and stores a value out of its words; returns whether it is another one than before.
type Set = fn(&mut Config, &[&[u8]], Put) -> Result<bool, Reason>;

/// A row of the table, without its types.
pub(super) struct Directive {
    pub field: Field,
    pub name: &'static str,
    pub aliases: &'static [&'static str],
    pub group: &'static str,
    pub when: When,
    pub help: &'static str,
    pub takes_list: fn() -> bool,
    /// What may be written, for the help.
    pub kind: fn() -> String,
    /// The value as people write it, for the help.
    pub show: fn(&Config) -> String,
    /// The value as CONFIG GET prints it.
    pub get: fn(&Config) -> Vec<u8>,
    /// Parses and stores a value; whether it is another one than before.
    pub set: Set,
}

macro_rules! directives {
    ($( $group:literal { $(
        $variant:ident $field:ident: $type:ty = $default:expr,
        $name:literal $(| $alias:literal)*, $when:ident, $codec:expr, $help:literal;
    )* } )*) => {
        /// The configuration of a server: a field for each directive that means something here.
        #[derive(Debug, Clone, PartialEq)]
        pub struct Config {
            $( $(
                #[doc = concat!("`", $name, "`: ", $help, ".")]
                pub $field: $type,
            )* )*
            /// The values of redis's other directives, for CONFIG GET.
            pub(super) given: Given,
        }

        impl Default for Config {
            fn default() -> Self {
                Self { $( $( $field: $default, )* )* given: Given::default() }
            }
        }

        /// Names a field of [`Config`].
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Field {
            $( $(
                #[doc = concat!("`", $name, "`.")]
                $variant,
            )* )*
        }

        /// Every row, in the order of the help and of CONFIG GET.
        pub(super) static DIRECTIVES: &[Directive] = &[ $( $( Directive {
            field: Field::$variant,
            name: $name,
            aliases: &[$($alias),*],
            group: $group,
            when: When::$when,
            help: $help,
            takes_list: || Codec::<$type>::takes_list(&$codec),
            kind: || Codec::<$type>::kind(&$codec),
            show: |config| $codec.show(&config.$field),
            get: |config| $codec.print(&config.$field),
            set: |config, words, put| {
                let value = $codec.parse(words, &config.$field, put)?;
                let is_new = config.$field != value;
                config.$field = value;
                Ok(is_new)
            },
        }, )* )* ];
    };
}

/// The largest `int` and `long` of redis's ranges.
const INT: i64 = i32::MAX as i64;
const LONG: u64 = i64::MAX as u64;

directives! {
    "network" {
        Bind bind: Vec<BindAddress> = every_address(), "bind", Start, Addresses,
            "addresses to listen on; one with a - before it may be missing on this machine";
        Port port: u16 = 6379, "port", Start, Number::<u16>::new(0, 65_535),
            "TCP port, 0 for none";
        UnixSocket unixsocket: Option<PathBuf> = None, "unixsocket", Start, OptionalPath,
            "a unix socket to listen on as well";
        UnixSocketPerm unixsocketperm: u32 = 0, "unixsocketperm", Start, Octal,
            "permissions of the unix socket, 0 for those of the umask";
        TcpBacklog tcp_backlog: u32 = 511, "tcp-backlog", Start, Number::<u32>::new(0, INT),
            "how many connections may wait to be accepted";
        TcpKeepalive tcp_keepalive: u32 = 300, "tcp-keepalive", Runtime,
            Number::<u32>::new(0, INT),
            "seconds between probes of a silent connection, 0 for none";
        Timeout timeout: u32 = 0, "timeout", Runtime, Number::<u32>::new(0, INT),
            "seconds after which an idle client is disconnected, 0 for never";
        ProtectedMode protected_mode: bool = true, "protected-mode", Runtime, YesNo,
            "while the default user needs no password, take only clients of this machine";
        RequirePass requirepass: Secret = Secret::default(), "requirepass", Runtime, Password,
            "the password of the default user, empty for none";
    }
    "tls" {
        TlsPort tls_port: u16 = 0, "tls-port", Start, Number::<u16>::new(0, 65_535),
            "TCP port for TLS, 0 for none; port 0 leaves only this one";
        TlsCertFile tls_cert_file: Option<PathBuf> = None, "tls-cert-file", Runtime, OptionalPath,
            "the server's certificate and those between it and the authority's, PEM. CONFIG SET reads it again, also under the \
             same name";
        TlsKeyFile tls_key_file: Option<PathBuf> = None, "tls-key-file", Runtime, OptionalPath,
            "the certificate's key, PEM";
        TlsKeyFilePass tls_key_file_pass: Secret = Secret::default(), "tls-key-file-pass", Runtime, Password,
            "what the key is encrypted with, if it is (PKCS#8)";
        TlsCaCertFile tls_ca_cert_file: Option<PathBuf> = None, "tls-ca-cert-file", Runtime, OptionalPath,
            "the authorities whose certificates clients may show, PEM";
        TlsCaCertDir tls_ca_cert_dir: Option<PathBuf> = None, "tls-ca-cert-dir", Runtime, OptionalPath,
            "a folder of files of those";
        TlsAuthClients tls_auth_clients: AuthClients = AuthClients::Yes, "tls-auth-clients", Runtime, AUTH_CLIENTS,
            "whether clients must show a certificate";
        TlsAuthClientsUser tls_auth_clients_user: CertificateUser = CertificateUser::Off, "tls-auth-clients-user", Runtime,
            CERTIFICATE_USER,
            "CN: a client is the user that the common name of its certificate names, if there is one that is on";
        TlsProtocols tls_protocols: Protocols = Protocols::Stock, "tls-protocols", Runtime, ProtocolNames,
            "\"TLSv1.2 TLSv1.3\" or one of them; empty for both";
        TlsSessionCaching tls_session_caching: bool = true, "tls-session-caching", Runtime, YesNo,
            "let clients that come again go on with what was agreed before";
        TlsSessionCacheSize tls_session_cache_size: u32 = 20_480, "tls-session-cache-size", Runtime,
            Number::<u32>::new(0, INT),
            "how many of these are kept, at most 65536; 0: so many";
        TlsReplication tls_replication: bool = false, "tls-replication", Runtime, YesNo,
            "a replica speaks TLS to its primary, whose certificate has to be for the name or address in replicaof, and from one of \
             tls-ca-cert-file and tls-ca-cert-dir";
        TlsClientCertFile tls_client_cert_file: Option<PathBuf> = None, "tls-client-cert-file", Runtime, OptionalPath,
            "the certificate that is shown to a primary; tls-cert-file without one";
        TlsClientKeyFile tls_client_key_file: Option<PathBuf> = None, "tls-client-key-file", Runtime, OptionalPath,
            "its key, PEM";
        TlsClientKeyFilePass tls_client_key_file_pass: Secret = Secret::default(), "tls-client-key-file-pass", Runtime, Password,
            "what that is encrypted with, if it is (PKCS#8)";
    }
    "users" {
        Users users: Vec<UserLine> = Vec::new(), "user", FileOnly, UserLines,
            "a user and what it may do, in the words of ACL SETUSER; a line for each";
        AclFile aclfile: Option<PathBuf> = None, "aclfile", Start, OptionalPath,
            "file of users, a line for each, instead of user lines; for ACL LOAD and ACL SAVE";
        AclPubsubDefault acl_pubsub_default: AclChannels = AclChannels::None, "acl-pubsub-default", Runtime,
            ACL_CHANNELS,
            "which channels a new user may use";
        AclLogMaxLen acllog_max_len: i64 = 128, "acllog-max-len", Runtime, Number::<i64>::new(0, i64::MAX),
            "how many denials ACL LOG keeps";
        EnableDebugCommand enable_debug_command: Guard = Guard::No, "enable-debug-command", Start, GUARD,
            "who may use DEBUG: nobody, everybody, or clients of this machine";
        RenameCommand rename_command: Renames = Renames::default(), "rename-command", FileOnly, RenameLines,
            "what clients call a command by instead, or \"\" so that none can; a line for each. ACL rules keep its own name";
    }
    "limits" {
        MaxClients maxclients: u32 = 10_000, "maxclients", Runtime,
            Number::<u32>::new(1, u32::MAX as i64).unsigned(),
            "how many clients may be connected";
        ProtoMaxBulkLen proto_max_bulk_len: u64 = 512 * MIB, "proto-max-bulk-len", Runtime,
            Memory::new(MIB, LONG),
            "the largest argument of a command";
        ClientQueryBufferLimit client_query_buffer_limit: u64 = GIB, "client-query-buffer-limit",
            Runtime, Memory::new(MIB, LONG),
            "how much of a client's input may wait to be executed";
        ClientOutputBufferLimit client_output_buffer_limit: OutputLimits = OutputLimits::default(),
            "client-output-buffer-limit", Runtime, BufferLimits,
            "how much output of a client (normal, replica, pubsub) may wait to be sent: more than \
             hard at once or more than soft for so many seconds disconnects it; 0 for no bound";
        MaxMemory maxmemory: u64 = 0, "maxmemory", Runtime, Memory::new(0, u64::MAX),
            "memory for data, index and buffers, 0 for no bound";
        MaxMemoryPolicy maxmemory_policy: EvictionPolicy = EvictionPolicy::Spill,
            "maxmemory-policy", Runtime, EVICTION_POLICY,
            "what gives way at maxmemory; spill loses nothing, it reads what is cold from disk";
        Databases databases: u32 = 16, "databases", Start, Number::<u32>::new(1, 255),
            "number of databases for SELECT";
    }
    "data" {
        Dir dir: PathBuf = PathBuf::from("./"), "dir", Protected, Folder,
            "the folder of the log, which is the database";
        AppendFsync appendfsync: AppendFsync = AppendFsync::EverySec, "appendfsync", Runtime,
            APPEND_FSYNC,
            "when the log is synced to disk; with always a reply means that it was";
        Save save: Vec<SavePoint> = stock_save_points(), "save", Runtime, SaveLine,
            "when to take a checkpoint, which only makes the next start faster: after so many seconds, if there were so \
             many changes, \"\" for never";
        CheckpointInterval checkpoint_interval: u64 = 256 * MIB, "checkpoint-interval", Runtime,
            Memory::new(0, u64::MAX),
            "after so many bytes of log in one partition its next checkpoint is taken, 0 for never; a start replays about as \
             many";
        SegmentSize segment_size: u64 = 0, "segment-size", Start,
            Memory::new(MIB, GIB).power_of_two().or_zero(),
            "size of the log's files, fixed when the data set is created; 0 for 64mb, or less where \
             maxmemory is small";
        LogMaxSize log_max_size: u64 = 0, "log-max-size", Runtime, Memory::new(0, LONG),
            "how large the log's files may become in all, 0 for no bound; then writes are refused as on a full disk";
        CompactionAmplification compaction_amplification: u32 = 150, "compaction-amplification", Runtime,
            Number::<u32>::new(110, 10_000),
            "how large the log may become before it is compacted, in percent of what lives in it";
        CompressValuesFrom compress_values_from: u64 = 0, "compress-values-from", Runtime,
            Memory::new(0, LONG),
            "values from this length to 256kb are kept lz4-compressed if that makes them an eighth shorter; 0 for none";
        HashMaxListpackEntries hash_max_listpack_entries: i64 = 512, "hash-max-listpack-entries" | "hash-max-ziplist-entries", Runtime,
            Number::<i64>::new(0, i64::MAX),
            "up to so many fields OBJECT ENCODING calls a hash a listpack, and its fields are replied in the order in which they came";
        HashMaxListpackValue hash_max_listpack_value: u64 = 64, "hash-max-listpack-value" | "hash-max-ziplist-value", Runtime,
            Memory::new(0, LONG),
            "the same for the length of each field and value";
        ZsetMaxListpackEntries zset_max_listpack_entries: i64 = 128, "zset-max-listpack-entries" | "zset-max-ziplist-entries", Runtime,
            Number::<i64>::new(0, i64::MAX),
            "up to so many members OBJECT ENCODING calls a sorted set a listpack";
        ZsetMaxListpackValue zset_max_listpack_value: u64 = 64, "zset-max-listpack-value" | "zset-max-ziplist-value", Runtime,
            Memory::new(0, LONG),
            "the same for the length of each member";
        ListMaxListpackSize list_max_listpack_size: i32 = -2, "list-max-listpack-size" | "list-max-ziplist-size", Runtime,
            Number::<i32>::new(i32::MIN.into(), i32::MAX.into()),
            "up to so many elements, or from -1 to -5 up to 4kb to 64kb, OBJECT ENCODING calls a list a listpack";
        SetMaxIntsetEntries set_max_intset_entries: i64 = 512, "set-max-intset-entries", Runtime,
            Number::<i64>::new(0, i64::MAX).unsigned(),
            "up to so many members OBJECT ENCODING calls a set of integers an intset, and they are replied in their order";
        SetMaxListpackEntries set_max_listpack_entries: i64 = 128, "set-max-listpack-entries", Runtime,
            Number::<i64>::new(0, i64::MAX).unsigned(),
            "up to so many members OBJECT ENCODING calls another set a listpack, and they are replied in the order in which they came";
        SetMaxListpackValue set_max_listpack_value: i64 = 64, "set-max-listpack-value", Runtime,
            Number::<i64>::new(0, i64::MAX).unsigned(),
            "the same for the length of each member";
        HllSparseMaxBytes hll_sparse_max_bytes: u64 = 3000, "hll-sparse-max-bytes", Runtime,
            Memory::new(0, LONG),
            "up to how many bytes a HyperLogLog keeps its registers as runs; from there on it takes 12,304 bytes";
        ImportMode import_mode: bool = false, "import-mode", Runtime, YesNo,
            "let the wall clock stand still, so that no key expires: for who fills this server from one that says what expires";
        Salvage salvage: bool = false, "salvage", Start, YesNo,
            "start in spite of damage in the log, without the data that is lost";
    }
    "replicas" {
        ReplicaOf replicaof: Option<Primary> = None, "replicaof" | "slaveof", Start, PrimaryAddress,
            "host and port of the primary whose data this server follows; at run time REPLICAOF says so";
        MasterUser masteruser: Vec<u8> = Vec::new(), "masteruser", Runtime, Text,
            "the primary's user that the replica logs in as, empty for the default user";
        MasterAuth masterauth: Secret = Secret::default(), "masterauth", Runtime, Password,
            "that user's password, empty for none";
        ReplicaReadOnly replica_read_only: bool = true, "replica-read-only" | "slave-read-only", Runtime,
            OnlyYes("the log of a replica is that of its primary, record for record: it can't take writes of its own"),
            "a replica takes no writes: its log is the primary's";
        ReplicaServeStaleData replica_serve_stale_data: bool = true, "replica-serve-stale-data" | "slave-serve-stale-data",
            Runtime, YesNo,
            "answer with what a replica has while its primary can't be reached";
        ReplicaPriority replica_priority: u32 = 100, "replica-priority" | "slave-priority", Runtime,
            Number::<u32>::new(0, INT),
            "which replica is to be promoted first, the lowest; 0 for never. For those who look at INFO";
        ReplicaAnnounceIp replica_announce_ip: Vec<u8> = Vec::new(), "replica-announce-ip" | "slave-announce-ip", Runtime,
            Text,
            "the address that the primary shows for this replica, empty for that which it comes from";
        ReplicaAnnouncePort replica_announce_port: u16 = 0, "replica-announce-port" | "slave-announce-port", Runtime,
            Number::<u16>::new(0, 65_535),
            "the port that the primary shows for this replica, 0 for the one that it listens on";
        ReplTimeout repl_timeout: u32 = 60, "repl-timeout", Runtime, Number::<u32>::new(1, INT),
            "seconds of silence after which the other side of a link is taken for gone; so long a primary keeps what a replica \
             has yet to fetch";
        MinReplicasToWrite min_replicas_to_write: u32 = 0, "min-replicas-to-write" | "min-slaves-to-write", Runtime,
            Number::<u32>::new(0, INT),
            "refuse writes while fewer replicas follow, 0 for none";
        MinReplicasMaxLag min_replicas_max_lag: u32 = 10, "min-replicas-max-lag" | "min-slaves-max-lag", Runtime,
            Number::<u32>::new(0, INT),
            "seconds since which a replica must have been heard of to count for that";
    }
    "server" {
        Cores cores: u16 = 0, "cores", Start, Number::<u16>::new(0, 1024),
            "threads that serve, each with its own part of the data; 0 for one per processor";
        ServerCpulist server_cpulist: Vec<usize> = Vec::new(), "server-cpulist" | "server_cpulist", Start, CpuList,
            "processors that the cores are pinned to, in turn; empty for no pinning";
        DirectReads direct_reads: bool = true, "direct-reads", Start, YesNo,
            "let a core read what is another's out of memory, instead of asking it";
        Io io: IoDriver = IoDriver::Auto, "io", Start, IO_DRIVER,
            "i/o driver; auto takes io_uring where it works and epoll otherwise";
        LogLevel loglevel: LogLevel = LogLevel::Notice, "loglevel", Runtime, LOG_LEVEL,
            "how much is logged";
        LogFormat log_format: LogFormat = LogFormat::Text, "log-format", Start, LOG_FORMAT,
            "lines for people, or a JSON object a line";
        LogFile logfile: Option<PathBuf> = None, "logfile", Start, OptionalPath,
            "file to log to, empty for the standard output";
        MetricsPort metrics_port: u16 = 0, "metrics-port", Start, Number::<u16>::new(0, 65_535),
            "TCP port for prometheus (/metrics), /health and /ready, on the addresses of bind; 0 for none";
        SlowlogLogSlowerThan slowlog_log_slower_than: i64 = 10_000, "slowlog-log-slower-than", Runtime,
            Number::<i64>::new(-1, i64::MAX),
            "microseconds from which on a command is kept in the slow log, -1 for none";
        SlowlogMaxLen slowlog_max_len: i64 = 128, "slowlog-max-len", Runtime,
            Number::<i64>::new(0, i64::MAX),
            "how many commands the slow log keeps";
        LatencyMonitorThreshold latency_monitor_threshold: i64 = 0, "latency-monitor-threshold", Runtime,
            Number::<i64>::new(0, i64::MAX),
            "milliseconds from which on LATENCY has a sample of a command, 0 for none";
        LatencyTracking latency_tracking: bool = true, "latency-tracking", Runtime, YesNo,
            "keep a histogram of each command's times, for LATENCY HISTOGRAM and INFO latencystats";
        NotifyKeyspaceEvents notify_keyspace_events: KeyspaceEvents = KeyspaceEvents::default(),
            "notify-keyspace-events", Runtime, EventClasses,
            "which events of keys are published, by redis's letters";
        TrackingTableMaxKeys tracking_table_max_keys: i64 = 1_000_000, "tracking-table-max-keys", Runtime,
            Number::<i64>::new(0, i64::MAX),
            "keys whose readers are remembered for client-side caching, 0 for no limit";
        Hz hz: u32 = 10, "hz", Runtime, Number::<u32>::new(0, INT).clamped(1, 500),
            "how often a second timeouts and other background work are looked at";
    }
}

impl Field {
    /// The name of the directive.
    #[must_use]
    pub fn name(self) -> &'static str {
        DIRECTIVES[self as usize].name
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::foreign;

    #[test]
    fn rows_stand_where_their_field_says() {
        for (at, directive) in DIRECTIVES.iter().enumerate() {
            assert_eq!(directive.field as usize, at);
            assert_eq!(directive.field.name(), directive.name);
        }
    }

    #[test]
    fn no_name_is_used_twice() {
        let own = DIRECTIVES.iter().flat_map(|row| row.aliases.iter().chain([&row.name]));
        let theirs = foreign::rows().flat_map(|row| row.aliases.iter().chain([&row.name]));
        let mut names: Vec<&str> = own.chain(theirs).copied().collect();
        names.sort_unstable();
        for pair in names.windows(2) {
            assert_ne!(pair[0], pair[1]);
        }
        for name in names {
            assert_eq!(name, name.to_ascii_lowercase());
        }
    }

    #[test]
    fn every_default_is_read_back_as_itself() {
        for directive in DIRECTIVES {
            let mut config = Config::default();
            let printed = (directive.get)(&config);
            let words = if (directive.takes_list)() {
                super::super::values::split_list(&printed)
            } else {
                vec![printed.as_slice()]
            };
            let is_new = (directive.set)(&mut config, &words, Put::Replace).unwrap();
            // the folder alone is printed in another form, the absolute one
            assert_eq!(is_new, directive.field == Field::Dir, "{}", directive.name);
        }
    }
}
