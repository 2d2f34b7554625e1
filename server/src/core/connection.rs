//! A client's connection, as its core sees it.

use std::borrow::Cow;
use std::sync::Arc;

use emberkv_engine::Stop;
use emberkv_log::DbId;
use emberkv_resp::schema::{Command, CommandId};
use emberkv_resp::{Args, Output, Parser, Protocol};

use crate::acl::{User, Users};
use crate::core::away::{Load, Open};
use crate::core::depends::Depends;
use crate::core::expected::Expected;
use crate::core::look::Silence;
use crate::core::multi::{Multi, Watching};
use crate::core::pieces::Pieces;
use crate::core::pulls::Pulling;
use crate::core::subscriptions::Listening;
use crate::core::tracking::Tracking;
use crate::tls::Tls;

/// Why a connection is not served for the moment. What it has sent stays in its query buffer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Stall {
    /// Its next command waits for the log.
    Log,
    /// It has to read its replies first.
    Output,
    /// Too many requests are at other cores.
    Away,
    /// Its next command needs a record that is being read.
    Cold,
    /// A transaction has the key of its next command.
    Locked,
    /// It goes on this very turn, when what it has asked of other cores has left.
    Flush,
    /// A command over several partitions is under way, or its turn has not come: it begins when all that was
    /// asked before is answered, and what is asked after it begins when it has ended. So others see the effects in the
    /// order of the requests.
    Several,
    /// Clients are paused.
    Paused,
}

/// What happens to a connection when its output is sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Fate {
    /// It goes on.
    Open,
    /// It is closed after its last reply; what it still sends is not looked at.
    CloseAfterReply,
    /// The driver is closing it.
    Closing,
}

/// Which of its commands are looked at before they are executed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Access {
    /// It has not said who it is: only those that need no user are executed.
    None,
    /// Each: by what its user may do, or for another reason.
    Checked,
    /// None: its user may do everything, and nobody else asks.
    Full,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Connection {
    /// Unique over the life of the server.
    pub id: u64,
    pub address: String,
    pub local_address: String,
    pub is_unix: bool,
    /// If it came by `tls-port`.
    pub tls: Option<Box<Tls>>,
    /// By [`Shard::up_ms`](crate::core::shard::Shard::up_ms), as the next one.
    pub created_ms: u64,
    pub last_seen_ms: u64,

    // what the client has chosen
    pub db: DbId,
    pub protocol: Protocol,
    pub name: Vec<u8>,
    pub library: Vec<u8>,
    pub library_version: Vec<u8>,
    /// Who it is. To be changed by [`Connection::be`] alone.
    pub user: Arc<User>,
    /// Whether it is so because it has said so, or because nobody has asked when it came.
    authenticated: bool,
    pub access: Access,
    pub no_evict: bool,
    pub no_touch: bool,
    /// It is shown what all clients ask for.
    pub monitors: bool,
    /// It keeps what it reads, and hears of what changes. To be changed by [`Shard::set_tracking`](crate::core::shard::Shard::set_tracking) alone.
    pub tracking: Option<Box<Tracking>>,
    /// Which replies it does not want. To be changed by [`Connection::set_silence`] alone.
    pub silence: Silence,
    /// What it listens to.
    pub listening: Option<Box<Listening>>,
    /// It listens, and its protocol has no other place for messages than replies: only commands about that are allowed.
    pub only_listens: bool,
    pub last_command: Option<CommandId>,

    // what it sends
    pub parser: Parser,
    /// Received and not executed yet.
    pub query: Vec<u8>,
    pub stall: Option<Stall>,
    pub paused: bool,
    pub eof: bool,
    pub commands: u64,
    pub bytes_in: u64,
    pub bytes_out: u64,

    // what it gets
    /// Replies of this turn.
    pub output: Output,
    /// What they depend on.
    pub depends: Depends,
    /// What goes before them: replies that still wait for the log, and places for the answers of other cores.
    pub pieces: Pieces,
    /// Its requests at other cores.
    pub away: Load,
    /// How large their answers will be.
    pub expected: Expected,
    /// Its commands over several partitions that are under way.
    pub several: u32,
    /// What it has sent since MULTI, and what it has watched before.
    pub multi: Option<Box<Multi>>,
    pub watching: Option<Box<Watching>>,
    /// What EXEC has begun.
    pub executing: Option<Box<Multi>>,
    /// What is no reply and has come meanwhile: EXEC's is not to be torn apart.
    pub aside: Output,
    /// It is a replica's.
    pub pulling: Option<Box<Pulling>>,
    /// By which this core knows its command that may wait.
    pub blocked: Option<u64>,
    /// The run that the next of those may join.
    pub open: Option<Open>,
    /// Replies that may be sent, while earlier ones are being sent.
    pub ready: Output,
    /// Bytes of the output that the driver has; zero: none.
    pub sending: usize,
    /// An empty output whose memory is used again.
    pub spare: Output,
    pub fate: Fate,
    /// Whether it is in the turn's list of connections with something to send.
    pub touched: bool,
    /// Whether it is in the list of connections with replies that could be sent and are not yet.
    pub withheld: bool,
    /// Whether it is in the list of connections with replies that wait for the log.
    pub holding: bool,
    /// Since when its output is over the soft limit, in ms since 1970.
    pub over_soft_since_ms: Option<u64>,
}

