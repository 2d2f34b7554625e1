//! What an RDB has, sent to the target.

use std::io::Read;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::error::Result;
use crate::rdb::{Body, Item, Reader};
use crate::sink::Sink;

/// Larger values are sent in slices.
pub(crate) const WHOLE_BYTES: usize = 32 << 20;

/// Of what is read, what is sent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Policy {
    /// What ends before this position was sent by an earlier run.
    pub from_position: u64,
    /// Keys whose time is over are left out; else whoever says what expires will say so of them.
    pub leaves_out_expired: bool,
}

/// Sends all there is. `tick` is told the position, often.
///
/// # Errors
/// When the RDB is damaged, or the target has gone.
pub(crate) fn load<R: Read>(
    reader: &mut Reader<R>,
    sink: &mut Sink,
    policy: Policy,
    mut tick: impl FnMut(&mut Sink, u64) -> Result<()>,
) -> Result<()> {
    loop {
        let item = reader.next()?;
        let is_new = reader.position() > policy.from_position;
        match item {
            Item::End => return sink.drain(),
            Item::About(..) => {}
            Item::ModuleAux(name) => sink.report.module(name),
            Item::Functions(code) if is_new => sink.functions(&code)?,
            Item::Functions(_) => {}
            Item::Key(entry) => {
                let is_expired = policy.leaves_out_expired && entry.expires_at_ms.is_some_and(|ms| ms <= now_ms());
                match &entry.body {
                    Body::Large => {
                        let kind = entry.kind;
                        if is_new && !is_expired {
                            sink.pieces(&entry, |show| reader.elements(kind, show))?;
                        } else {
                            reader.elements(kind, &mut |_| Ok(()))?;
                        }
                    }
                    _ if !is_new || is_expired => {}
                    _ => sink.key(entry)?,
                }
                sink.report.expired += u64::from(is_new && is_expired);
            }
        }
        tick(sink, reader.position())?;
    }
}

/// The wall clock, in ms since 1970.
pub(crate) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
