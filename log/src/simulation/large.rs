//! Records that are written ahead of the log, and a policy that changes meanwhile.

use super::{grown, open, run_all};
use crate::disk::sim::SimDisk;
use crate::{Appended, DbId, Large, Log, Piece, Refusal, SyncPolicy, Whose};

/// Gets a large record one slice further.
fn step(disk: &SimDisk, log: &mut Log<SimDisk>) -> Result<Appended, Refusal> {
    let value = vec![7; 50_000];
    let pieces = [Piece::Bytes(&value)];
    let whose = Whose { client: 1, request: 1 };
    let large = Large { whose, seen: None, db: DbId(0), key: b"large", expires_at_ms: None, value: &pieces };
    let appended = log.append_large(&large);
    run_all(disk, log);
    appended
}

#[test]
fn what_was_written_ahead_without_a_sync_is_synced_once_the_policy_wants_it() {
    let (disk, mut log) = grown();
    let steps = (0..).take_while(|_| step(&disk, &mut log).is_err()).count();
    let (disk, mut log) = grown();
    for _ in 0..steps {
        assert_eq!(step(&disk, &mut log).unwrap_err(), Refusal::Wait);
    }
    // all of it is in the file, and only has to become the head
    log.set_policy(SyncPolicy::Always);
    run_all(&disk, &mut log);
    while step(&disk, &mut log).is_err() {}
    let promised = log.synced();
    assert_eq!(promised, log.tail());
    let (log, _) = open(&disk.without_unsynced(), 2, SyncPolicy::Always).unwrap();
    assert!(log.tail() >= promised, "{promised:?} was promised, {:?} is left", log.tail());
}
