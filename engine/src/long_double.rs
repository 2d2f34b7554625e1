//! The float arithmetic of INCRBYFLOAT and HINCRBYFLOAT: the 80-bit extended float of x86.
//!
//! Redis reads with `strtold`, adds `long double`s and prints with `%.17Lf`, so on x86 its replies
//! depend on a 64-bit mantissa. All of that is done here with integers: the same bytes on every
//! CPU, which also keeps replicas and replayed logs equal across machines.
//!
//! What redis 8.2 accepts, as observed on a live server:
//!
//! * the whole text, 1 to 5119 bytes: an optional sign, then decimal (`1`, `1.`, `.5`, `1e-7`) or
//!   hexadecimal (`0x1.8p3`) digits, or `inf` or `infinity`, all in any case; no blanks, no NaN;
//! * a number that rounds beyond the largest float, or a nonzero one that rounds to zero, is
//!   refused; subnormals are accepted, though 17 decimals show them as `0`;
//! * an infinity is a valid operand, but no sum with one is a valid result.

/// The longest text that is read as a float, in bytes.
const TEXT_MAX_BYTES: usize = 5 * 1024 - 1;

/// Bits in the mantissa of an x87 float; all are stored, none is implied.
const MANTISSA_BITS: i64 = 64;

/// Exponent of the lowest mantissa bit in the smallest normal number and in every subnormal.
const EXPONENT_MIN: i64 = -16445;

/// Exponent of the lowest mantissa bit in the largest finite number.
const EXPONENT_MAX: i64 = 16320;

/// Digits after the point in a printed float, before the zeros at the end are cut.
const DECIMALS: usize = 17;

/// A finite x87 extended float: `mantissa * 2^exponent`.
///
/// The top bit of the mantissa is set, or the exponent is `EXPONENT_MIN` (zero and subnormals), so
/// every number has exactly one form (zero has two, one for each sign).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LongDouble {
    negative: bool,
    exponent: i64,
    mantissa: u64,
}

/// A text that was accepted as a float: what may stand on either side of the addition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operand {
    /// An ordinary number.
    Finite(LongDouble),
    /// Either infinity. The sign is of no use, as every sum with it is refused.
    Infinite,
}

impl Operand {
    /// The operand that a missing key or field stands for.
    pub const ZERO: Self = Self::Finite(LongDouble { negative: false, exponent: EXPONENT_MIN, mantissa: 0 });

    /// Reads `text`, rounding to nearest even; `None` where redis answers "value is not a valid float".
    ///
    /// Under a microsecond for everyday numbers. Quadratic in the digits and in the decimal
    /// exponent, both bounded: about a millisecond at worst, for 5 KiB of digits.
    #[must_use]
    pub fn parse(text: &[u8]) -> Option<Self> {
        if text.len() > TEXT_MAX_BYTES {
            return None;
        }
        let (negative, unsigned) = split_sign(text);
        if unsigned.eq_ignore_ascii_case(b"inf") || unsigned.eq_ignore_ascii_case(b"infinity") {
            return Some(Self::Infinite);
        }
        let (radix, body) = match unsigned {
            [b'0', b'x' | b'X', hex @ ..] => (16, hex),
            decimal => (10, decimal),
        };
        let is_mantissa = |byte: &u8| *byte == b'.' || char::from(*byte).is_digit(radix);
        let end = body.iter().position(|byte| !is_mantissa(byte)).unwrap_or(body.len());
        let (mantissa, tail) = body.split_at(end);
        let (whole, fraction) = match mantissa.iter().position(|&byte| byte == b'.') {
            Some(point) => (&mantissa[..point], &mantissa[point + 1..]),
            None => (mantissa, &[][..]),
        };
        if whole.len() + fraction.len() == 0 || fraction.contains(&b'.') {
            return None;
        }
        let exponent = parse_exponent(tail, radix)?;
        let digits: Vec<u8> = whole.iter().chain(fraction).copied().skip_while(|&byte| byte == b'0').collect();
        let decimals = fraction.len() as i64;
        let number = if radix == 10 {
            from_decimal(negative, &digits, exponent - decimals)?
        } else {
            let (bits, shift) = Natural::from_digits(&digits, radix).leading_bits();
            LongDouble::round(negative, bits, exponent - 4 * decimals + shift)?
        };
        let underflowed = number.mantissa == 0 && !digits.is_empty();
        (!underflowed).then_some(Self::Finite(number))
    }

