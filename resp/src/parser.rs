//! Finding requests in received bytes, without copying them.

use crate::args::{OwnedArgs, Span};
use crate::format;
use crate::inline;

/// No line of the protocol (a header, an inline request) is longer than this many bytes.
pub const MAX_LINE_LEN: usize = 64 * 1024;

/// What a client may send before it has authenticated: so many arguments ...
const UNAUTHENTICATED_MAX_ARGS: i64 = 10;
/// ... and so many bytes in each.
const UNAUTHENTICATED_MAX_BULK_LEN: u64 = 16 * 1024;

/// How large a request may be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// `proto-max-bulk-len`: bytes in one argument.
    pub max_bulk_len: u64,
    /// Arguments in one request.
    pub max_args: i64,
    /// Bytes in an inline request.
    pub max_inline: usize,
    /// Whether the client has still to authenticate: then it may send ten short arguments at a time, no more.
    pub unauthenticated: bool,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_bulk_len: 512 * 1024 * 1024,
            max_args: 1024 * 1024,
            max_inline: MAX_LINE_LEN,
            unauthenticated: false,
        }
    }
}

/// What was found at the beginning of the unconsumed bytes.
#[derive(Clone, PartialEq, Eq, Debug)]
#[must_use]
pub enum Parsed {
    /// A request; the spans of its arguments (at least one) were appended.
    Command {
        /// Its length in the buffer, in bytes.
        consumed: usize,
    },
    /// An inline request with quotes, which has its arguments with it; no spans were appended.
    Inline {
        /// Its length in the buffer, in bytes.
        consumed: usize,
        /// Its arguments, at least one.
        args: OwnedArgs,
    },
    /// An empty line or an array of no elements: to be skipped, without a reply.
    Empty {
        /// Its length in the buffer, in bytes.
        consumed: usize,
    },
    /// Not all of a request is here yet; no spans were appended.
    Incomplete {
        /// At least so many bytes more are needed before anything new is found: room for them is well spent.
        needed: usize,
    },
}

/// What a client sent is no request. The reply is `-ERR ` and this text, then the connection is closed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ProtocolError {
    /// An inline request is longer than [`Limits::max_inline`].
    #[error("Protocol error: too big inline request")]
    TooBigInline,
    /// The line with the number of arguments is longer than [`MAX_LINE_LEN`].
    #[error("Protocol error: too big mbulk count string")]
    TooBigMultibulkCount,
    /// The number of arguments is no number, or more than [`Limits::max_args`].
    #[error("Protocol error: invalid multibulk length")]
    InvalidMultibulkLength,
    /// More arguments than a client may send before it has authenticated.
    #[error("Protocol error: unauthenticated multibulk length")]
    UnauthenticatedMultibulkLength,
    /// The line with an argument's length is longer than [`MAX_LINE_LEN`].
    #[error("Protocol error: too big bulk count string")]
    TooBigBulkCount,
    /// An argument does not begin with a dollar sign but with this byte.
    #[error("Protocol error: expected '$', got '{}'", char::from(*.0))]
    ExpectedDollar(u8),
    /// An argument's length is no number, or more than [`Limits::max_bulk_len`].
    #[error("Protocol error: invalid bulk length")]
    InvalidBulkLength,
    /// A longer argument than a client may send before it has authenticated.
    #[error("Protocol error: unauthenticated bulk length")]
    UnauthenticatedBulkLength,
    /// An inline request has a quote without its end, or something right after one.
    #[error("Protocol error: unbalanced quotes in request")]
    UnbalancedQuotes,
}

impl ProtocolError {
    /// The whole error reply's text, for [`crate::Reply::error_bytes`].
    #[must_use]
    pub fn reply(self) -> Vec<u8> {
        match self {
            // the byte as it came, whatever it is.
            Self::ExpectedDollar(got) => {
                let mut text = b"ERR Protocol error: expected '$', got '".to_vec();
                text.extend_from_slice(&[got, b'\'']);
                text
            }
            other => format!("ERR {other}").into_bytes(),
        }
    }
}

/// Finds the requests of one connection. It remembers how far it came in a request of which only a part has
/// arrived, so that every byte is looked at once, however many pieces there are.
#[derive(Debug, Default)]
pub struct Parser {
    /// The arguments so far of a half-received request; offsets count from the request's first byte.
    pending: Vec<Span>,
    /// How many arguments it still lacks; 0 between requests.
    missing: u32,
    /// Where its first byte is that is not yet understood: the header of an argument.
    at: usize,
    /// So many bytes from there on hold no end of line.
    scanned: usize,
}

impl Parser {
    /// A parser for a new connection.
    #[must_use]
    pub const fn new() -> Self {
        Self { pending: Vec::new(), missing: 0, at: 0, scanned: 0 }
    }

