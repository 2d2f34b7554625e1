//! Scores as text.

/// Reads a score, as redis does: the whole text, a decimal or hexadecimal number or an infinity, not one that has no place
/// among the doubles.
pub(in crate::commands) fn parse_score(text: &[u8]) -> Option<f64> {
    if let Some(score) = parse_hexadecimal(text) {
        return Some(score);
    }
    let score = parse_double(text)?;
    let is_named = text.iter().any(|byte| matches!(byte, b'n' | b'N')); // inf
    let is_zero = !text.iter().take_while(|byte| !matches!(byte, b'e' | b'E')).any(|byte| matches!(byte, b'1'..=b'9'));
    let fits = (score.is_finite() || is_named) && (score != 0.0 || is_zero);
    fits.then_some(score)
}

/// Reads the end of a range of scores: decimal, up to a zero byte; what is too large is infinite, nothing is 0.
pub(in crate::commands) fn parse_limit(text: &[u8]) -> Option<f64> {
    let text = text.split(|byte| *byte == 0).next().unwrap_or_default();
    if text.is_empty() { Some(0.0) } else { parse_double(text) }
}

/// A number with a point and an exponent, or an infinity.
fn parse_double(text: &[u8]) -> Option<f64> {
    let score: f64 = std::str::from_utf8(text).ok()?.parse().ok()?;
    (!score.is_nan()).then_some(score)
}

/// `0x1.8p3`.
fn parse_hexadecimal(text: &[u8]) -> Option<f64> {
    let (is_negative, text) = match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        rest => (false, rest),
    };
    let [b'0', b'x' | b'X', digits @ ..] = text else { return None };
    let (digits, exponent) = match digits.iter().position(|byte| matches!(byte, b'p' | b'P')) {
        Some(at) => (&digits[..at], std::str::from_utf8(&digits[at + 1..]).ok()?.parse::<i32>().ok()?),
        None => (digits, 0),
    };
    let (mut mantissa, mut shift, mut behind_point, mut any) = (0u64, i64::from(exponent), false, false);
    for &byte in digits {
        if byte == b'.' && !behind_point {
            behind_point = true;
            continue;
        }
        let digit = u64::from(char::from(byte).to_digit(16)?);
        any = true;
        if mantissa >> 58 == 0 {
            mantissa = mantissa << 4 | digit;
            shift -= if behind_point { 4 } else { 0 };
        } else {
            mantissa |= u64::from(digit != 0); // below what a double holds: it only rounds
            shift += if behind_point { 0 } else { 4 };
        }
    }
    let scale = |value: f64, by: i64| value * 2f64.powi(by.clamp(-1000, 1000) as i32);
    let value = scale(scale(mantissa as f64, shift / 2), shift - shift / 2);
    let fits = any && value.is_finite() && (value != 0.0 || mantissa == 0);
    fits.then_some(if is_negative { -value } else { value })
}

/// The text of a score with up to 17 digits, as ZSCAN replies it: what C's `%.17g` makes of it.
pub(super) fn seventeen_digits(score: f64) -> String {
    if !score.is_finite() {
        return if score > 0.0 { "inf" } else { "-inf" }.to_owned();
    }
    let text = format!("{score:.16e}");
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let trim = |text: &str| text.trim_end_matches('0').trim_end_matches('.').to_owned();
    if (-4..17).contains(&exponent) {
        let decimals = usize::try_from(16 - exponent).unwrap_or(0);
        let plain = format!("{score:.decimals$}");
        return if decimals > 0 { trim(&plain) } else { plain };
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{}e{sign}{:02}", trim(mantissa), exponent.abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As redis 8.2 reads them: as a score, and as the end of a range.
    #[test]
    fn numbers_are_read_as_redis_reads_them() {
        let inf = f64::INFINITY;
        for (text, score, limit) in [
            ("0x10", Some(16.0), None),
            ("-0x1p3", Some(-8.0), None),
            ("0x1.8", Some(1.5), None),
            ("0x", None, None),
            ("1e400", None, Some(inf)),
            ("-1e400", None, Some(-inf)),
            ("1e-400", None, Some(0.0)),
            ("1e-320", Some(1e-320), Some(1e-320)),
            ("0e-400", Some(0.0), Some(0.0)),
            ("infinity", Some(inf), Some(inf)),
            ("-iNf", Some(-inf), Some(-inf)),
            ("nan", None, None),
            (".5", Some(0.5), Some(0.5)),
            ("5.", Some(5.0), Some(5.0)),
            ("1e", None, None),
            (" 1", None, None),
            ("1 ", None, None),
            ("+1", Some(1.0), Some(1.0)),
            ("+-1", None, None),
            ("", None, Some(0.0)),
            ("-", None, None),
            ("1\0", None, Some(1.0)),
            ("00012", Some(12.0), Some(12.0)),
            ("1,5", None, None),
            ("in", None, None),
        ] {
            assert_eq!(parse_score(text.as_bytes()), score, "{text:?}");
            assert_eq!(parse_limit(text.as_bytes()), limit, "{text:?}");
        }
    }

    /// As ZSCAN of redis 8.2 has replied them.
    #[test]
    fn seventeen_digits_are_those_of_redis() {
        for (score, text) in [
            (0.1, "0.10000000000000001"),
            (0.0001234, "0.00012339999999999999"),
            (1.5e300, "1.5000000000000001e+300"),
            (1e-7, "9.9999999999999995e-08"),
            (1e17, "1e+17"),
            (9223372036854775807.0, "9.2233720368547758e+18"),
            (123456789012.0, "123456789012"),
            (1e15, "1000000000000000"),
            (3.0, "3"),
            (0.0, "0"),
            (-0.1, "-0.10000000000000001"),
            (f64::NEG_INFINITY, "-inf"),
        ] {
            assert_eq!(seventeen_digits(score), text);
        }
    }
}
