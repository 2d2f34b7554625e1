//! Commands by name: an open-addressed table over the names, packed into words, in capitals.

use super::{COMMANDS, Command, CommandId};

/// Places in the table: a power of two, at most a quarter full, so that nearly every name is at its own place.
const SLOTS: usize = (COMMANDS.len() * 4).next_power_of_two();

/// A name as words that compare at once: its first and its last eight bytes, in capitals.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Packed {
    first: u64,
    /// 0 for names of less than eight bytes.
    last: u64,
    len: usize,
}

/// One place of the table; `len` is 0 where it is empty.
#[derive(Clone, Copy)]
struct Slot {
    name: Packed,
    id: u16,
}

static TABLE: [Slot; SLOTS] = build();

/// `word` with every letter in it a capital.
const fn capitals(word: u64) -> u64 {
    const ONES: u64 = 0x0101_0101_0101_0101;
    // per byte, on its low seven bits: bit 7 of the sum is set from 'a', and from '{', on.
    let low = word & (ONES * 0x7f);
    let from_a = low + ONES * (0x80 - b'a' as u64);
    let beyond_z = low + ONES * (0x80 - (b'z' as u64 + 1));
    let letters = from_a & !beyond_z & !word & (ONES * 0x80);
    word ^ (letters >> 2)
}

#[inline]
const fn pack(name: &[u8]) -> Packed {
    let len = name.len();
    // two loads that overlap, instead of a loop over the bytes.
    let (first, last) = if let (Some(a), Some(b)) = (name.first_chunk(), name.last_chunk()) {
        (u64::from_le_bytes(*a), u64::from_le_bytes(*b))
    } else if let (Some(a), Some(b)) = (name.first_chunk(), name.last_chunk()) {
        let (a, b) = (u32::from_le_bytes(*a) as u64, u32::from_le_bytes(*b) as u64);
        (a | b << (8 * (len - 4)), 0)
    } else if let (Some(a), Some(b)) = (name.first_chunk(), name.last_chunk()) {
        let (a, b) = (u16::from_le_bytes(*a) as u64, u16::from_le_bytes(*b) as u64);
        (a | b << (8 * (len - 2)), 0)
    } else if let [byte] = name {
        (*byte as u64, 0)
    } else {
        (0, 0)
    };
    Packed { first: capitals(first), last: capitals(last), len }
}

impl Packed {
    /// Its place, if that is free.
    const fn home(self) -> usize {
        let mixed = (self.first ^ self.last.rotate_left(29)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (mixed >> (64 - SLOTS.trailing_zeros())) as usize
    }
}

const fn build() -> [Slot; SLOTS] {
    let empty = Packed { first: 0, last: 0, len: 0 };
    let mut table = [Slot { name: empty, id: 0 }; SLOTS];
    let mut i = 0;
    while i < COMMANDS.len() {
        if COMMANDS[i].id as usize != i {
            panic!("a command's number is its place in the table");
        }
        if COMMANDS[i].is_subcommand() {
            i += 1;
            continue;
        }
        let name = pack(COMMANDS[i].name.as_bytes());
        let mut at = name.home();
        while table[at].name.len != 0 {
            at = (at + 1) % SLOTS;
        }
        table[at] = Slot { name, id: i as u16 };
        i += 1;
    }
    table
}

/// All commands, each at the place of its number.
#[must_use]
pub fn all() -> &'static [Command] {
    &COMMANDS
}

/// A command's row.
#[inline]
pub(super) fn by_id(id: CommandId) -> &'static Command {
    &COMMANDS[id as usize]
}

/// The command of this name, in any case; subcommands have none of their own.
#[inline]
#[must_use]
pub fn lookup(name: &[u8]) -> Option<&'static Command> {
    let packed = pack(name);
    let mut at = packed.home();
    loop {
        let slot = &TABLE[at];
        if slot.name == packed {
            let command = &COMMANDS[usize::from(slot.id)];
            // the middle of a long name is not in the words.
            if name.len() <= 16 || command.name.as_bytes().eq_ignore_ascii_case(name) {
                // the empty name is equal to an empty place.
                return (packed.len > 0).then_some(command);
            }
        }
        if slot.name.len == 0 {
            return None;
        }
        at = (at + 1) % SLOTS;
    }
}

/// The command of this full name (`config|get` for a subcommand), in any case.
#[must_use]
pub fn lookup_full(name: &[u8]) -> Option<&'static Command> {
    match name.iter().position(|b| *b == b'|') {
        Some(bar) => lookup(&name[..bar])?.subcommand(&name[bar + 1..]),
        None => lookup(name),
    }
}
