//! Sets of named bits. The order of the names is the order in which COMMAND replies them.

/// Declares a set type: a constant and a name for each bit, lowest first.
macro_rules! named_bits {
    ($(#[$doc:meta])* $set:ident { $($(#[$bit_doc:meta])* $bit:ident = $name:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Default)]
        pub struct $set(u32);

        impl $set {
            named_bits!(@constants $set, 0, $($(#[$bit_doc])* $bit,)*);

            /// The empty set.
            pub const NONE: Self = Self(0);

            /// The names of all bits, lowest first.
            pub const NAMES: &[&str] = &[$($name),*];

            /// Both sets together.
            #[must_use]
            pub const fn and(self, other: Self) -> Self {
                Self(self.0 | other.0)
            }

            /// Whether all of `other` is in this.
            #[inline]
            #[must_use]
            pub const fn contains(self, other: Self) -> bool {
                self.0 & other.0 == other.0
            }

            /// Whether this is the empty set.
            #[must_use]
            pub const fn is_empty(self) -> bool {
                self.0 == 0
            }

            /// The names of the bits in this set.
            pub fn names(self) -> impl Iterator<Item = &'static str> + Clone {
                let named = Self::NAMES.iter().enumerate();
                named.filter(move |(bit, _)| self.0 & (1 << bit) != 0).map(|(_, name)| *name)
            }

            /// The set of the one bit that has this name, in any case.
            #[must_use]
            pub fn named(name: &[u8]) -> Option<Self> {
                let bit = Self::NAMES.iter().position(|n| n.as_bytes().eq_ignore_ascii_case(name))?;
                Some(Self(1 << bit))
            }
        }

        impl std::fmt::Debug for $set {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.debug_set().entries(self.names()).finish()
            }
        }
    };
    (@constants $set:ident, $n:expr, $(#[$doc:meta])* $bit:ident, $($rest:tt)*) => {
        $(#[$doc])*
        pub const $bit: Self = Self(1 << ($n));
        named_bits!(@constants $set, $n + 1, $($rest)*);
    };
    (@constants $set:ident, $n:expr,) => {};
}

named_bits! {
    /// What kind of command it is.
    Flags {
        /// Changes data.
        WRITE = "write",
        /// Only reads data.
        READONLY = "readonly",
        /// Needs memory: refused when there is none.
        DENYOOM = "denyoom",
        /// Comes from a module.
        MODULE = "module",
        /// For the operator.
        ADMIN = "admin",
        /// About published messages.
        PUBSUB = "pubsub",
        /// Not in a script.
        NOSCRIPT = "noscript",
        /// May wait.
        BLOCKING = "blocking",
        /// Allowed while the data set is loaded.
        LOADING = "loading",
        /// Allowed on a replica that has lost its primary.
        STALE = "stale",
        /// Not shown by MONITOR.
        SKIP_MONITOR = "skip_monitor",
        /// Not in the slow log.
        SKIP_SLOWLOG = "skip_slowlog",
        /// Accepted in a cluster for a slot that is being imported.
        ASKING = "asking",
        /// Takes constant or logarithmic time.
        FAST = "fast",
        /// Allowed before the client has authenticated.
        NO_AUTH = "no_auth",
        /// Replicated though it does not write.
        MAY_REPLICATE = "may_replicate",
        /// May be called with no keys at all.
        NO_MANDATORY_KEYS = "no_mandatory_keys",
        /// Not while a replica loads in the background.
        NO_ASYNC_LOADING = "no_async_loading",
        /// Not in a transaction.
        NO_MULTI = "no_multi",
        /// Allowed while a script runs for too long.
        ALLOW_BUSY = "allow_busy",
        /// Its keys are not all at fixed places.
        MOVABLEKEYS = "movablekeys",
    }
}

named_bits! {
    /// The access-control categories that a command is in.
    Categories {
        /// Keys of any kind.
        KEYSPACE = "keyspace",
        /// Reads.
        READ = "read",
        /// Writes.
        WRITE = "write",
        /// Sets.
        SET = "set",
        /// Sorted sets.
        SORTEDSET = "sortedset",
        /// Lists.
        LIST = "list",
        /// Hashes.
        HASH = "hash",
        /// Strings.
        STRING = "string",
        /// Bits of strings.
        BITMAP = "bitmap",
        /// Cardinality estimates.
        HYPERLOGLOG = "hyperloglog",
        /// Places.
        GEO = "geo",
        /// Streams.
        STREAM = "stream",
        /// Published messages.
        PUBSUB = "pubsub",
        /// For the operator.
        ADMIN = "admin",
        /// Takes constant or logarithmic time.
        FAST = "fast",
        /// May take longer.
        SLOW = "slow",
        /// May wait.
        BLOCKING = "blocking",
        /// Can do harm.
        DANGEROUS = "dangerous",
        /// Connections.
        CONNECTION = "connection",
        /// Transactions.
        TRANSACTION = "transaction",
        /// Scripts.
        SCRIPTING = "scripting",
    }
}

named_bits! {
    /// What a command does with some of its keys.
    KeyFlags {
        /// Reads it.
        RO = "RO",
        /// Reads and writes it.
        RW = "RW",
        /// Overwrites it, whatever it was.
        OW = "OW",
        /// Removes it.
        RM = "RM",
        /// Tells what is in it.
        ACCESS = "access",
        /// Changes what is in it.
        UPDATE = "update",
        /// Adds to it.
        INSERT = "insert",
        /// Deletes it or something in it.
        DELETE = "delete",
        /// Is no key, though routed like one.
        NOT_KEY = "not_key",
        /// There may be more than these.
        INCOMPLETE = "incomplete",
        /// The flags depend on the arguments.
        VARIABLE_FLAGS = "variable_flags",
    }
}

named_bits! {
    /// How an argument may occur.
    ArgumentFlags {
        /// It may be left out.
        OPTIONAL = "optional",
        /// It may be repeated.
        MULTIPLE = "multiple",
        /// When it is repeated, its token is too.
        MULTIPLE_TOKEN = "multiple_token",
    }
}