    /// Looks for one request in `buf`, of which the bytes before `from` are consumed. Its spans are appended to
    /// `spans` and count from the beginning of `buf`, so that the requests of a whole pipeline can be parsed out of
    /// one buffer into one vector, and executed then.
    ///
    /// After [`Parsed::Incomplete`] the next call must see the same unconsumed bytes and more after them; they may
    /// have moved to another place or buffer.
    ///
    /// # Errors
    /// When the bytes are no request. The connection can't go on after that.
    ///
    /// # Panics
    /// If `from` is beyond the buffer's end, or the buffer is larger than 4 GiB.
    #[inline]
    pub fn parse(
        &mut self,
        buf: &[u8],
        from: usize,
        spans: &mut Vec<Span>,
        limits: &Limits,
    ) -> Result<Parsed, ProtocolError> {
        assert!(u32::try_from(buf.len()).is_ok(), "a receive buffer over 4 GiB");
        let rest = &buf[from..];
        if self.missing == 0 {
            if let Some(consumed) = whole_request(rest, from, spans, limits) {
                self.scanned = 0;
                return Ok(Parsed::Command { consumed });
            }
            self.begin(rest, from, spans, limits)
        } else {
            self.go_on(rest, from, spans, limits)
        }
    }

    /// The general case at the beginning of a request.
    #[cold]
    #[inline(never)]
    fn begin(
        &mut self,
        rest: &[u8],
        from: usize,
        spans: &mut Vec<Span>,
        limits: &Limits,
    ) -> Result<Parsed, ProtocolError> {
        match rest.first() {
            None => return Ok(Parsed::Incomplete { needed: 1 }),
            Some(b'*') => {}
            Some(_) => return self.inline(rest, from, spans, limits),
        }
        let Some(line) = self.header(rest, ProtocolError::TooBigMultibulkCount)? else {
            return Ok(Parsed::Incomplete { needed: 1 });
        };
        let count = format::parse_integer(&line[1..])
            .filter(|count| *count <= limits.max_args)
            .ok_or(ProtocolError::InvalidMultibulkLength)?;
        if limits.unauthenticated && count > UNAUTHENTICATED_MAX_ARGS {
            return Err(ProtocolError::UnauthenticatedMultibulkLength);
        }
        let consumed = line.len() + 2;
        if count <= 0 {
            return Ok(Parsed::Empty { consumed });
        }
        self.missing = u32::try_from(count).map_err(|_| ProtocolError::InvalidMultibulkLength)?;
        self.at = consumed;
        self.go_on(rest, from, spans, limits)
    }

    /// Goes on where the arguments received so far end.
    #[cold]
    #[inline(never)]
    fn go_on(
        &mut self,
        rest: &[u8],
        from: usize,
        spans: &mut Vec<Span>,
        limits: &Limits,
    ) -> Result<Parsed, ProtocolError> {
        while self.missing > 0 {
            let Some(line) = self.header(&rest[self.at..], ProtocolError::TooBigBulkCount)? else {
                return Ok(Parsed::Incomplete { needed: 1 });
            };
            let len = match line {
                [b'$', digits @ ..] => bulk_len(digits, limits)?,
                [] => return Err(ProtocolError::ExpectedDollar(b'\r')),
                [other, ..] => return Err(ProtocolError::ExpectedDollar(*other)),
            };
            let start = self.at + line.len() + 2;
            let end = start as u64 + len + 2;
            if end > u64::from(u32::MAX) {
                return Err(ProtocolError::InvalidBulkLength);
            }
            let end = end as usize;
            if end > rest.len() {
                let needed = end - rest.len();
                return Ok(Parsed::Incomplete { needed });
            }
            self.pending.push(Span { start: start as u32, len: len as u32 });
            self.at = end;
            self.missing -= 1;
        }
        let base = from as u32;
        spans.extend(self.pending.drain(..).map(|span| Span { start: base + span.start, ..span }));
        // a request of a million arguments is rare: its memory is not kept.
        self.pending.shrink_to(1024);
        Ok(Parsed::Command { consumed: std::mem::take(&mut self.at) })
    }

