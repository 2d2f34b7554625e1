//! Writing replies.

use bytes::Bytes;

use crate::format;
use crate::output::Output;

/// The protocol version that a connection speaks, chosen with HELLO.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Protocol {
    /// Version 2: what every connection begins with.
    #[default]
    Resp2,
    /// Version 3: maps, sets, doubles, booleans, pushes and a null of their own.
    Resp3,
}

impl Protocol {
    /// The number that HELLO takes and replies.
    #[must_use]
    pub const fn version(self) -> i64 {
        match self {
            Self::Resp2 => 2,
            Self::Resp3 => 3,
        }
    }
}

/// Writes replies to one connection, in the form that its protocol version has for them. Aggregates are written as
/// their header, then their elements, one by one.
#[derive(Debug)]
pub struct Reply<'a> {
    out: &'a mut Output,
    protocol: Protocol,
}

impl<'a> Reply<'a> {
    /// A writer that appends to `out`.
    #[inline]
    pub fn new(out: &'a mut Output, protocol: Protocol) -> Self {
        Self { out, protocol }
    }

    /// The protocol version that is written.
    #[inline]
    #[must_use]
    pub fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// What is written to; to append a reply that is already encoded.
    #[inline]
    pub fn output(&mut self) -> &mut Output {
        self.out
    }

    /// `OK`.
    #[inline]
    pub fn ok(&mut self) {
        self.out.push(b"+OK\r\n");
    }

    /// A status: short text without line ends.
    #[inline]
    pub fn simple(&mut self, text: &str) {
        debug_assert!(!text.contains(['\r', '\n']));
        let bytes = self.out.bytes_mut();
        bytes.reserve(text.len() + 3);
        bytes.push(b'+');
        bytes.extend_from_slice(text.as_bytes());
        bytes.extend_from_slice(b"\r\n");
    }

    /// An error; `text` is all of it, with its code first: `ERR syntax error`.
    pub fn error(&mut self, text: &str) {
        self.error_bytes(text.as_bytes());
    }

    /// The same for text that may quote a client's bytes, which need not be UTF-8. Line ends can't be sent within
    /// an error: those around it are cut off, those inside become spaces.
    pub fn error_bytes(&mut self, text: &[u8]) {
        let is_line_end = |b: &u8| matches!(b, b'\r' | b'\n');
        let start = text.iter().position(|b| !is_line_end(b)).unwrap_or(text.len());
        let end = text.iter().rposition(|b| !is_line_end(b)).map_or(start, |last| last + 1);
        let bytes = self.out.bytes_mut();
        bytes.push(b'-');
        bytes.extend(text[start..end].iter().map(|b| if is_line_end(b) { b' ' } else { *b }));
        bytes.extend_from_slice(b"\r\n");
    }

    /// An integer.
    #[inline]
    pub fn integer(&mut self, value: i64) {
        if let 0..=9 = value {
            self.out.push(&[b':', b'0' + value as u8, b'\r', b'\n']);
        } else {
            format::push_line(self.out.bytes_mut(), b':', value);
        }
    }

    /// A string of any bytes, copied.
    #[inline]
    pub fn bulk(&mut self, value: &[u8]) {
        let bytes = self.out.bytes_mut();
        bytes.reserve(value.len() + format::MAX_INTEGER_LEN + 5);
        format::push_header(bytes, b'$', value.len());
        bytes.extend_from_slice(value);
        bytes.extend_from_slice(b"\r\n");
    }

    /// A string of `len` bytes, which `write` appends.
    ///
    /// # Panics
    /// If it appends another number of bytes: the client would read nonsense.
    pub fn bulk_with(&mut self, len: usize, write: impl FnOnce(&mut Vec<u8>)) {
        let bytes = self.out.bytes_mut();
        bytes.reserve(len + format::MAX_INTEGER_LEN + 5);
        format::push_header(bytes, b'$', len);
        let start = bytes.len();
        write(bytes);
        assert_eq!(bytes.len() - start, len, "a string is as long as its header says");
        bytes.extend_from_slice(b"\r\n");
    }

