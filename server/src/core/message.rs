//! What threads say to a core.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::time::Duration;

use bytes::Bytes;
use emberkv_engine::transact::{ToCoordinator, ToOwner};
use emberkv_engine::{OpenError, Served, Waiting};
use emberkv_log::{PartitionId, Progress};

use crate::acl::Users;
use crate::commands::Snapshot;
use crate::config::Config;
use crate::core::connection::Connection;
use crate::core::errands::Done;
use crate::core::gather::{GatherId, Question, Told};
use crate::core::migrate::Delivered;
use crate::core::owned::Owned;
use crate::core::parcel::Parcel;
use crate::core::reopen::Mode;
use crate::core::shard::Shutdown;
use crate::core::tracking::Notice;
use crate::housekeeping::Answer;
use crate::replicate::{Now, Piece, Where};

/// Names a core: its place among all.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct CoreId(pub u16);

impl CoreId {
    /// The core that has the listeners, and that ends the server.
    pub const FIRST: Self = Self(0);

    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

/// See the module.
#[derive(Debug)]
pub(crate) enum Message {
    /// Requests on their way to the owner of their keys, or answers on their way home.
    Parcel(Box<Parcel>),
    /// A coordinator's, to the owner of a partition.
    ToOwner(PartitionId, ToOwner),
    /// And what that answers.
    ToCoordinator(ToCoordinator),
    /// The reply of a client of this core that has waited.
    Served(Box<Served>),
    /// To the owner of a partition: another core's client waits no more.
    Forget(PartitionId, Waiting),
    /// A new client to serve.
    Adopt(Box<Adopt>),
    /// What the housekeeping thread has done.
    Chore(Answer),
    /// The loader's: the core's partitions.
    Loaded(Box<Owned>),
    /// The loader's, to the first core.
    NotLoaded(Box<OpenError>),
    /// A question to every core.
    Asked { gather: GatherId, question: Arc<Question> },
    /// What a thread has brought to another server.
    Migrated(Box<Delivered>),
    /// DEBUG SLEEP.
    Sleep(Duration),
    /// The metrics thread's: what INFO tells of this core.
    Measure(SyncSender<Box<Snapshot>>),
    /// And the answer of one.
    Told { gather: GatherId, told: Told },
    /// What counts from now on, unless that of another version does already.
    TakeOver { config: Box<Config>, users: Arc<Users>, version: u64 },
    /// To the core that has sent a thread on an errand.
    Errand(Box<Done>),
    /// Whether commands are looked at may have changed.
    Settle,
    /// What has become of a key, for those who listen.
    Publish { channel: Bytes, message: Bytes },
    /// What is not to be kept any longer.
    Notices(Vec<Notice>),
    /// A line for those who monitor.
    Show(Bytes),
    /// From the first core: a checkpoint is due.
    Save,
    /// To the first core: the server is to end.
    Shutdown(Shutdown),
    /// From the first core: no new requests, but those under way are answered.
    Drain,
    /// To the first core: none of this core's is under way.
    Drained,
    /// From the first core: sync and end.
    Close(Shutdown),
    /// To the first core: a core can't go on.
    Broken(std::io::Error),
    /// To the first core: the data are to be opened otherwise.
    Reopen(Box<Mode>),
    /// From the first core: clients wait, and what is under way is answered; or they go on after all.
    Quiet(bool),
    /// To the first core: nothing is under way here.
    IsQuiet,
    /// From the first core: the partitions are to be closed. They are being opened anew, this far.
    Shut(Arc<Progress>),
    /// To the first core: they are closed.
    IsShut,
    /// A piece of the primary's log, for the core that owns the partition here.
    Piece(Box<Piece>),
    /// To the first core, which owns the first partition: what the primary is by now.
    Origin(Box<Now>),
    /// To the same core: where does the next piece begin?
    Where(Box<Where>),
    /// The log of a partition goes on, or a replica has more of it: somebody here waits for that.
    Moved,
}

/// See [`Message::Adopt`].
#[derive(Debug)]
pub(crate) struct Adopt {
    pub connection: Connection,
    pub socket: OwnedFd,
}