    /// The line at the start of `rest`, without its end of two bytes, once it has arrived.
    fn header<'a>(&mut self, rest: &'a [u8], too_long: ProtocolError) -> Result<Option<&'a [u8]>, ProtocolError> {
        // only the carriage return is looked for; the byte after it is taken for a line feed, as redis does.
        let searchable = rest.len().saturating_sub(1);
        let line = &rest[..searchable.min(MAX_LINE_LEN)];
        if let Some(end) = find(b'\r', line, self.scanned) {
            self.scanned = 0;
            Ok(Some(&rest[..end]))
        } else if rest.len() <= MAX_LINE_LEN {
            self.scanned = searchable;
            Ok(None)
        } else {
            Err(too_long)
        }
    }

    fn inline(
        &mut self,
        rest: &[u8],
        from: usize,
        spans: &mut Vec<Span>,
        limits: &Limits,
    ) -> Result<Parsed, ProtocolError> {
        let line = &rest[..rest.len().min(limits.max_inline.saturating_add(1))];
        let Some(end) = find(b'\n', line, self.scanned) else {
            if rest.len() > limits.max_inline {
                return Err(ProtocolError::TooBigInline);
            }
            self.scanned = rest.len();
            return Ok(Parsed::Incomplete { needed: 1 });
        };
        self.scanned = 0;
        let consumed = end + 1;
        let line = &rest[..end];
        if inline::is_plain(line) {
            let before = spans.len();
            inline::split_plain(line, from as u32, spans);
            return Ok(if spans.len() > before { Parsed::Command { consumed } } else { Parsed::Empty { consumed } });
        }
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let args = inline::split_quoted(line).map_err(|_| ProtocolError::UnbalancedQuotes)?;
        Ok(Parsed::Inline { consumed, args })
    }
}

/// The ordinary request, all of it here and within the limits. Appends its spans and returns its length; None, and
/// nothing appended, for everything else, which the general case then looks at.
#[inline]
fn whole_request(rest: &[u8], from: usize, spans: &mut Vec<Span>, limits: &Limits) -> Option<usize> {
    // all patterns here end in a byte that is taken for the line feed.
    let (count, at) = match rest {
        [b'*', a @ b'1'..=b'9', b'\r', _, ..] => (digit(*a), 4),
        [b'*', a @ b'1'..=b'9', b @ b'0'..=b'9', b'\r', _, ..] => (digit(*a) * 10 + digit(*b), 5),
        _ => return None,
    };
    // bounds on what is not compared below; as configured in practice, never in the way.
    if limits.max_bulk_len < 999 || limits.max_args < 99 || (limits.unauthenticated && count > 10) {
        return None;
    }
    let before = spans.len();
    let end = whole_arguments(rest, from, at, count, spans, limits);
    if end.is_none() {
        spans.truncate(before);
    }
    end
}

/// Appends the spans of `count` arguments that begin at `at`, and returns where they end; None, and some spans
/// appended, if they are not all here or anything is unusual.
#[inline]
fn whole_arguments(
    rest: &[u8],
    from: usize,
    mut at: usize,
    count: usize,
    spans: &mut Vec<Span>,
    limits: &Limits,
) -> Option<usize> {
    for _ in 0..count {
        let argument = rest.get(at..)?;
        let (header, len) = match argument {
            [b'$', a @ b'0'..=b'9', b'\r', _, ..] => (4, digit(*a)),
            [b'$', a @ b'1'..=b'9', b @ b'0'..=b'9', b'\r', _, ..] => (5, digit(*a) * 10 + digit(*b)),
            [b'$', a @ b'1'..=b'9', b @ b'0'..=b'9', c @ b'0'..=b'9', b'\r', _, ..] => {
                (6, digit(*a) * 100 + digit(*b) * 10 + digit(*c))
            }
            _ => long_header(argument, limits)?,
        };
        spans.push(Span { start: (from + at + header) as u32, len: len as u32 });
        at += header + len + 2;
    }
    (at <= rest.len()).then_some(at)
}

/// The length of a bulk header and of the argument that it announces, for one of 1000 bytes to 999 MB.
#[inline(never)]
fn long_header(argument: &[u8], limits: &Limits) -> Option<(usize, usize)> {
    let window = &argument[..argument.len().min(12)];
    let end = window.iter().position(|b| *b == b'\r')?;
    if end + 1 >= argument.len() || argument[0] != b'$' {
        return None;
    }
    let len = bulk_len(&argument[1..end], limits).ok()?;
    Some((end + 2, len as usize))
}

#[inline]
fn digit(b: u8) -> usize {
    usize::from(b - b'0')
}

/// The length that a bulk header announces, if it is one and within the limits.
fn bulk_len(digits: &[u8], limits: &Limits) -> Result<u64, ProtocolError> {
    let len = format::parse_integer(digits)
        .and_then(|len| u64::try_from(len).ok())
        .filter(|len| *len <= limits.max_bulk_len)
        .ok_or(ProtocolError::InvalidBulkLength)?;
    if limits.unauthenticated && len > UNAUTHENTICATED_MAX_BULK_LEN {
        return Err(ProtocolError::UnauthenticatedBulkLength);
    }
    Ok(len)
}

/// The first `byte` in `bytes`, known not to be among the first `skip`.
fn find(byte: u8, bytes: &[u8], skip: usize) -> Option<usize> {
    let found = bytes.get(skip..)?.iter().position(|b| *b == byte);
    found.map(|at| skip + at)
}
