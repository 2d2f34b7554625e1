//! Numbers as text, the way the protocol and redis write them.

/// Two digits at a time: "00" to "99".
static PAIRS: [[u8; 2]; 100] = {
    let mut pairs = [[0; 2]; 100];
    let mut i = 0;
    while i < 100 {
        pairs[i] = [b'0' + (i / 10) as u8, b'0' + (i % 10) as u8];
        i += 1;
    }
    pairs
};

/// The longest text of an `i64`: `-9223372036854775808`.
pub const MAX_INTEGER_LEN: usize = 20;

/// Writes `value` so that it ends before `end` in `buf`, and returns where it begins.
#[inline]
fn unsigned_before<const N: usize>(mut value: u64, buf: &mut [u8; N], end: usize) -> usize {
    let mut at = end;
    while value >= 100 {
        at -= 2;
        buf[at..at + 2].copy_from_slice(&PAIRS[(value % 100) as usize]);
        value /= 100;
    }
    if value >= 10 {
        at -= 2;
        buf[at..at + 2].copy_from_slice(&PAIRS[value as usize]);
    } else {
        at -= 1;
        buf[at] = b'0' + value as u8;
    }
    at
}

/// The decimal text of `value`, in `buf`.
#[inline]
pub fn integer(value: i64, buf: &mut [u8; MAX_INTEGER_LEN]) -> &[u8] {
    let at = integer_before(value, buf, MAX_INTEGER_LEN);
    &buf[at..]
}

/// Writes `value` so that it ends before `end` in `buf`, and returns where it begins.
#[inline]
pub(crate) fn integer_before<const N: usize>(value: i64, buf: &mut [u8; N], end: usize) -> usize {
    let mut at = unsigned_before(value.unsigned_abs(), buf, end);
    if value < 0 {
        at -= 1;
        buf[at] = b'-';
    }
    at
}

/// A kind and a length or count as a line, appended to `out`.
#[inline]
pub(crate) fn push_header(out: &mut Vec<u8>, kind: u8, len: usize) {
    if len < 10 {
        out.extend_from_slice(&[kind, b'0' + len as u8, b'\r', b'\n']);
    } else if len < 100 {
        let [a, b] = PAIRS[len];
        out.extend_from_slice(&[kind, a, b, b'\r', b'\n']);
    } else {
        push_line(out, kind, len as i64);
    }
}

/// A kind and an integer as a line, appended to `out`.
#[inline]
pub(crate) fn push_line(out: &mut Vec<u8>, kind: u8, value: i64) {
    // put together on the stack, so that it is one copy.
    const END: usize = MAX_INTEGER_LEN + 1;
    let mut line = [0; END + 2];
    line[END..].copy_from_slice(b"\r\n");
    let at = integer_before(value, &mut line, END) - 1;
    line[at] = kind;
    out.extend_from_slice(&line[at..]);
}

/// The text of `value` as redis 7.2 and later reply it: whole numbers up to 2^62 as integers, everything else with
/// the fewest digits that read back as the same number, plain where that is short and with an exponent elsewhere.
#[must_use]
pub fn double(value: f64) -> String {
    if value.is_nan() {
        return "nan".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "inf" } else { "-inf" }.to_owned();
    }
    if value == 0.0 {
        return if value.is_sign_negative() { "-0" } else { "0" }.to_owned();
    }
    const WHOLE: f64 = (1u64 << 62) as f64;
    if (-WHOLE..=WHOLE).contains(&value) && value.trunc() == value {
        return (value as i64).to_string();
    }
    let text = format!("{:e}", value.abs());
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let digits: String = mantissa.chars().filter(|c| *c != '.').collect();
    let plain = plain_or_scientific(&digits, exponent);
    if value < 0.0 { format!("-{plain}") } else { plain }
}

/// Lays out `d.ddd * 10^exponent`, given as the digits without the point.
fn plain_or_scientific(digits: &str, exponent: i32) -> String {
    let count = digits.len() as i32;
    // the power of ten of the last digit.
    let scale = exponent - count + 1;
    if scale >= 0 && exponent < count + 7 {
        return format!("{digits}{}", "0".repeat(scale as usize));
    }
    if scale < 0 && (scale > -7 || exponent.abs() < 4) {
        let point = count + scale;
        return if point <= 0 {
            format!("0.{}{digits}", "0".repeat(-point as usize))
        } else {
            format!("{}.{}", &digits[..point as usize], &digits[point as usize..])
        };
    }
    let (first, rest) = digits.split_at(1);
    let point = if rest.is_empty() { "" } else { "." };
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{first}{point}{rest}e{sign}{}", exponent.abs())
}