    /// The sum, rounded to nearest even; `None` where redis answers
    /// "increment would produce NaN or Infinity".
    #[must_use]
    pub fn plus(self, other: Self) -> Option<LongDouble> {
        let (Self::Finite(a), Self::Finite(b)) = (self, other) else {
            return None;
        };
        let (high, low) = if a.exponent >= b.exponent { (a, b) } else { (b, a) };
        let gap = high.exponent - low.exponent;
        // With a gap the high mantissa has its top bit set, so after a lift of 62 the sum keeps 125
        // bits or more: what is cut from the low one is far below the rounding and only has to be
        // remembered as "not zero" in the last bit.
        let lift = gap.min(62);
        let high_bits = u128::from(high.mantissa) << lift;
        let low_bits = shift_right_sticky(u128::from(low.mantissa), gap - lift);
        let (negative, bits) = if high.negative == low.negative {
            (high.negative, high_bits + low_bits)
        } else if high_bits >= low_bits {
            (high.negative, high_bits - low_bits)
        } else {
            (low.negative, low_bits - high_bits)
        };
        LongDouble::round(negative, bits, high.exponent - lift)
    }
}

impl LongDouble {
    /// The number as redis stores it and replies it: 17 decimals, rounded half to even, without
    /// zeros at the end or a bare point, and never `-0`. At most 4934 bytes.
    #[must_use]
    pub fn to_text(self) -> String {
        let magnitude = if self.exponent >= 0 {
            let limbs = vec![self.mantissa as u32, (self.mantissa >> 32) as u32];
            Natural(limbs).shifted_left(self.exponent as usize).into_decimal()
        } else {
            // below 2^64 * 10^17, which fits: 121 bits
            let one = 10u128.pow(DECIMALS as u32);
            let scaled = shift_right_to_even(u128::from(self.mantissa) * one, -self.exponent);
            let text = format!("{}.{:0DECIMALS$}", scaled / one, scaled % one);
            text.trim_end_matches('0').trim_end_matches('.').to_owned()
        };
        if self.negative && magnitude != "0" { format!("-{magnitude}") } else { magnitude }
    }

    /// A thousand times this, rounded up to a whole number: milliseconds of seconds; `None` if it does not fit.
    #[must_use]
    pub fn thousandfold_ceil(self) -> Option<i64> {
        let Self { negative, exponent, mantissa } =
            Self::round(self.negative, u128::from(self.mantissa) * 1000, self.exponent)?;
        let size = if exponent >= 0 {
            if mantissa > 0 && exponent > 63 {
                return None;
            }
            u128::from(mantissa) << exponent.min(63)
        } else if exponent < -64 {
            u128::from(mantissa > 0 && !negative)
        } else {
            let is_cut = u128::from(mantissa) & ((1 << -exponent) - 1) != 0;
            (u128::from(mantissa) >> -exponent) + u128::from(is_cut && !negative)
        };
        let size = i64::try_from(size).ok()?;
        Some(if negative { -size } else { size })
    }

    /// Whether it is below zero.
    #[must_use]
    pub fn is_negative(self) -> bool {
        self.negative && self.mantissa > 0
    }

    /// The float nearest to `bits * 2^exponent`, ties to even; `None` if that is infinite.
    ///
    /// If the last bit of `bits` stands for cut digits, there must be two bits more than a mantissa has.
    fn round(negative: bool, bits: u128, exponent: i64) -> Option<Self> {
        if bits == 0 {
            return Some(Self { negative, exponent: EXPONENT_MIN, mantissa: 0 });
        }
        let length = i64::from(u128::BITS - bits.leading_zeros());
        let excess = (length - MANTISSA_BITS).max(EXPONENT_MIN - exponent);
        let rounded = if excess <= 0 { bits << -excess } else { shift_right_to_even(bits, excess) };
        let (mantissa, exponent) = match u64::try_from(rounded) {
            Ok(mantissa) => (mantissa, exponent + excess),
            // rounding carried out of the mantissa: exactly 2^64
            Err(_) => (1 << (MANTISSA_BITS - 1), exponent + excess + 1),
        };
        (exponent <= EXPONENT_MAX).then_some(Self { negative, exponent, mantissa })
    }
}

