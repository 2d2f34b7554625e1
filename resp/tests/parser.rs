//! The parser against a plain model, with bytes that arrive in arbitrary pieces.

use emberkv_resp::{Args, Limits, Parsed, Parser, ProtocolError, Span};
use proptest::prelude::*;

type Request = Vec<Vec<u8>>;

fn encode(request: &Request) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", request.len()).into_bytes();
    for argument in request {
        bytes.extend_from_slice(format!("${}\r\n", argument.len()).as_bytes());
        bytes.extend_from_slice(argument);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes
}

fn copied(args: Args<'_>) -> Request {
    args.iter().map(<[u8]>::to_vec).collect()
}

/// What a connection does: receives the pieces, one after the other, and takes all requests out after each.
fn receive<'a>(
    pieces: impl IntoIterator<Item = &'a [u8]>,
    limits: &Limits,
) -> (Vec<Request>, Result<(), ProtocolError>) {
    let mut parser = Parser::new();
    let (mut buf, mut spans, mut requests) = (Vec::new(), Vec::new(), Vec::new());
    for piece in pieces {
        buf.extend_from_slice(piece);
        let mut from = 0;
        loop {
            let before = spans.len();
            match parser.parse(&buf, from, &mut spans, limits) {
                Ok(Parsed::Command { consumed }) => {
                    assert!(consumed > 0 && from + consumed <= buf.len());
                    assert!(spans.len() > before);
                    requests.push(copied(Args::new(&buf, &spans[before..])));
                    from += consumed;
                }
                Ok(Parsed::Inline { consumed, args }) => {
                    assert!(consumed > 0 && from + consumed <= buf.len());
                    assert_eq!(spans.len(), before);
                    requests.push(copied(args.args()));
                    from += consumed;
                }
                Ok(Parsed::Empty { consumed }) => {
                    assert!(consumed > 0 && from + consumed <= buf.len());
                    assert_eq!(spans.len(), before);
                    from += consumed;
                }
                Ok(Parsed::Incomplete { needed }) => {
                    assert!(needed > 0);
                    assert_eq!(spans.len(), before);
                    break;
                }
                Err(error) => return (requests, Err(error)),
            }
        }
        buf.drain(..from);
        spans.clear();
    }
    (requests, Ok(()))
}

/// `bytes` cut at the given places, taken modulo its length.
fn cut(bytes: &[u8], cuts: &[usize]) -> Vec<Vec<u8>> {
    let mut cuts: Vec<usize> = cuts.iter().map(|c| c % (bytes.len() + 1)).collect();
    cuts.sort_unstable();
    cuts.push(bytes.len());
    let mut at = 0;
    cuts.iter().map(|&end| bytes[std::mem::replace(&mut at, end)..end].to_vec()).collect()
}

