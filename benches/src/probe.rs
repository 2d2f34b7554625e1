//! A minimal blocking client, for readiness and checks outside of measurements.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

/// One blocking connection.
pub struct Probe(BufReader<TcpStream>);

impl Probe {
    /// Connects to a port of the loopback interface.
    ///
    /// # Errors
    /// When nobody listens.
    pub fn connect(port: u16) -> io::Result<Self> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let stream = TcpStream::connect_timeout(&address, Duration::from_secs(1))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(30)))?;
        Ok(Self(BufReader::new(stream)))
    }

    /// Sends a command and returns the first line of its reply, without the line's end; the
    /// content of a bulk string is read and dropped.
    ///
    /// # Errors
    /// When the connection fails or ends.
    pub fn ask(&mut self, command: &[&str]) -> io::Result<String> {
        Ok(self.ask_all(command)?.0)
    }

    /// The same, with the content of a bulk string.
    ///
    /// # Errors
    /// When the connection fails or ends.
    pub fn ask_all(&mut self, command: &[&str]) -> io::Result<(String, String)> {
        let mut request = format!("*{}\r\n", command.len());
        for word in command {
            request.push_str(&format!("${}\r\n{word}\r\n", word.len()));
        }
        self.0.get_mut().write_all(request.as_bytes())?;
        let mut line = String::new();
        if self.0.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let line = line.trim_end().to_owned();
        let mut content = vec![0; bulk_length(&line).map_or(0, |length| length + 2)];
        io::Read::read_exact(&mut self.0, &mut content)?;
        Ok((line, String::from_utf8_lossy(&content).into_owned()))
    }
}

/// The length of the bulk string that this line announces; `None` for anything else, nil too.
pub fn bulk_length(line: &str) -> Option<usize> {
    line.strip_prefix('$')?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_bulk_string_has_a_length() {
        assert_eq!(bulk_length("$64"), Some(64));
        assert_eq!(bulk_length("$-1"), None);
        assert_eq!(bulk_length("+OK"), None);
        assert_eq!(bulk_length("-LOADING x"), None);
    }
}
