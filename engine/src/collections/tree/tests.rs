use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

use proptest::prelude::*;

use super::super::elements::{Elements, push_element};
use super::super::list::End;
use super::node::Children;
use super::*;

/// Nodes as records would have them.
#[derive(Default)]
struct Records {
    nodes: BTreeMap<u32, Vec<u8>>,
    root: TreeRoot,
}

impl Source for Records {
    fn look<T>(&mut self, number: u32, show: impl FnOnce(&[u8]) -> T) -> Result<T, Stop> {
        Ok(show(&self.nodes[&number]))
    }

    fn bring(&mut self, mut numbers: impl Iterator<Item = u32>) -> Result<(), Stop> {
        assert!(numbers.all(|number| self.nodes.contains_key(&number)));
        Ok(())
    }
}

impl Records {
    fn draft(&self, is_sorted: bool) -> TreeDraft {
        TreeDraft::new(self.root, is_sorted)
    }

    fn commit(&mut self, draft: TreeDraft) {
        self.root = draft.root;
        for (number, bytes) in draft.changed() {
            match bytes {
                Some(bytes) => drop(self.nodes.insert(number, bytes)),
                None => assert!(self.nodes.remove(&number).is_some(), "what goes was there"),
            }
        }
    }

    /// All elements, and that the tree is what it should be.
    fn check(&self, is_sorted: bool) -> Vec<Vec<u8>> {
        let mut out = Vec::new();
        let mut seen = 0;
        if self.root.count > 0 {
            self.check_below(self.root.top, self.root.height, is_sorted, &mut out, &mut seen);
        }
        assert_eq!(out.len() as u64, self.root.count);
        assert_eq!((seen, self.root.nodes as usize), (self.nodes.len(), self.nodes.len()), "none is left over");
        assert!(self.nodes.keys().all(|number| *number < self.root.next));
        if is_sorted {
            assert!(out.is_sorted());
        }
        out
    }

    fn check_below(&self, number: u32, height: u8, is_sorted: bool, out: &mut Vec<Vec<u8>>, seen: &mut usize) {
        *seen += 1;
        let bytes = &self.nodes[&number];
        if height == 0 {
            let count = Elements::of(bytes).count();
            assert!(count > 0 && (bytes.len() <= MAX_LEAF || count == 1), "a leaf of {} bytes", bytes.len());
            out.extend(Elements::of(bytes).map(<[u8]>::to_vec));
            return;
        }
        let children: Vec<_> = Children::of(bytes, is_sorted).collect();
        assert!(!children.is_empty() && (bytes.len() <= MAX_INNER || children.len() < 4));
        assert!(number != self.root.top || children.len() > 1, "a top with one child");
        for (nth, child) in children.into_iter().enumerate() {
            let begins = out.len();
            self.check_below(child.number, height - 1, is_sorted, out, seen);
            assert_eq!((out.len() - begins) as u64, child.count);
            assert_eq!(child.separator.is_empty(), nth == 0 || !is_sorted);
            if is_sorted && nth > 0 {
                assert!(out[begins - 1].as_slice() < child.separator && child.separator <= out[begins].as_slice());
            }
        }
    }

    fn shown(&mut self, is_sorted: bool, position: u64, count: u64, is_backwards: bool) -> Vec<Vec<u8>> {
        let (root, mut out) = (self.root, Vec::new());
        each(self, root, is_sorted, (position, count), is_backwards, |element| {
            out.push(element.to_vec());
            ControlFlow::Continue(())
        })
        .unwrap();
        out
    }
}

/// Elements of few bytes mostly, and now and then of more than a leaf.
fn element(nth: u16) -> Vec<u8> {
    let len = match nth % 37 {
        0 => 300 + usize::from(nth % 500),
        1..4 => 60 + usize::from(nth % 150),
        _ => usize::from(nth % 9),
    };
    let mut element = format!("{:05}", u32::from(nth) * 7919 % 65536).into_bytes();
    element.resize(5 + len, b'.');
    element
}

#[derive(Clone, Debug)]
enum Step {
    Insert(u64, u16),
    Replace(u64, u16),
    Leaf(bool, Vec<u16>),
    Remove(u64, u64),
    Commit,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (any::<u64>(), any::<u16>()).prop_map(|(at, nth)| Step::Insert(at, nth)),
        2 => (any::<u64>(), any::<u16>()).prop_map(|(at, nth)| Step::Replace(at, nth)),
        4 => (any::<bool>(), proptest::collection::vec(any::<u16>(), 1..12)).prop_map(|(front, list)| Step::Leaf(front, list)),
        3 => (any::<u64>(), 0u64..4).prop_map(|(at, count)| Step::Remove(at, count)),
        1 => (any::<u64>(), 0u64..200).prop_map(|(at, count)| Step::Remove(at, count)),
        4 => Just(Step::Commit),
    ]
}

/// The elements of a leaf that are not too many for one.
fn leaf(list: &[u16]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for nth in list {
        let begins = bytes.len();
        push_element(&mut bytes, &element(*nth));
        if begins > 0 && bytes.len() > MAX_LEAF {
            bytes.truncate(begins);
            break;
        }
    }
    bytes
}