fn split_sign(text: &[u8]) -> (bool, &[u8]) {
    match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        _ => (false, text),
    }
}

/// Reads what follows the digits: nothing, or `e` (`p` after hexadecimal digits) and a number.
fn parse_exponent(tail: &[u8], radix: u32) -> Option<i64> {
    let Some((marker, signed)) = tail.split_first() else {
        return Some(0);
    };
    if !marker.eq_ignore_ascii_case(if radix == 10 { &b'e' } else { &b'p' }) {
        return None;
    }
    let (negative, digits) = split_sign(signed);
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    // no text is long enough for its digits to bring an exponent beyond this limit back into range
    let limit = 1_000_000_000;
    let size = digits.iter().fold(0, |size: i64, digit| limit.min(size * 10 + i64::from(digit - b'0')));
    Some(if negative { -size } else { size })
}

/// The float nearest to `digits * 10^exponent`; the first digit is not zero. `None` if infinite.
fn from_decimal(negative: bool, digits: &[u8], exponent: i64) -> Option<LongDouble> {
    // the number lies in [10^(magnitude - 1), 10^magnitude)
    let magnitude = digits.len() as i64 + exponent;
    if digits.is_empty() || magnitude < -4950 {
        return LongDouble::round(negative, 0, 0);
    }
    if magnitude > 4933 {
        return None;
    }
    let mut number = Natural::from_digits(digits, 10);
    if exponent >= 0 {
        number.multiply_by_power_of_five(exponent as usize);
        let (bits, shift) = number.leading_bits();
        return LongDouble::round(negative, bits, exponent + shift);
    }
    // 10^n = 5^n * 2^n. Enough zero bits are put below the number that the quotient keeps a
    // mantissa, a bit to round by and a bit for the remainder; log2(5) is just below 2.322.
    let power = exponent.unsigned_abs() as usize;
    let padding = (power * 2322 / 1000 + 68).saturating_sub(number.bit_length());
    let mut quotient = number.shifted_left(padding);
    let has_remainder = quotient.divide_by_power_of_five(power);
    let (bits, shift) = quotient.leading_bits();
    LongDouble::round(negative, bits | u128::from(has_remainder), exponent + shift - padding as i64)
}

/// `bits / 2^count`, rounded to nearest, ties to even. `count` is at least 1.
fn shift_right_to_even(bits: u128, count: i64) -> u128 {
    if count > 128 {
        return 0;
    }
    let half = 1 << (count - 1);
    let kept = if count == 128 { 0 } else { bits >> count };
    let cut = bits & (half | (half - 1));
    kept + u128::from(cut > half || (cut == half && kept & 1 == 1))
}

/// `bits / 2^count` rounded down, with the last bit set if that cut anything.
fn shift_right_sticky(bits: u128, count: i64) -> u128 {
    if count >= 128 {
        return u128::from(bits != 0);
    }
    let kept = bits >> count;
    kept | u128::from(kept << count != bits)
}

/// The largest power of five in 32 bits, and which one it is.
const FIVES: (u32, usize) = (1_220_703_125, 13);

/// A natural number of any size: limbs from the lowest up, the last one not zero.
struct Natural(Vec<u32>);

impl Natural {
    fn from_digits(digits: &[u8], radix: u32) -> Self {
        let mut number = Self(Vec::new());
        // seven digits fit in a limb in either radix
        for chunk in digits.chunks(7) {
            let digit = |&byte: &u8| char::from(byte).to_digit(radix).unwrap_or(0);
            let value = chunk.iter().fold(0, |value, byte| value * radix + digit(byte));
            number.multiply_add(radix.pow(chunk.len() as u32), value);
        }
        number
    }