    /// A string of any bytes, shared: worth it from about a kilobyte on.
    pub fn bulk_shared(&mut self, value: Bytes) {
        self.header(b'$', value.len());
        self.out.push_shared(value);
        self.out.push(b"\r\n");
    }

    /// The decimal text of an integer, as a string: what GET replies for a value that is kept as an integer.
    #[inline]
    pub fn bulk_integer(&mut self, value: i64) {
        // put together on the stack, so that it is one copy: `$`, two digits, line end, integer, line end.
        const END: usize = 5 + format::MAX_INTEGER_LEN;
        let mut text = [0; END + 2];
        text[END..].copy_from_slice(b"\r\n");
        let digits = format::integer_before(value, &mut text, END);
        text[digits - 2..digits].copy_from_slice(b"\r\n");
        let at = format::integer_before((END - digits) as i64, &mut text, digits - 2) - 1;
        text[at] = b'$';
        self.out.push(&text[at..]);
    }

    /// No value.
    #[inline]
    pub fn null(&mut self) {
        match self.protocol {
            Protocol::Resp2 => self.out.push(b"$-1\r\n"),
            Protocol::Resp3 => self.out.push(b"_\r\n"),
        }
    }

    /// No value, where there would have been an array.
    #[inline]
    pub fn null_array(&mut self) {
        match self.protocol {
            Protocol::Resp2 => self.out.push(b"*-1\r\n"),
            Protocol::Resp3 => self.out.push(b"_\r\n"),
        }
    }

    /// Begins an array of `len` elements.
    #[inline]
    pub fn array(&mut self, len: usize) {
        self.header(b'*', len);
    }

    /// Begins a map of `pairs` pairs: a key and a value each, two replies.
    #[inline]
    pub fn map(&mut self, pairs: usize) {
        match self.protocol {
            Protocol::Resp2 => self.header(b'*', pairs * 2),
            Protocol::Resp3 => self.header(b'%', pairs),
        }
    }

    /// Begins a set of `len` elements.
    #[inline]
    pub fn set(&mut self, len: usize) {
        match self.protocol {
            Protocol::Resp2 => self.header(b'*', len),
            Protocol::Resp3 => self.header(b'~', len),
        }
    }

    /// Begins a message of `len` elements that is no reply: published, invalidated, monitored.
    #[inline]
    pub fn push(&mut self, len: usize) {
        match self.protocol {
            Protocol::Resp2 => self.header(b'*', len),
            Protocol::Resp3 => self.header(b'>', len),
        }
    }

    /// A floating-point number.
    pub fn double(&mut self, value: f64) {
        let text = format::double(value);
        match self.protocol {
            Protocol::Resp2 => self.bulk(text.as_bytes()),
            Protocol::Resp3 => self.line(b',', text.as_bytes()),
        }
    }

    /// A truth value: 1 or 0 in version 2.
    pub fn boolean(&mut self, value: bool) {
        match self.protocol {
            Protocol::Resp2 => self.integer(i64::from(value)),
            Protocol::Resp3 => self.out.push(if value { b"#t\r\n" } else { b"#f\r\n" }),
        }
    }

    /// Text for people, with its three-letter kind: `txt` or `mkd`.
    pub fn verbatim(&mut self, kind: [u8; 3], text: &[u8]) {
        match self.protocol {
            Protocol::Resp2 => self.bulk(text),
            Protocol::Resp3 => {
                self.header(b'=', text.len() + 4);
                self.out.push(&kind);
                self.out.push(b":");
                self.out.push(text);
                self.out.push(b"\r\n");
            }
        }
    }

