//! Scores as bytes that are in the scores' order.
//!
//! ```text
//! f64, positive   0 | exponent | mantissa    ->  1 | exponent | mantissa
//! f64, negative   1 | exponent | mantissa    ->  0 | all other bits turned
//! ```
//!
//! Big-endian, so that comparing (these bytes, member) is comparing elements. There is one zero: -0 is kept as 0.

/// The number in whose order scores are.
pub(crate) fn order_of(score: f64) -> u64 {
    // -0 and 0 are the same score
    let bits = (score + 0.0).to_bits();
    if bits >> 63 == 1 { !bits } else { bits | 1 << 63 }
}

/// The score that has this place in the order.
pub(crate) fn score_of(order: u64) -> f64 {
    f64::from_bits(if order >> 63 == 1 { order & !(1 << 63) } else { !order })
}

/// The score that a pair's value is. What no process of this kind has written is 0.
pub(crate) fn score_in(value: &[u8]) -> f64 {
    value.try_into().map_or(0.0, |bytes| score_of(u64::from_be_bytes(bytes)))
}

/// What the elements from some place in the order on are not below: a score's number, then the beginning of a member.
pub(crate) fn mark(order: u64, member: &[u8]) -> Vec<u8> {
    [&order.to_be_bytes(), member].concat()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn bytes_are_in_the_order_of_scores(a in any::<f64>(), b in any::<f64>()) {
            prop_assume!(!a.is_nan() && !b.is_nan());
            prop_assert_eq!(Some(order_of(a).cmp(&order_of(b))), a.partial_cmp(&b));
            prop_assert_eq!(score_of(order_of(a)), a);
            prop_assert_eq!(score_in(&order_of(a).to_be_bytes()), a);
        }
    }

    #[test]
    fn the_ends_are_in_order_too() {
        let scores = [f64::NEG_INFINITY, f64::MIN, -1.0, -5e-324, 0.0, 5e-324, 1.0, f64::MAX, f64::INFINITY];
        for pair in scores.windows(2) {
            assert!(order_of(pair[0]) < order_of(pair[1]), "{pair:?}");
        }
        assert_eq!(order_of(-0.0), order_of(0.0));
        assert!(order_of(f64::INFINITY) < u64::MAX, "there is a mark behind all");
    }
}
