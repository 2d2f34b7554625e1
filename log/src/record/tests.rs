use super::*;
use proptest::prelude::*;

fn encoded(entry: &Entry<'_>) -> Vec<u8> {
    let mut out = vec![0; entry.encoded_len()];
    entry.encode(&mut out);
    out
}

#[test]
fn a_small_string_has_seven_bytes_of_header() {
    let (key, value) = ([b'k'; 16], [b'v'; 64]);
    let entry = Entry::Put { db: DbId(0), key: &key, value: Value::Bytes(&value), expires_at_ms: None };
    assert_eq!(entry.encoded_len(), 7 + 16 + 64);
}

#[test]
fn a_seal_takes_the_space_that_is_kept_for_it() {
    assert_eq!(Entry::Seal { records: u64::MAX, live_bytes: u64::MAX }.encoded_len(), SEAL_BYTES);
}

#[test]
fn only_canonical_integers_are_stored_as_such() {
    for (text, int) in [
        ("0", Some(0)),
        ("-1", Some(-1)),
        ("9223372036854775807", Some(i64::MAX)),
        ("-9223372036854775808", Some(i64::MIN)),
        ("9223372036854775808", None),
        ("-9223372036854775809", None),
        ("99999999999999999999", None),
        ("00", None),
        ("-0", None),
        ("+1", None),
        ("1 ", None),
        ("", None),
        ("-", None),
    ] {
        assert_eq!(canonical_int(text.as_bytes()), int, "{text:?}");
    }
}

#[test]
fn control_records_read_back() {
    for entry in [
        Entry::Floor { db: None },
        Entry::Floor { db: Some(DbId(0)) },
        Entry::Floor { db: Some(DbId(9)) },
        Entry::Freed { sequence: SegmentSequence(77), until: TxId(9) },
        Entry::Seal { records: 5, live_bytes: 4 },
        Entry::Mark { txid: TxId(u64::MAX - 1) },
        Entry::Abort { txid: TxId(1) },
    ] {
        let bytes = encoded(&entry);
        assert_eq!(Record::verify(&bytes).and_then(|record| record.entry()), Some(entry));
    }
}

#[test]
fn a_mark_takes_the_space_that_is_held_for_it() {
    assert_eq!(Entry::Mark { txid: TxId(u64::MAX) }.encoded_len(), MARK_BYTES);
    assert_eq!(Entry::Abort { txid: TxId(0) }.encoded_len(), MARK_BYTES);
}

#[test]
fn a_part_reads_back() {
    for count in [1, 2, 57, 58, 1000] {
        let participants: Vec<_> = (0..count).map(|i| PartitionId(i * 7)).collect();
        let bytes = encoded(&Entry::Part { txid: TxId(1 << 50), participants: &participants, records: 3 });
        let record = Record::verify(&bytes).unwrap();
        let part = record.part().unwrap();
        assert_eq!((record.kind(), part.txid, part.records), (Kind::Part, TxId(1 << 50), 3));
        assert_eq!(part.participants().collect::<Vec<_>>(), participants);
        assert_eq!(record.encoded_len(), bytes.len());
    }
}

fn any_expiry() -> impl Strategy<Value = Option<u64>> {
    proptest::option::of(prop_oneof![0..1u64 << 48, any::<u64>()])
}

proptest! {
    #[test]
    fn a_put_reads_back(db: u8, key: Vec<u8>, value: Vec<u8>, expires_at_ms in any_expiry()) {
        let entry = Entry::Put { db: DbId(db), key: &key, value: Value::Bytes(&value), expires_at_ms };
        let mut bytes = encoded(&entry);
        bytes.extend_from_slice(b"whatever follows");
        let record = Record::verify(&bytes).unwrap();
        prop_assert_eq!(record.entry(), Some(entry));
        prop_assert_eq!(record.encoded_len(), entry.encoded_len());
        for value in [Value::Whole(&value), Value::Root(&value), Value::Chunked(&value)] {
            let entry = Entry::Put { db: DbId(db), key: &key, value, expires_at_ms };
            let bytes = encoded(&entry);
            prop_assert_eq!(Record::verify(&bytes).unwrap().entry(), Some(entry));
        }
    }

    #[test]
    fn the_front_of_a_put_is_what_a_put_begins_with(db: u8, key: Vec<u8>, value: Vec<u8>, ms in any_expiry()) {
        let entry = Entry::Put { db: DbId(db), key: &key, value: Value::Bytes(&value), expires_at_ms: ms };
        let front = put_front(DbId(db), &key, value.len() as u32, ms);
        prop_assert_eq!(&encoded(&entry)[CRC_BYTES..CRC_BYTES + front.len()], front);
    }

    #[test]
    fn an_integer_reads_back(int: i64, shift in 0..64u32) {
        let int = int >> shift;
        let entry = Entry::Put { db: DbId(0), key: b"n", value: Value::Int(int), expires_at_ms: None };
        let bytes = encoded(&entry);
        prop_assert_eq!(Record::verify(&bytes).unwrap().value(), Value::Int(int));
        prop_assert_eq!(canonical_int(int.to_string().as_bytes()), Some(int));
    }

    #[test]
    fn a_flipped_bit_is_noticed(key: Vec<u8>, value: Vec<u8>, bit: prop::sample::Index) {
        let entry = Entry::Put { db: DbId(3), key: &key, value: Value::Bytes(&value), expires_at_ms: Some(1) };
        let mut bytes = encoded(&entry);
        let bit = bit.index(bytes.len() * 8);
        bytes[bit / 8] ^= 1 << (bit % 8);
        prop_assert!(Record::verify(&bytes).is_none());
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes: Vec<u8>) {
        let _ = Record::verify(&bytes);
    }
}