    fn into_decimal(mut self) -> String {
        let mut chunks = Vec::new();
        while !self.0.is_empty() {
            chunks.push(self.divide(1_000_000_000));
        }
        let mut text = chunks.pop().unwrap_or(0).to_string();
        text.extend(chunks.iter().rev().map(|chunk| format!("{chunk:09}")));
        text
    }

    fn bit_length(&self) -> usize {
        self.0.last().map_or(0, |top| self.0.len() * 32 - top.leading_zeros() as usize)
    }

    /// The top bits, at least 97 unless that is all of them, and the power of two that they are
    /// short of the number; the last bit is set if anything was cut.
    fn leading_bits(&self) -> (u128, i64) {
        let (cut, kept) = self.0.split_at(self.0.len().saturating_sub(4));
        let bits = kept.iter().rev().fold(0, |bits, &limb| bits << 32 | u128::from(limb));
        (bits | u128::from(cut.iter().any(|&limb| limb != 0)), cut.len() as i64 * 32)
    }

    fn shifted_left(mut self, count: usize) -> Self {
        self.multiply_add(1 << (count % 32), 0);
        self.0.splice(..0, std::iter::repeat_n(0, count / 32));
        trim(&mut self.0);
        self
    }

    fn multiply_add(&mut self, factor: u32, addend: u32) {
        let mut carry = u64::from(addend);
        for limb in &mut self.0 {
            carry += u64::from(*limb) * u64::from(factor);
            *limb = carry as u32;
            carry >>= 32;
        }
        if carry != 0 {
            self.0.push(carry as u32);
        }
    }

    /// Divides, rounding down; the remainder.
    // inlined, as a constant divisor turns each division into a multiplication
    #[inline]
    fn divide(&mut self, divisor: u32) -> u32 {
        let mut rest = 0;
        for limb in self.0.iter_mut().rev() {
            let part = rest << 32 | u64::from(*limb);
            *limb = (part / u64::from(divisor)) as u32;
            rest = part % u64::from(divisor);
        }
        trim(&mut self.0);
        rest as u32
    }

    fn multiply_by_power_of_five(&mut self, power: usize) {
        for _ in 0..power / FIVES.1 {
            self.multiply_add(FIVES.0, 0);
        }
        self.multiply_add(5u32.pow((power % FIVES.1) as u32), 0);
    }

    /// Divides by `5^power`, rounding down; whether there was a remainder.
    fn divide_by_power_of_five(&mut self, power: usize) -> bool {
        let mut has_remainder = false;
        for _ in 0..power / FIVES.1 {
            has_remainder |= self.divide(FIVES.0) != 0;
        }
        has_remainder | (self.divide(5u32.pow((power % FIVES.1) as u32)) != 0)
    }
}