/// Reads a decimal integer as strictly as redis does: no leading zero, plus sign or space, and no `-0`.
#[inline]
#[must_use]
pub fn parse_integer(text: &[u8]) -> Option<i64> {
    let (negative, digits) = match text {
        [b'0'] => return Some(0),
        [b'-', digits @ ..] => (true, digits),
        digits => (false, digits),
    };
    if !matches!(digits.first(), Some(b'1'..=b'9')) || digits.len() > 19 {
        return None;
    }
    let mut value = 0u64;
    for &digit in digits {
        if !digit.is_ascii_digit() {
            return None;
        }
        // 19 digits can't overflow a u64.
        value = value * 10 + u64::from(digit - b'0');
    }
    if negative { (value <= 1 << 63).then(|| (value as i64).wrapping_neg()) } else { i64::try_from(value).ok() }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn integers_read_as_rust_writes_them(value: i64, shift in 0u32..64) {
            let value = value >> shift;
            let mut buf = [0; MAX_INTEGER_LEN];
            let text = integer(value, &mut buf);
            prop_assert_eq!(text.to_vec(), value.to_string().into_bytes());
            prop_assert_eq!(parse_integer(text), Some(value));
            let mut out = Vec::new();
            push_line(&mut out, b':', value);
            prop_assert_eq!(out, format!(":{value}\r\n").into_bytes());
            let mut out = Vec::new();
            let len = (value.unsigned_abs() >> 1) as usize;
            push_header(&mut out, b'$', len);
            prop_assert_eq!(out, format!("${len}\r\n").into_bytes());
        }

        #[test]
        fn doubles_read_back_as_themselves(bits: u64) {
            let value = f64::from_bits(bits);
            prop_assume!(value.is_finite());
            prop_assert_eq!(double(value).parse::<f64>().unwrap(), value);
        }
    }

    #[test]
    fn parses_only_canonical_integers() {
        for bad in ["", "-", "-0", "01", "+1", " 1", "1 ", "1a", "9223372036854775808", "-9223372036854775809"] {
            assert_eq!(parse_integer(bad.as_bytes()), None, "{bad:?}");
        }
        for good in [0, 1, -1, 10, i64::MAX, i64::MIN] {
            assert_eq!(parse_integer(good.to_string().as_bytes()), Some(good));
        }
    }

    /// As replied by ZSCORE of redis 8.2.
    #[test]
    fn doubles_look_like_those_of_redis() {
        for (value, text) in DOUBLES {
            assert_eq!(double(*value), *text);
        }
    }

    const DOUBLES: &[(f64, &str)] = &[
        (0.0, "0"),
        (1.0, "1"),
        (-1.0, "-1"),
        (0.1, "0.1"),
        (1.5, "1.5"),
        (1e15, "1000000000000000"),
        (1e17, "100000000000000000"),
        (1e18, "1000000000000000000"),
        (4611686018427387904.0, "4611686018427387904"),
        (9223372036854775807.0, "9223372036854776000"),
        (1e19, "1e+19"),
        (1e20, "1e+20"),
        (1e21, "1e+21"),
        (1e22, "1e+22"),
        (1.5e20, "1.5e+20"),
        (1.2345e20, "1.2345e+20"),
        (123456789012345680000.0, "123456789012345680000"),
        (1.7976931348623157e308, "1.7976931348623157e+308"),
        (5e-324, "5e-324"),
        (1e-4, "0.0001"),
        (1e-5, "0.00001"),
        (1e-6, "0.000001"),
        (1e-7, "1e-7"),
        (1e-8, "1e-8"),
        (1.5e-7, "1.5e-7"),
        (1.2345e-5, "1.2345e-5"),
        (0.00012345678901234567, "1.2345678901234567e-4"),
        (123456.789, "123456.789"),
        (1234567890.1234567, "1.2345678901234567e+9"),
        (-1e-7, "-1e-7"),
        (-1.5e300, "-1.5e+300"),
        (2.5e-10, "2.5e-10"),
        (0.30000000000000004, "0.30000000000000004"),
        (1e100, "1e+100"),
        (f64::INFINITY, "inf"),
        (f64::NEG_INFINITY, "-inf"),
        (12345678901234567890.0, "12345678901234567000"),
        (1.23456789012345e25, "1.23456789012345e+25"),
        (0.001, "0.001"),
        (0.0001234, "1.234e-4"),
        (0.00001234, "1.234e-5"),
    ];
}