proptest! {
    #[test]
    fn a_tree_is_what_a_list_is(begin in 0u16..3000, steps in proptest::collection::vec(step(), 0..150)) {
        let mut list: Vec<_> = (0..begin).map(element).collect();
        let mut records = Records::default();
        records.commit(TreeDraft::build(list.iter().map(Vec::as_slice), false));
        prop_assert_eq!(&records.check(false), &list);
        let mut draft = records.draft(false);
        for step in steps.into_iter().chain([Step::Commit]) {
            let len = list.len() as u64;
            match step {
                Step::Insert(at, nth) => {
                    let at = at % (len + 1);
                    draft.insert(&mut records, at, &element(nth)).unwrap();
                    list.insert(at as usize, element(nth));
                }
                Step::Replace(at, nth) if len > 0 => {
                    draft.replace(&mut records, at % len, &element(nth)).unwrap();
                    list[(at % len) as usize] = element(nth);
                }
                Step::Replace(..) => {}
                Step::Leaf(front, some) => {
                    let bytes = leaf(&some);
                    draft.insert_leaf(&mut records, if front { End::Front } else { End::Back }, &bytes).unwrap();
                    let at = if front { 0 } else { list.len() };
                    list.splice(at..at, Elements::of(&bytes).map(<[u8]>::to_vec));
                }
                Step::Remove(at, count) => {
                    let (at, mut taken) = (at % (len + 1), Vec::new());
                    let is_wanted = count % 2 == 0;
                    draft.remove(&mut records, at, count, is_wanted.then_some(&mut taken)).unwrap();
                    let end = (at + count).min(len);
                    let gone: Vec<_> = list.drain(at as usize..end as usize).collect();
                    if is_wanted {
                        prop_assert_eq!(Elements::of(&taken).map(<[u8]>::to_vec).collect::<Vec<_>>(), gone);
                    }
                }
                Step::Commit => {
                    records.commit(draft);
                    prop_assert_eq!(&records.check(false), &list);
                    draft = records.draft(false);
                }
            }
            prop_assert_eq!(draft.root.count, list.len() as u64);
        }
        let len = list.len() as u64;
        for (at, count) in [(0, u64::MAX), (len / 2, 3), (len / 3, len / 3), (len, 4), (len.saturating_sub(1), 1)] {
            let end = at.saturating_add(count).min(len);
            prop_assert_eq!(&records.shown(false, at, count, false), &list[at.min(end) as usize..end as usize]);
            if at < len {
                let mut expected = list[(at + 1).saturating_sub(count) as usize..=at as usize].to_vec();
                expected.reverse();
                prop_assert_eq!(records.shown(false, at, count, true), expected);
            }
        }
        for end in [End::Front, End::Back] {
            let root = records.root;
            let count = edge_leaf(&mut records, root, false, end).unwrap();
            prop_assert!(count <= len && (count > 0) == (len > 0));
        }
    }

    #[test]
    fn a_sorted_tree_is_what_a_set_is(
        begin in 0u16..3000, steps in proptest::collection::vec((0u8..10, any::<u16>(), 0u64..150), 0..150),
    ) {
        let mut set: BTreeSet<_> = (0..begin).map(|nth| element(nth.wrapping_mul(3))).collect();
        let mut records = Records::default();
        records.commit(TreeDraft::build(set.iter().map(Vec::as_slice), true));
        for (kind, nth, count) in steps {
            let mut draft = records.draft(true);
            let element = element(nth);
            let root = draft.root;
            let (position, is_there) = position_of(&mut records, root, &element).unwrap();
            prop_assert_eq!(position, set.range(..element.clone()).count() as u64);
            prop_assert_eq!(is_there, set.contains(&element));
            match kind {
                0..6 => {
                    if set.insert(element.clone()) {
                        draft.insert(&mut records, position, &element).unwrap();
                    }
                }
                6..9 => {
                    if set.remove(&element) {
                        draft.remove(&mut records, position, 1, None).unwrap();
                    }
                }
                _ => {
                    let gone: Vec<_> = set.iter().skip(position as usize).take(count as usize).cloned().collect();
                    set.retain(|element| !gone.contains(element));
                    draft.remove(&mut records, position, count, None).unwrap();
                }
            }
            records.commit(draft);
            prop_assert_eq!(records.check(true), set.iter().cloned().collect::<Vec<_>>());
        }
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..60), is_sorted: bool, height in 0u8..3) {
        struct Same(Vec<u8>);
        impl Source for Same {
            fn look<T>(&mut self, _: u32, show: impl FnOnce(&[u8]) -> T) -> Result<T, Stop> {
                Ok(show(&self.0))
            }
            fn bring(&mut self, _: impl Iterator<Item = u32>) -> Result<(), Stop> {
                Ok(())
            }
        }
        let mut same = Same(bytes);
        let root = TreeRoot { count: 3, top: 0, height, nodes: 4, next: 5 };
        each(&mut same, root, is_sorted, (0, 3), false, |_| ControlFlow::Continue(())).unwrap();
        position_of(&mut same, root, b"x").unwrap();
        edge_leaf(&mut same, root, is_sorted, End::Front).unwrap();
        let _ = TreeRoot::take(&mut &same.0[..]);
    }
}

#[test]
fn few_nodes_are_changed_however_many_there_are() {
    let list: Vec<_> = (0..400_000u32).map(|nth| nth.to_be_bytes().repeat(3)).collect();
    let mut records = Records::default();
    records.commit(TreeDraft::build(list.iter().map(Vec::as_slice), true));
    assert!(records.root.height <= 4, "{:?}", records.root);
    let mut draft = records.draft(true);
    let root = draft.root;
    let (position, _) = position_of(&mut records, root, b"\x00\x02").unwrap();
    assert_eq!(position, 0x20000);
    draft.insert(&mut records, position, b"\x00\x02").unwrap();
    assert!(draft.nodes.len() <= usize::from(root.height) + 2);
}

#[test]
fn a_root_is_read_as_it_was_written() {
    let root = TreeRoot { count: 1 << 40, top: 77, height: 5, nodes: 9, next: u32::MAX };
    let mut bytes = Vec::new();
    root.push(&mut bytes);
    assert_eq!(TreeRoot::take(&mut &bytes[..]), Some(root));
}