fn trim(limbs: &mut Vec<u32>) {
    while limbs.last() == Some(&0) {
        limbs.pop();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sum(a: &str, b: &str) -> String {
        let [a, b] = [a, b].map(|text| Operand::parse(text.as_bytes()).unwrap());
        a.plus(b).map_or_else(|| "not finite".to_owned(), LongDouble::to_text)
    }

    #[test]
    fn adds_and_prints_as_redis_does() {
        for (a, b, expected) in [
            ("0.1", "0.2", "0.3"),
            ("10.50", "0.1", "10.6"),
            ("5.0e3", "2.0e2", "5200"),
            ("0", "3.0e-5", "0.00003"),
            ("1", "-1", "0"),
            ("-0", "-0", "0"),
            ("-0.000000000000000001", "0", "0"),
            ("0x1p-17", "0x1p-60", "0.00000762939453125"),
            ("0x1p-18", "0", "0.00000381469726562"),
            ("0x3p-18", "0", "0.00001144409179688"),
            ("1e17", "0", "100000000000000000"),
            ("1e17", "0.1", "100000000000000000.1015625"),
            ("9223372036854775807", "0.5", "9223372036854775807.5"),
            ("9223372036854775808", "0.5", "9223372036854775808"),
            ("18446744073709551615", "0.5", "18446744073709551616"),
            ("123456789012345678901234567890", "0", "123456789012345678899921813504"),
            ("0x1p64", "-0x1p-200", "18446744073709551616"),
            ("1e-4950", "1e-4950", "0"),
        ] {
            assert_eq!(sum(a, b), expected, "{a} + {b}");
            assert_eq!(sum(b, a), expected, "{b} + {a}");
        }
    }

    #[test]
    fn accepts_the_syntax_of_strtold() {
        for (text, expected) in [
            ("+1", "1"),
            ("1.", "1"),
            (".5", "0.5"),
            ("007", "7"),
            ("1E5", "100000"),
            ("0x1.8p3", "12"),
            ("-0X.8", "-0.5"),
            ("0x1e5", "485"),
            ("0e99999999999999999999", "0"),
            ("0x0p-99999999999999999999", "0"),
        ] {
            assert_eq!(sum(text, "0"), expected, "{text}");
        }
        for text in ["", "+", ".", "-.", "1..2", "1.2.3", " 1", "1 ", "1\0", "1e", "1e+", "e5", "1e5.0", "1p3", "++1"] {
            assert_eq!(Operand::parse(text.as_bytes()), None, "{text:?}");
        }
        for text in ["0x", "0x.", "0xg", "0x1p", "0x1pa", "+-1", "1,5", "1_0", "nan", "nan(1)", "infinit", "infinity1"]
        {
            assert_eq!(Operand::parse(text.as_bytes()), None, "{text:?}");
        }
    }

    #[test]
    fn refuses_numbers_out_of_range_and_keeps_subnormals() {
        for text in
            ["1e4932", "1.18973149535723176502e4932", "0x1.fffffffffffffffep16383", "1.9e-4951", "0x1.0001p-16446"]
        {
            assert!(matches!(Operand::parse(text.as_bytes()), Some(Operand::Finite(_))), "{text}");
        }
        for text in ["1.18973149535723176506e4932", "0x1.ffffffffffffffffp16383", "1e5000", "-1e999999999999999999999"]
        {
            assert_eq!(Operand::parse(text.as_bytes()), None, "{text}");
        }
        for text in ["1.8e-4951", "0x1p-16446", "1e-5000", "1e-999999999999999999999"] {
            assert_eq!(Operand::parse(text.as_bytes()), None, "{text}");
        }
        let smallest = LongDouble { negative: true, exponent: EXPONENT_MIN, mantissa: 1 };
        assert_eq!(Operand::parse(b"-0x1p-16445"), Some(Operand::Finite(smallest)));
    }

    #[test]
    fn a_sum_beyond_the_largest_number_or_with_an_infinity_is_not_finite() {
        for (a, b) in [("1e4932", "1e4932"), ("inf", "1"), ("1", "-Infinity"), ("-inf", "+INF")] {
            assert_eq!(sum(a, b), "not finite", "{a} + {b}");
        }
        let largest = "0x1.fffffffffffffffep16383";
        assert_eq!(sum(largest, "0x1p16319"), "not finite");
        assert_eq!(sum(largest, "0x1.fffffep16318"), sum(largest, "0"));
    }

    #[test]
    fn a_text_of_5_kib_is_refused_however_plain_its_number() {
        let one = |zeros: usize| format!("1.{}", "0".repeat(zeros));
        assert_eq!(sum(&one(TEXT_MAX_BYTES - 2), "1"), "2");
        assert_eq!(Operand::parse(one(TEXT_MAX_BYTES - 1).as_bytes()), None);
    }

    #[test]
    fn whole_numbers_survive_being_printed_and_read_again() {
        for exponent in (0..=EXPONENT_MAX).step_by(37) {
            let number = LongDouble { negative: exponent % 2 == 1, exponent, mantissa: u64::MAX - exponent as u64 };
            assert_eq!(Operand::parse(number.to_text().as_bytes()), Some(Operand::Finite(number)));
        }
    }
}