impl Connection {
    pub fn new(id: u64, address: String, local_address: String, is_unix: bool, up_ms: u64, users: &Users) -> Self {
        let mut connection = Self {
            id,
            address,
            local_address,
            is_unix,
            tls: None,
            created_ms: up_ms,
            last_seen_ms: up_ms,
            db: DbId(0),
            protocol: Protocol::Resp2,
            name: Vec::new(),
            library: Vec::new(),
            library_version: Vec::new(),
            user: Arc::clone(users.default()),
            authenticated: false,
            access: Access::None,
            no_evict: false,
            no_touch: false,
            monitors: false,
            tracking: None,
            silence: Silence::No,
            listening: None,
            only_listens: false,
            last_command: None,
            parser: Parser::new(),
            query: Vec::new(),
            stall: None,
            paused: false,
            eof: false,
            commands: 0,
            bytes_in: 0,
            bytes_out: 0,
            output: Output::new(),
            depends: Depends::default(),
            pieces: Pieces::default(),
            away: Load::default(),
            expected: Expected::default(),
            several: 0,
            multi: None,
            watching: None,
            executing: None,
            aside: Output::new(),
            pulling: None,
            blocked: None,
            open: None,
            ready: Output::new(),
            sending: 0,
            spare: Output::new(),
            fate: Fate::Open,
            touched: false,
            withheld: false,
            holding: false,
            over_soft_since_ms: None,
        };
        connection.be_default(users, false);
        connection
    }

    /// It is this user from now on.
    pub fn be(&mut self, user: Arc<User>, users: &Users, looks: bool) {
        self.user = user;
        self.authenticated = true;
        self.settle_access(users, looks);
    }

    /// It is what it was when it came.
    pub fn be_default(&mut self, users: &Users, looks: bool) {
        self.user = Arc::clone(users.default());
        self.authenticated = users.default().is_open();
        self.settle_access(users, looks);
    }

    /// To be called when something has changed that its access is made of: users, what it wants of replies, or `looks`, whether all
    /// clients' commands are looked at.
    pub fn settle_access(&mut self, users: &Users, looks: bool) {
        self.access = if !self.authenticated && !users.default().is_open() {
            Access::None
        } else if self.user.is_unrestricted() && !looks && self.silence != Silence::Next && self.tracking.is_none() {
            Access::Full
        } else {
            Access::Checked
        };
    }

    /// Whether it may have a command executed.
    #[inline]
    pub fn may(&self, command: &'static Command, args: Args<'_>) -> bool {
        self.access == Access::Full || self.may_slowly(command, args)
    }

    #[cold]
    fn may_slowly(&self, command: &'static Command, args: Args<'_>) -> bool {
        self.access == Access::Checked
            && self.user.check(command, args).is_ok()
            && self.sort_refusal(command, args).is_none()
    }

    /// What its client is told if a command reads keys that no rule can be asked about, and it may not read all.
    pub fn sort_refusal(&self, command: &'static Command, args: Args<'_>) -> Option<Cow<'static, str>> {
        let is_sort = matches!(command.id, CommandId::Sort | CommandId::SortRo);
        if !is_sort || self.access != Access::Checked || self.user.may_read_all(command, args) {
            return None;
        }
        match emberkv_engine::sort_refusal(command.id, args)? {
            Stop::Error(text) => Some(text),
            Stop::Wait | Stop::Locked | Stop::Cold(_) => None,
        }
    }

    /// To be called when what it listens to, or its protocol, has changed.
    pub fn note_listening(&mut self) {
        self.listening.take_if(|listening| listening.is_empty());
        self.only_listens = self.listening.is_some() && self.protocol == Protocol::Resp2;
    }

    /// Bytes of replies that are not sent yet.
    pub fn unsent(&self) -> usize {
        self.output.len() + self.pieces.bytes() + self.ready.len() + self.sending
    }

    /// The memory that it takes.
    pub fn memory_bytes(&self) -> usize {
        let outputs = self.output.bytes_capacity() + self.ready.bytes_capacity() + self.spare.bytes_capacity();
        let tls = self.tls.as_ref().map_or(0, |tls| tls.memory_bytes());
        size_of::<Self>() + tls + self.query.capacity() + outputs + self.pieces.bytes() + self.sending
    }

    /// Whether nothing is left to be sent.
    pub fn is_flushed(&self) -> bool {
        self.unsent() == 0 && !self.pieces.is_awaiting() && !self.tls.as_ref().is_some_and(|tls| tls.is_busy())
    }
}