/// Bytes that look like the protocol often enough to come far.
fn protocol_soup() -> impl Strategy<Value = Vec<u8>> {
    let token = prop_oneof![
        Just(b"\r\n".to_vec()),
        Just(b"\r".to_vec()),
        Just(b"\n".to_vec()),
        Just(b"*".to_vec()),
        Just(b"$".to_vec()),
        Just(b"*1\r\n$4\r\nPING\r\n".to_vec()),
        Just(b"*2\r\n$3\r\nGET\r\n".to_vec()),
        Just(b"$1000\r\n".to_vec()),
        Just(b"*12\r\n".to_vec()),
        Just(b"get \"a\\x00b\" 'c'\r\n".to_vec()),
        Just(b"echo \"".to_vec()),
        (-2i64..12).prop_map(|n| format!("*{n}\r\n").into_bytes()),
        (-2i64..12).prop_map(|n| format!("${n}\r\n").into_bytes()),
        prop::collection::vec(any::<u8>(), 0..12),
    ];
    prop::collection::vec(token, 0..24).prop_map(|tokens| tokens.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn finds_the_same_in_any_bytes_however_they_are_cut(
        bytes in protocol_soup(),
        cuts in prop::collection::vec(any::<usize>(), 0..12),
        unauthenticated: bool,
        max_bulk_len in prop_oneof![Just(5u64), Just(512 << 20)],
        max_inline in prop_oneof![Just(8usize), Just(64 << 10)],
    ) {
        let limits = Limits { unauthenticated, max_bulk_len, max_inline, ..Limits::default() };
        let whole = receive([&bytes[..]], &limits);
        let pieces = cut(&bytes, &cuts);
        prop_assert_eq!(&whole, &receive(pieces.iter().map(|p| &p[..]), &limits));
        prop_assert_eq!(&whole, &receive(bytes.chunks(1), &limits));
    }

    #[test]
    fn finds_the_requests_that_were_sent(
        requests in prop::collection::vec(
            prop::collection::vec(prop::collection::vec(any::<u8>(), 0..1200), 1..14), 0..6),
        cuts in prop::collection::vec(any::<usize>(), 0..12),
    ) {
        let bytes: Vec<u8> = requests.iter().flat_map(encode).collect();
        let pieces = cut(&bytes, &cuts);
        let (found, end) = receive(pieces.iter().map(|p| &p[..]), &Limits::default());
        prop_assert_eq!(found, requests);
        prop_assert_eq!(end, Ok(()));
    }
}

fn error_of(bytes: &[u8]) -> String {
    let (_, end) = receive([bytes], &Limits::default());
    let reply = end.err().map(ProtocolError::reply).unwrap_or_default();
    String::from_utf8_lossy(&reply).into_owned()
}

/// The texts are those of redis 8.2.
#[test]
fn malformed_requests_get_the_errors_of_redis() {
    let cases: &[(&[u8], &str)] = &[
        (b"*abc\r\n", "invalid multibulk length"),
        (b"*\r\n", "invalid multibulk length"),
        (b"*-0\r\n", "invalid multibulk length"),
        (b"*01\r\n", "invalid multibulk length"),
        (b"*+1\r\n", "invalid multibulk length"),
        (b"*1 \r\n", "invalid multibulk length"),
        (b"*1\nxxPING\r\n", "invalid multibulk length"),
        (b"*2147483648\r\n", "invalid multibulk length"),
        (b"*9223372036854775808\r\n", "invalid multibulk length"),
        (b"*1\r\n$\r\n", "invalid bulk length"),
        (b"*1\r\n$-1\r\n", "invalid bulk length"),
        (b"*1\r\n$-0\r\n\r\n", "invalid bulk length"),
        (b"*1\r\n$04\r\nPING\r\n", "invalid bulk length"),
        (b"*1\r\n$ 4\r\nPING\r\n", "invalid bulk length"),
        (b"*1\r\n$536870913\r\n", "invalid bulk length"),
        (b"*1\r\nPING\r\n", "expected '$', got 'P'"),
        (b"*1\r\n:1\r\n", "expected '$', got ':'"),
        (b"*1\r\n\r\n", "expected '$', got '\r'"),
        (b"echo \"abc\r\n", "unbalanced quotes in request"),
        (&[b'x'; 65537], "too big inline request"),
    ];
    for (bytes, text) in cases {
        assert_eq!(error_of(bytes), format!("ERR Protocol error: {text}"));
    }
    let long = |start: &[u8]| [start, &[b'1'; 65537]].concat();
    assert!(error_of(&long(b"*")).ends_with("too big mbulk count string"));
    assert!(error_of(&long(b"*1\r\n$")).ends_with("too big bulk count string"));
}

#[test]
fn takes_what_redis_takes() {
    let cases: &[&[u8]] = &[
        b"*1\r\n$4\r\nPING\r\n",
        b"*-1\r\nPING\r\n",
        b"*0\r\n*-5\r\nPING\n",
        b"\r\n\n  \r\nPING\r\n",
        b"*1\r\n$4\r\nPINGxx",
        b"*1\rX$4\rYPING\r\n",
        b"\"PING\"\r\n",
    ];
    for bytes in cases {
        let (requests, end) = receive([*bytes], &Limits::default());
        assert_eq!(requests, [[b"PING".to_vec()]]);
        assert_eq!(end, Ok(()));
    }
}

#[test]
fn an_unauthenticated_client_sends_little() {
    let limits = Limits { unauthenticated: true, ..Limits::default() };
    let end = |bytes: &[u8]| receive([bytes], &limits).1;
    let many = |n: usize| encode(&vec![b"a".to_vec(); n]);
    assert_eq!(end(&many(10)), Ok(()));
    assert_eq!(end(&many(11)), Err(ProtocolError::UnauthenticatedMultibulkLength));
    assert_eq!(end(&encode(&vec![vec![b'a'; 16384]])), Ok(()));
    assert_eq!(end(&encode(&vec![vec![b'a'; 16385]])), Err(ProtocolError::UnauthenticatedBulkLength));
}

#[test]
fn a_request_too_large_to_address_is_refused() {
    let limits = Limits { max_bulk_len: u64::MAX, ..Limits::default() };
    let end = |bytes: &[u8]| receive([bytes], &limits).1;
    assert_eq!(end(b"*1\r\n$4294967200\r\n"), Ok(()));
    assert_eq!(end(b"*1\r\n$4294967296\r\n"), Err(ProtocolError::InvalidBulkLength));
}

#[test]
fn says_how_much_of_a_large_argument_is_missing() {
    let mut parser = Parser::new();
    let found = parser.parse(b"*1\r\n$100000\r\nabc", 0, &mut Vec::new(), &Limits::default());
    assert_eq!(found, Ok(Parsed::Incomplete { needed: 100_000 + 2 - 3 }));
}

#[test]
fn lines_at_the_limit_are_taken_alike_however_they_are_cut() {
    let argument = b"*2\r\n$1\r\na\r\n";
    for len in 65_530..65_542 {
        for (start, end) in [(b'*', &b"\r\n"[..]), (b'$', b"\r\n"), (b'x', b"\n")] {
            let mut bytes = if start == b'$' { argument.to_vec() } else { Vec::new() };
            bytes.push(start);
            bytes.resize(bytes.len() + len - 1, b'1');
            bytes.extend_from_slice(end);
            bytes.extend_from_slice(b"*1\r\n$4\r\nPING\r\n");
            let whole = receive([&bytes[..]], &Limits::default());
            for cut in 65_528..65_556 {
                let (a, b) = bytes.split_at(cut.min(bytes.len()));
                assert_eq!(receive([a, b], &Limits::default()), whole, "{len} {cut}");
            }
        }
    }
}

/// Byte by byte, a rescan from the beginning would take 10^13 steps here: the test would not end.
#[test]
fn a_large_request_in_single_bytes_is_looked_at_once() {
    let argument = b"abc".to_vec();
    let request: Request = vec![argument; 300_000];
    let mut bytes = encode(&request);
    bytes.extend_from_slice(&encode(&vec![vec![b'v'; 3_000_000]]));
    let mut parser = Parser::new();
    let mut spans: Vec<Span> = Vec::new();
    let mut lengths = Vec::new();
    let mut from = 0;
    for end in 1..=bytes.len() {
        match parser.parse(&bytes[..end], from, &mut spans, &Limits::default()) {
            Ok(Parsed::Command { consumed }) => {
                lengths.push(spans.len());
                from += consumed;
                assert_eq!(from, end);
            }
            other => assert!(matches!(other, Ok(Parsed::Incomplete { .. }))),
        }
    }
    assert_eq!(lengths, [300_000, 300_001]);
    assert!(spans[..300_000].iter().all(|span| span.of(&bytes) == b"abc"));
}

#[test]
fn the_requests_of_a_pipeline_share_one_buffer_and_one_vector() {
    let requests: Vec<Request> =
        (0..16).map(|i| vec![b"SET".to_vec(), format!("key{i}").into_bytes(), vec![b'v'; i * 100]]).collect();
    let bytes: Vec<u8> = requests.iter().flat_map(encode).collect();
    let (mut parser, mut spans, mut from) = (Parser::new(), Vec::new(), 0);
    while let Ok(Parsed::Command { consumed }) = parser.parse(&bytes, from, &mut spans, &Limits::default()) {
        from += consumed;
    }
    assert_eq!(from, bytes.len());
    for (request, spans) in requests.iter().zip(spans.chunks(3)) {
        assert_eq!(&copied(Args::new(&bytes, spans)), request);
    }
}
