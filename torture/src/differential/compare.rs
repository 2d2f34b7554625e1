//! Whether two replies agree, in the sense that a step asks for.

use super::script::Compare;
use crate::Value;
use crate::client::Reply;

/// Whether two replies agree.
#[must_use]
pub fn agree(compare: &Compare, a: &Reply, b: &Reply) -> bool {
    match compare {
        Compare::Exact => a.raw == b.raw,
        Compare::Shape => a.raw.first() == b.raw.first() && same_shape(&a.value, &b.value),
        Compare::Set => {
            a.raw == b.raw
                || (a.raw.first() == b.raw.first()
                    && matches!(a.value, Value::Array(_) | Value::Set(_) | Value::Map(_))
                    && sorted(&a.value) == sorted(&b.value))
        }
        Compare::Near(distance) => match (a.value.integer(), b.value.integer()) {
            (Some(x), Some(y)) if x >= 0 && y >= 0 => x.abs_diff(y) <= distance.unsigned_abs(),
            _ => a.raw == b.raw,
        },
        Compare::Fields => match (fields(&a.value), fields(&b.value)) {
            (Some(x), Some(y)) => {
                a.raw.first() == b.raw.first() && x.iter().map(|(name, _)| name).eq(y.iter().map(|(name, _)| name))
            }
            _ => false,
        },
        Compare::Values(names) => match (fields(&a.value), fields(&b.value)) {
            (Some(x), Some(y)) => {
                a.raw.first() == b.raw.first()
                    && names.iter().all(|name| {
                        let (x, y) = (field(&x, name), field(&y, name));
                        x.is_some() && x == y
                    })
            }
            _ => false,
        },
        Compare::Has(names) => match (fields(&a.value), fields(&b.value)) {
            (Some(x), Some(y)) => names.iter().all(|name| field(&x, name).is_some() && field(&y, name).is_some()),
            _ => false,
        },
        Compare::Code => match (&a.value, &b.value) {
            (Value::Error(x), Value::Error(y)) => {
                x.split(|byte| *byte == b' ').next() == y.split(|byte| *byte == b' ').next()
            }
            _ => false,
        },
        Compare::Ignore => true,
    }
}

fn same_shape(a: &Value, b: &Value) -> bool {
    let all = |x: &[Value], y: &[Value]| x.len() == y.len() && x.iter().zip(y).all(|(x, y)| same_shape(x, y));
    match (a, b) {
        (Value::Array(x), Value::Array(y)) | (Value::Set(x), Value::Set(y)) | (Value::Push(x), Value::Push(y)) => {
            all(x, y)
        }
        (Value::Map(x), Value::Map(y)) => {
            x.len() == y.len() && x.iter().zip(y).all(|((k, v), (l, w))| same_shape(k, l) && same_shape(v, w))
        }
        _ => std::mem::discriminant(a) == std::mem::discriminant(b),
    }
}

fn sorted(value: &Value) -> Vec<String> {
    let mut items: Vec<String> = match value {
        Value::Map(pairs) => pairs.iter().map(|pair| format!("{pair:?}")).collect(),
        other => other.items().unwrap_or_default().iter().map(|i| format!("{i:?}")).collect(),
    };
    items.sort();
    items
}

/// The fields of a text: `name=value` words of a client line, or `name:value` lines of INFO.
/// Section titles and empty lines are left out. Maps, and arrays that stand for maps, have
/// fields too.
fn fields(value: &Value) -> Option<Vec<(String, String)>> {
    let named = |name: &Value, value: &Value| {
        let name = String::from_utf8_lossy(name.text()?).into_owned();
        Some((name, format!("{value:?}")))
    };
    match value {
        Value::Map(pairs) => return pairs.iter().map(|(n, v)| named(n, v)).collect(),
        Value::Array(items) if items.len() % 2 == 0 => {
            return items.chunks(2).map(|pair| named(&pair[0], &pair[1])).collect();
        }
        Value::Bulk(_) | Value::Verbatim(_) => {}
        _ => return None,
    }
    let text = String::from_utf8_lossy(value.text()?).into_owned();
    let mut fields = Vec::new();
    for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        if line.starts_with("id=") {
            fields.extend(line.split(' ').filter_map(|word| pair(word, '=')));
        } else {
            fields.extend(pair(line, ':'));
        }
    }
    Some(fields)
}

fn pair(text: &str, separator: char) -> Option<(String, String)> {
    text.split_once(separator).map(|(name, value)| (name.to_owned(), value.to_owned()))
}

fn field<'a>(fields: &'a [(String, String)], name: &str) -> Option<&'a str> {
    fields.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(raw: &[u8]) -> Reply {
        let (value, length) = Value::parse(raw).unwrap().unwrap();
        assert_eq!(length, raw.len());
        Reply { value, raw: raw.to_vec() }
    }

    #[test]
    fn exact_tells_nulls_apart_and_shape_does_not_mix_types() {
        assert!(!agree(&Compare::Exact, &reply(b"$-1\r\n"), &reply(b"*-1\r\n")));
        assert!(!agree(&Compare::Shape, &reply(b":1\r\n"), &reply(b"$1\r\n1\r\n")));
        assert!(agree(&Compare::Shape, &reply(b"*1\r\n:1\r\n"), &reply(b"*1\r\n:9\r\n")));
    }

    #[test]
    fn sets_ignore_order_only() {
        let a = reply(b"*2\r\n:1\r\n:2\r\n");
        assert!(agree(&Compare::Set, &a, &reply(b"*2\r\n:2\r\n:1\r\n")));
        assert!(!agree(&Compare::Set, &a, &reply(b"*2\r\n:2\r\n:2\r\n")));
    }

    #[test]
    fn near_never_takes_a_missing_ttl_for_a_small_one() {
        assert!(agree(&Compare::Near(2), &reply(b":100\r\n"), &reply(b":99\r\n")));
        assert!(!agree(&Compare::Near(2), &reply(b":1\r\n"), &reply(b":-1\r\n")));
    }

    #[test]
    fn fields_of_info_and_of_client_lines() {
        let info = reply(b"$13\r\n# S\r\na:1\r\nb:2\r\n");
        assert!(agree(&Compare::Has(vec!["a".into(), "b".into()]), &info, &info));
        assert!(!agree(&Compare::Has(vec!["c".into()]), &info, &info));
        let a = reply(b"$18\r\nid=1 addr=[::]:1\r\n\r\n");
        let b = reply(b"$18\r\nid=2 addr=[::]:1\r\n\r\n");
        assert!(agree(&Compare::Fields, &a, &b));
        assert!(!agree(&Compare::Values(vec!["id".into()]), &a, &b));
    }
}
