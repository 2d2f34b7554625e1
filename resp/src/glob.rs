//! Patterns as KEYS, SCAN and others take them: `*`, `?`, `[a-z]`, `[^a]`, and `\` to take the next byte as it is.

/// Whether `text` matches `pattern`. Takes at most time proportional to the product of their lengths.
#[must_use]
pub fn matches(pattern: &[u8], text: &[u8]) -> bool {
    matches_by(pattern, text, |b| b)
}

/// The same, but a letter matches itself in either case.
#[must_use]
pub fn matches_ignore_case(pattern: &[u8], text: &[u8]) -> bool {
    matches_by(pattern, text, |b| b.to_ascii_lowercase())
}

fn matches_by(pattern: &[u8], text: &[u8], fold: impl Fn(u8) -> u8 + Copy) -> bool {
    if text.is_empty() {
        // not even `**` matches nothing, as in redis; `*` alone does, which redis treats apart.
        return pattern.is_empty() || pattern == b"*";
    }
    let (mut p, mut t) = (pattern, text);
    // everything but a star takes exactly one byte, so only the last star need ever be tried again, one byte later.
    let mut retry: Option<(&[u8], &[u8])> = None;
    loop {
        if let [b'*', rest @ ..] = p {
            p = rest;
            retry = Some((p, t));
            continue;
        }
        match t.split_first() {
            None if p.is_empty() => return true,
            Some((byte, rest)) => {
                if let Some(after) = one(p, *byte, fold) {
                    (p, t) = (after, rest);
                    continue;
                }
            }
            None => {}
        }
        match retry {
            Some((after_star, [_, rest @ ..])) => {
                (p, t) = (after_star, rest);
                retry = Some((p, t));
            }
            _ => return false,
        }
    }
}

/// What follows the first element of `pattern`, if that matches `byte`.
fn one(pattern: &[u8], byte: u8, fold: impl Fn(u8) -> u8) -> Option<&[u8]> {
    match pattern {
        [] => None,
        [b'?', rest @ ..] => Some(rest),
        [b'[', rest @ ..] => class(rest, byte, fold),
        [b'\\', literal, rest @ ..] | [literal, rest @ ..] => (fold(*literal) == fold(byte)).then_some(rest),
    }
}

/// The same for a class, whose opening bracket is taken off. One that is never closed ends with the pattern.
fn class(pattern: &[u8], byte: u8, fold: impl Fn(u8) -> u8) -> Option<&[u8]> {
    let (negated, mut p) = match pattern {
        [b'^', rest @ ..] => (true, rest),
        _ => (false, pattern),
    };
    let mut found = false;
    loop {
        match p {
            [b'\\', literal, rest @ ..] => {
                found |= *literal == byte;
                p = rest;
            }
            [b']', rest @ ..] => {
                p = rest;
                break;
            }
            [] => break,
            [a, b'-', b, rest @ ..] => {
                let (low, high) = (fold(*a.min(b)), fold(*a.max(b)));
                found |= (low..=high).contains(&fold(byte));
                p = rest;
            }
            [literal, rest @ ..] => {
                found |= fold(*literal) == fold(byte);
                p = rest;
            }
        }
    }
    (found != negated).then_some(p)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matches_what_redis_matches() {
        let yes: &[(&str, &str)] = &[
            ("", ""),
            ("*", ""),
            ("*", "a"),
            ("a*", "a"),
            ("a**", "abc"),
            ("*c", "abc"),
            ("a*b*c", "aXbYbZc"),
            ("h?llo", "hallo"),
            ("h[ae]llo", "hello"),
            ("h[^e]llo", "hallo"),
            ("h[a-c]llo", "hbllo"),
            ("h[c-a]llo", "hbllo"),
            ("[\\]]", "]"),
            ("a\\*", "a*"),
            ("a\\", "a\\"),
            ("[a", "a"),
            ("[^", "x"),
            ("[^]", "x"),
            ("[a-", "-"),
        ];
        for (pattern, text) in yes {
            assert!(matches(pattern.as_bytes(), text.as_bytes()), "{pattern} {text}");
        }
        let no: &[(&str, &str)] = &[
            ("", "a"),
            ("**", ""),
            ("?", ""),
            ("a", "A"),
            ("*c", "abcd"),
            ("h[^e]llo", "hello"),
            ("a\\*", "ab"),
            ("[]", "]"),
            ("[", "["),
            ("a*b", "aXbc"),
        ];
        for (pattern, text) in no {
            assert!(!matches(pattern.as_bytes(), text.as_bytes()), "{pattern} {text}");
        }
        assert!(matches_ignore_case(b"CONFIG|[G-S]*", b"config|get"));
    }

    #[test]
    fn many_stars_take_no_exponential_time() {
        let pattern = "a*".repeat(200) + "b";
        assert!(!matches(pattern.as_bytes(), "a".repeat(5000).as_bytes()));
    }
}
