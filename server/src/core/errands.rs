//! What would make a core wait, such as a file: a thread of its own does it, and the connection that has asked gets its reply
//! when it is done. What it has sent behind is executed after that.

use emberkv_resp::{Output, Protocol, Reply};

use crate::core::message::Message;
use crate::core::shard::Shard;
use crate::driver::ConnId;

/// An errand that is done.
#[derive(Debug)]
pub(crate) struct Done {
    conn: ConnId,
    client: u64,
    protocol: Protocol,
    piece: u64,
    /// OK, or an error reply's whole text.
    result: Result<(), String>,
}

impl Shard {
    /// Has a thread run `errand`. An error: there is no thread, nothing was done.
    pub fn run_errand(
        &mut self,
        conn: ConnId,
        name: &str,
        errand: impl FnOnce() -> Result<(), String> + Send + 'static,
    ) -> Result<(), String> {
        let Some(connection) = self.connections.get_mut(conn) else { return Ok(()) };
        connection.stage_output(&mut self.spares);
        if let Some(open) = connection.open.take() {
            self.flush_open(open);
        }
        self.guard = None; // a thread takes system calls (D12)
        let (me, peers) = (self.me, self.peers.clone());
        let Some(connection) = self.connections.get_mut(conn) else { return Ok(()) };
        let (client, protocol, piece) = (connection.id, connection.protocol, connection.pieces.reserve());
        connection.several += 1;
        let thread = std::thread::Builder::new().name(name.into());
        let started = thread.spawn(move || {
            let result = errand();
            peers.send(me, Message::Errand(Box::new(Done { conn, client, protocol, piece, result })));
        });
        if let Err(error) = started {
            let result = Err(format!("ERR the system has no thread for that: {error}"));
            self.errand_done(Done { conn, client, protocol, piece, result });
        }
        Ok(())
    }

    /// The reply.
    pub fn errand_done(&mut self, done: Done) {
        let Done { conn, client, protocol, piece, result } = done;
        let Some(connection) = self.connections.get_mut(conn).filter(|connection| connection.id == client) else {
            return;
        };
        let mut output = Output::new();
        let mut reply = Reply::new(&mut output, protocol);
        match result {
            Ok(()) => reply.ok(),
            Err(text) => reply.error(&text),
        }
        connection.pieces.answer(piece, output);
        connection.several -= 1;
        if connection.several == 0 {
            self.resumable.push(conn);
        }
        self.touch(conn);
    }
}
