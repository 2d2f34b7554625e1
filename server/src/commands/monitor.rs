//! MONITOR: every command of every client is shown to those who ask for it.

use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use emberkv_log::DbId;
use emberkv_resp::Args;
use emberkv_resp::schema::{Command, Flags};

use super::Outcome;
use crate::core::connection::Fate;
use crate::core::shard::Shard;
use crate::core::{Message, Question};
use crate::driver::ConnId;
use crate::meter::redacted;

/// Bytes in quotes, as redis writes them.
fn quote(text: &mut Vec<u8>, bytes: &[u8]) {
    text.push(b'"');
    for byte in bytes {
        match byte {
            b'\\' | b'"' => text.extend_from_slice(&[b'\\', *byte]),
            b'\n' => text.extend_from_slice(b"\\n"),
            b'\r' => text.extend_from_slice(b"\\r"),
            b'\t' => text.extend_from_slice(b"\\t"),
            7 => text.extend_from_slice(b"\\a"),
            8 => text.extend_from_slice(b"\\b"),
            b' '..=b'~' => text.push(*byte),
            _ => text.extend_from_slice(format!("\\x{byte:02x}").as_bytes()),
        }
    }
    text.push(b'"');
}

impl Shard {
    pub(super) fn monitor(&mut self, conn: ConnId) -> Outcome {
        let Some(connection) = self.connections.get_mut(conn) else { return Ok(()) };
        if !std::mem::replace(&mut connection.monitors, true) {
            self.monitors.push(conn);
            self.peers.set_monitors(self.me, self.monitors.len());
        }
        // answered when all cores show what they do
        self.ask_all(conn, Question::Settle);
        Ok(())
    }

    /// A connection monitors no more, if it did.
    pub(crate) fn end_monitor(&mut self, conn: ConnId) {
        let Some(connection) = self.connections.get_mut(conn) else { return };
        if !std::mem::replace(&mut connection.monitors, false) {
            return;
        }
        self.monitors.retain(|other| *other != conn);
        self.peers.set_monitors(self.me, self.monitors.len());
        for core in self.peers.others(self.me) {
            self.peers.send(core, Message::Settle);
        }
        self.settle_all();
    }

    /// Shows a command to those who monitor, on all cores.
    pub(crate) fn show_to_monitors(&mut self, conn: ConnId, db: DbId, command: &Command, args: Args<'_>) {
        let is_hidden = command.flags.contains(Flags::ADMIN) || command.flags.contains(Flags::SKIP_MONITOR);
        if is_hidden || !self.peers.has_monitors() {
            return;
        }
        let Some(connection) = self.connections.get(conn) else { return };
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let address = if connection.is_unix {
            format!("unix:{}", connection.address.trim_end_matches(":0"))
        } else {
            connection.address.clone()
        };
        let mut line = format!("+{}.{:06} [{} {address}]", since.as_secs(), since.subsec_micros(), db.0).into_bytes();
        for arg in redacted(command.id, args) {
            line.push(b' ');
            quote(&mut line, &arg);
        }
        line.extend_from_slice(b"\r\n");
        let line = Bytes::from(line);
        for core in self.peers.others(self.me) {
            if self.peers.monitors(core) > 0 {
                self.peers.send(core, Message::Show(line.clone()));
            }
        }
        self.show(&line);
    }

    /// Gives a line to those of this core's connections that monitor.
    pub(crate) fn show(&mut self, line: &Bytes) {
        for i in 0..self.monitors.len() {
            let conn = self.monitors[i];
            if let Some(connection) = self.connections.get_mut(conn).filter(|connection| connection.fate == Fate::Open)
            {
                connection.output.push(line);
                self.touch(conn);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_quoted_as_redis_quotes_them() {
        let mut text = Vec::new();
        quote(&mut text, b"a\"\\\n\r\t\x07\x08\x00\xff~ ");
        assert_eq!(String::from_utf8_lossy(&text), r#""a\"\\\n\r\t\a\b\x00\xff~ ""#);
    }
}
