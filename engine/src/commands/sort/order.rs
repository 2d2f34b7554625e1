//! In which order a SORT has its elements, and which of them.

use std::cmp::Ordering;
use std::ops::Range;

use super::options::{By, Sort};
use crate::collections::Type;
use crate::commands::sorted_sets::parse_limit;
use crate::stop::Stop;

/// Which elements are asked for, of so many.
fn limited((first, count): (i64, i64), len: usize) -> Range<usize> {
    let first = usize::try_from(first).unwrap_or(0).min(len);
    let count = usize::try_from(count).unwrap_or(usize::MAX).min(len - first);
    first..first + count
}

/// Up to a zero byte, which ends a text for the functions that redis compares with.
fn collated(text: &[u8]) -> &[u8] {
    text.split(|byte| *byte == 0).next().unwrap_or_default()
}

/// The elements that are asked for, by their places, in order.
///
/// # Errors
/// If one has to be a number and is none.
pub(super) fn arrange(
    sort: &Sort<'_>,
    kind: Option<Type>,
    elements: &[&[u8]],
    weights: Option<&[Option<Vec<u8>>]>,
) -> Result<Vec<usize>, Stop> {
    let mut order: Vec<usize> = (0..elements.len()).collect();
    let by = sort.by(kind);
    if by == By::Nothing {
        // a set has no order that could be turned
        if sort.descending && kind != Some(Type::Set) {
            order.reverse();
        }
        return Ok(order[limited(sort.limit, elements.len())].to_vec());
    }
    let weight = |at: usize| match weights {
        Some(weights) => weights.get(at).and_then(Option::as_deref),
        None => Some(elements[at]),
    };
    let turned = |ordering: Ordering| if sort.descending { ordering.reverse() } else { ordering };
    if sort.compares_texts(kind) {
        // what is stored is the same wherever it is sorted, so nothing of a locale comes in
        let text = |at: usize| weight(at).map(|text| if sort.to.is_some() { text } else { collated(text) });
        order.sort_by(|a, b| turned(text(*a).cmp(&text(*b))));
    } else {
        let number = |at: usize| weight(at).map_or(Some(0.0), parse_limit);
        let numbers = (0..elements.len()).map(number).collect::<Option<Vec<f64>>>();
        let numbers = numbers.ok_or(Stop::error("ERR One or more scores can't be converted into double"))?;
        let compare = |a: usize, b: usize| {
            numbers[a].partial_cmp(&numbers[b]).unwrap_or(Ordering::Equal).then_with(|| elements[a].cmp(elements[b]))
        };
        order.sort_by(|a, b| turned(compare(*a, *b)));
    }
    Ok(order[limited(sort.limit, elements.len())].to_vec())
}

#[cfg(test)]
mod tests {
    use emberkv_resp::OwnedArgs;
    use emberkv_resp::schema::CommandId;

    use super::*;

    fn sorted(words: &[&[u8]], kind: Type, elements: &[&[u8]], weights: Option<&[Option<Vec<u8>>]>) -> Vec<usize> {
        let args = OwnedArgs::from_words(words);
        arrange(&Sort::parse(CommandId::Sort, args.args(), true).unwrap(), Some(kind), elements, weights).unwrap()
    }

    #[test]
    fn numbers_texts_and_what_stays() {
        let list: [&[u8]; 5] = [b"3", b"1", b"20", b"-1", b"1.5"];
        assert_eq!(sorted(&[b"sort", b"k"], Type::List, &list, None), [3, 1, 4, 0, 2]);
        assert_eq!(sorted(&[b"sort", b"k", b"desc", b"limit", b"1", b"2"], Type::List, &list, None), [0, 4]);
        assert_eq!(sorted(&[b"sort", b"k", b"alpha"], Type::List, &list, None), [3, 1, 4, 2, 0]);
        assert_eq!(sorted(&[b"sort", b"k", b"by", b"x", b"desc"], Type::List, &list, None), [4, 3, 2, 1, 0]);
        assert_eq!(sorted(&[b"sort", b"k", b"by", b"x", b"desc"], Type::Set, &list, None), [0, 1, 2, 3, 4]);
        assert_eq!(sorted(&[b"sort", b"k", b"by", b"x", b"store", b"d"], Type::Set, &list, None), [3, 1, 4, 2, 0]);
        let weights = [Some(b"2".to_vec()), None, Some(b"-5".to_vec()), None, Some(b"1".to_vec())];
        assert_eq!(sorted(&[b"sort", b"k", b"by", b"w*"], Type::List, &list, Some(&weights)), [2, 3, 1, 4, 0]);
        assert_eq!(
            sorted(&[b"sort", b"k", b"by", b"w*", b"alpha"], Type::List, &list, Some(&weights)),
            [1, 3, 2, 4, 0]
        );
    }

    #[test]
    fn limits_are_kept_within_what_there_is() {
        for (limit, range) in [((0, -1), 0..5), ((-3, 2), 0..2), ((4, 9), 4..5), ((5, 1), 5..5), ((1, 0), 1..1)] {
            assert_eq!(limited(limit, 5), range);
        }
    }
}
