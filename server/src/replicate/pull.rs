//! A thread that fetches one partition's log, piece by piece, as fast as its owner follows it.

use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::time::Duration;

use bytes::Bytes;
use emberkv_log::{LogPosition, Origin, ShippedPiece};

use crate::core::{CoreId, Message, Peers};
use crate::replicate::feed::{Feed, Piece, Where};
use crate::replicate::link::{Me, Session};
use crate::replicate::wire::{Access, Answer, LinkError, Wire};

/// Bytes that are asked for at a time. The core that is asked copies them, and the one here follows them, in less than a ms.
const PIECE_BYTES: usize = 256 << 10;

/// Requests that are under way: while one is answered the next is on its way, so that a link with a long round trip carries more than a
/// piece in each.
const UNDER_WAY: usize = 4;

/// How long the primary waits with its answer when there is nothing: it hears of the replica at least so often, or thrice in
/// `repl-timeout`. Before the replica is in sync it has to know soon that there is nothing.
const PATIENCE_MS: u64 = 1000;
const IMPATIENCE_MS: u64 = 20;

/// How long an owner may take to say where it is.
const TURN: Duration = Duration::from_secs(10);

/// See the module.
pub(super) struct Puller {
    pub feed: Arc<Feed>,
    pub partition: u16,
    pub session: Arc<Session>,
    pub access: Access,
    pub me: Arc<Me>,
    pub peers: Arc<Peers>,
}

impl Puller {
    /// Runs until the session is over.
    pub fn run(self) {
        if let Err(error) = self.pull() {
            if let LinkError::Gone = error {
                self.feed.fail(error.to_string());
            }
            self.session.end(error);
        }
    }

    fn pull(&self) -> Result<(), LinkError> {
        let mut wire = Wire::connect(&self.access)?;
        self.session.register(&wire)?;
        // a connection is one of the life that it has begun in
        let origin = self.me.hello(&mut wire, &self.access)?;
        if !self.feed.goes_on_with(&origin) {
            return Err(LinkError::NewLife);
        }
        self.feed.begin_pulling(self.partition);
        let mut received = self.where_it_is()?;
        let (mut under_way, mut is_first) = (0, true);
        while !self.session.is_over() {
            // after the first the primary knows where it is
            while under_way < UNDER_WAY && self.feed.has_room(self.partition, received) && !(is_first && under_way > 0)
            {
                self.ask(&mut wire, is_first.then_some(received))?;
                under_way += 1;
            }
            if under_way == 0 {
                self.feed.wait_for_room(self.partition, received);
                continue;
            }
            let answer = wire.answer()?;
            under_way -= 1;
            is_first = false;
            self.session.has_heard();
            match answer {
                Answer::Bulk(bytes) => {
                    let bytes = Bytes::from(bytes);
                    received = ShippedPiece::decode(&bytes).ok_or_else(|| wire.strange())?.end();
                    let piece = Piece { feed: Arc::clone(&self.feed), partition: self.partition, bytes };
                    self.feed.has_received(self.partition, received);
                    self.peers.send(self.owner(), Message::Piece(Box::new(piece)));
                }
                Answer::Null => self.feed.has_nothing_at(self.partition, received),
                Answer::Error(text) if text.starts_with("GONE ") => return Err(LinkError::Gone),
                Answer::Error(text) => return Err(LinkError::Refused(text)),
                Answer::Line(_) => return Err(wire.strange()),
            }
        }
        Ok(())
    }

    fn owner(&self) -> CoreId {
        CoreId(self.partition % self.peers.len())
    }

    /// Where the next piece begins. What was sent before has come before this question.
    fn where_it_is(&self) -> Result<LogPosition, LinkError> {
        let (answer, answered) = sync_channel(1);
        let question = Where { feed: Arc::clone(&self.feed), partition: self.partition, answer };
        self.peers.send(self.owner(), Message::Where(Box::new(question)));
        // nobody answers whose partition is another one by now
        answered.recv_timeout(TURN).map_err(|_| LinkError::NewLife)
    }

    fn ask(&self, wire: &mut Wire, from: Option<LogPosition>) -> Result<(), LinkError> {
        let position = from.map_or_else(|| "next".to_owned(), |position| position.0.to_string());
        let patience_ms = PATIENCE_MS.min(self.access.timeout.as_millis() as u64 / 3);
        let patience_ms = if self.feed.has_synced() { patience_ms } else { IMPATIENCE_MS };
        let acked = self.feed.acked_in(self.partition);
        let numbers =
            [u64::from(self.partition), PIECE_BYTES as u64, patience_ms, acked.0].map(|number| number.to_string());
        let [partition, most, patience, acked] = &numbers;
        let words =
            [&b"EMBER"[..], b"PULL", partition.as_bytes(), position.as_bytes(), most.as_bytes(), patience.as_bytes()];
        let rest = [acked.as_bytes(), self.me.id.as_bytes()];
        Ok(wire.send(&[&words[..], &rest[..]].concat())?)
    }
}

/// Reads what a primary has said of itself.
pub(super) fn origin_of(bytes: &[u8], wire: &Wire) -> Result<Origin, LinkError> {
    Origin::decode(bytes).ok_or_else(|| wire.strange())
}