    /// An integer of any size, given as its decimal digits.
    pub fn big_number(&mut self, digits: &str) {
        match self.protocol {
            Protocol::Resp2 => self.bulk(digits.as_bytes()),
            Protocol::Resp3 => self.line(b'(', digits.as_bytes()),
        }
    }

    #[inline]
    fn header(&mut self, kind: u8, len: usize) {
        format::push_header(self.out.bytes_mut(), kind, len);
    }

    fn line(&mut self, kind: u8, text: &[u8]) {
        let bytes = self.out.bytes_mut();
        bytes.reserve(text.len() + 3);
        bytes.push(kind);
        bytes.extend_from_slice(text);
        bytes.extend_from_slice(b"\r\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What `write` sends in versions 2 and 3.
    fn both(write: impl Fn(&mut Reply<'_>)) -> (String, String) {
        let text = |protocol| {
            let mut out = Output::new();
            write(&mut Reply::new(&mut out, protocol));
            String::from_utf8(out.to_vec()).unwrap()
        };
        (text(Protocol::Resp2), text(Protocol::Resp3))
    }

    fn assert_both(write: impl Fn(&mut Reply<'_>), resp2: &str, resp3: &str) {
        assert_eq!(both(write), (resp2.to_owned(), resp3.to_owned()));
    }

    fn assert_same(write: impl Fn(&mut Reply<'_>), both: &str) {
        assert_both(write, both, both);
    }

    #[test]
    fn writes_what_both_versions_share() {
        assert_same(|r| r.ok(), "+OK\r\n");
        assert_same(|r| r.simple("PONG"), "+PONG\r\n");
        assert_same(|r| r.error("ERR no"), "-ERR no\r\n");
        assert_same(|r| r.bulk(b""), "$0\r\n\r\n");
        assert_same(|r| r.bulk(b"a\r\nb"), "$4\r\na\r\nb\r\n");
        assert_same(|r| r.bulk(&[b'x'; 100]), &format!("$100\r\n{}\r\n", "x".repeat(100)));
        assert_same(|r| r.bulk_shared(Bytes::from_static(b"large")), "$5\r\nlarge\r\n");
        assert_same(|r| r.bulk_integer(-120), "$4\r\n-120\r\n");
        assert_same(|r| r.array(12), "*12\r\n");
        for value in [0, 9, 10, 12345, -1, i64::MIN, i64::MAX] {
            assert_same(|r| r.integer(value), &format!(":{value}\r\n"));
            let text = value.to_string();
            let bulk = format!("${}\r\n{text}\r\n", text.len());
            assert_same(|r| r.bulk_integer(value), &bulk);
        }
    }

    #[test]
    fn writes_what_version_3_has_for_itself() {
        assert_both(|r| r.null(), "$-1\r\n", "_\r\n");
        assert_both(|r| r.null_array(), "*-1\r\n", "_\r\n");
        assert_both(|r| r.map(3), "*6\r\n", "%3\r\n");
        assert_both(|r| r.set(3), "*3\r\n", "~3\r\n");
        assert_both(|r| r.push(3), "*3\r\n", ">3\r\n");
        assert_both(|r| r.double(1.5), "$3\r\n1.5\r\n", ",1.5\r\n");
        assert_both(|r| r.double(f64::INFINITY), "$3\r\ninf\r\n", ",inf\r\n");
        assert_both(|r| r.boolean(true), ":1\r\n", "#t\r\n");
        assert_both(|r| r.boolean(false), ":0\r\n", "#f\r\n");
        assert_both(|r| r.verbatim(*b"txt", b"a"), "$1\r\na\r\n", "=5\r\ntxt:a\r\n");
        assert_both(|r| r.big_number("123"), "$3\r\n123\r\n", "(123\r\n");
    }

    #[test]
    fn errors_hold_no_line_ends() {
        assert_same(|r| r.error("\r\nERR a\r\nb\n"), "-ERR a  b\r\n");
        assert_same(|r| r.error("\n"), "-\r\n");
    }
}
