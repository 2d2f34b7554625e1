//! Partitions that follow a primary's: what has come of its log is taken, applied a slice a turn, and said to be durable when it is.

use std::sync::Arc;

use crate::core::shard::{Data, Shard};
use crate::replicate::{Feed, Now, Piece, Where};

/// Bytes of the primary's log that a turn applies to each partition, so that clients who read are not kept waiting for much more than a
/// ms; and if nobody wants anything else.
const FOLLOW_PER_TURN: usize = 128 << 10;
const FOLLOW_WHEN_IDLE: usize = 512 << 10;

impl Shard {
    /// A piece of the primary's log has come.
    pub fn take_piece(&mut self, piece: Piece) {
        let Piece { feed, partition, bytes } = piece;
        let own = usize::from(partition / self.peers.len());
        // it is of an earlier time, or nothing can be made of what follows
        if feed.has_failed() || !self.is_fed_by(&feed) {
            return;
        }
        if let Some(own) = self.owned().and_then(|owned| owned.list.get_mut(own))
            && let Err(text) = own.partition.receive_piece(bytes)
        {
            tracing::error!(partition, error = text, "a piece of the primary's log is refused");
            feed.fail(text);
        }
    }

    /// What the primary is by now.
    pub fn note_origin(&mut self, now: &Now) {
        if self.is_fed_by(&now.feed)
            && let Some(own) = self.owned().and_then(|owned| owned.list.first_mut())
        {
            own.partition.note_origin(&now.origin);
        }
    }

    /// Now and then: whether a partition has to know what the primary is by now.
    pub(super) fn look_for_wants(&self) {
        if let Data::Ready(owned) = &self.data
            && let Some(feed) = &owned.feed
            && owned.list.iter().any(|own| own.partition.wants_origin())
        {
            feed.want_origin();
        }
    }

    /// Where the next piece begins.
    pub fn tell_where(&mut self, question: &Where) {
        if !self.is_fed_by(&question.feed) {
            return;
        }
        let own = usize::from(question.partition / self.peers.len());
        if let Some(own) = self.owned().and_then(|owned| owned.list.get(own)) {
            // it may not wait any more
            let _ = question.answer.try_send(own.partition.received());
        }
    }

    fn is_fed_by(&self, feed: &Arc<Feed>) -> bool {
        matches!(&self.data, Data::Ready(owned) if owned.feed.as_ref().is_some_and(|own| Arc::ptr_eq(own, feed)))
    }

    /// Applies what has come, a slice of it. Returns whether there is more.
    pub(super) fn follow_some(&mut self, is_idle: bool) -> bool {
        let Data::Ready(owned) = &mut self.data else { return false };
        let Some(feed) = &owned.feed else { return false };
        if feed.has_failed() {
            return false;
        }
        let most = if is_idle { FOLLOW_WHEN_IDLE } else { FOLLOW_PER_TURN };
        let mut more = false;
        for own in &mut owned.list {
            match own.partition.follow(most) {
                Ok(goes_on) => more |= goes_on,
                Err(text) => {
                    tracing::error!(partition = own.number, error = text, "the primary's log can't be followed");
                    feed.fail(text);
                }
            }
            feed.has_followed(own.number, own.partition.log().followed());
            if own.partition.has_synced() {
                feed.has_fetched(own.number);
            }
        }
        more
    }

    /// Once a turn, when the gates are known: how far this core's partitions are durable.
    pub(super) fn tell_durable(&mut self) {
        let Data::Ready(owned) = &self.data else { return };
        let Some(feed) = &owned.feed else { return };
        for own in &owned.list {
            let log = own.partition.log();
            // what is durable up to its tail is so up to the padding behind it
            feed.has_durable(own.number, if log.gate() == log.tail() { log.followed() } else { log.gate() });
        }
    }
}
