//! What a pipeline of sixteen GETs or SETs costs from received bytes to staged replies and the frame in the
//! file: everything of a turn but the sockets. 1M keys of 16 bytes with values of 64, at random.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use emberkv_engine::{Direct, Limits, Partition, PartitionReader, Request, Stop};
use emberkv_log::disk::real::RealDisk;
use emberkv_log::{DbId, Options, Progress, SyncPolicy, Whose};
use emberkv_resp::schema::resolve;
use emberkv_resp::{Args, Output, Parsed, Parser, Protocol, Reply};

const KEYS: u64 = 1_000_000;
const PIPELINE: usize = 16;

fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

fn options() -> Options {
    let mut random = 1u64;
    Options {
        policy: SyncPolicy::EverySec,
        segment_size: 64 << 20,
        least_segment_size: 64 << 20,
        salvage: false,
        slow_write: None,
        load_threads: 1,
        opens_cold: true,
        follows: None,
        now_ms,
        random: Box::new(move || {
            random = random.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
            random
        }),
    }
}

struct Rig {
    partition: Partition<RealDisk>,
    disk: Arc<RealDisk>,
    parser: Parser,
    output: Output,
    random: u64,
}

impl Rig {
    fn request(&mut self, out: &mut Vec<u8>, set: bool) {
        self.random = self.random.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        let key = (self.random >> 33) % KEYS;
        if set {
            out.extend_from_slice(format!("*3\r\n$3\r\nSET\r\n$16\r\nkey:{key:012}\r\n$64\r\n").as_bytes());
            out.extend_from_slice(&[b'x'; 64]);
            out.extend_from_slice(b"\r\n");
        } else {
            out.extend_from_slice(format!("*2\r\n$3\r\nGET\r\n$16\r\nkey:{key:012}\r\n").as_bytes());
        }
    }

    fn pipelines(&mut self, count: usize, set: bool) -> Vec<Vec<u8>> {
        let mut all = Vec::new();
        for _ in 0..count {
            let mut one = Vec::new();
            (0..PIPELINE).for_each(|_| self.request(&mut one, set));
            all.push(one);
        }
        all
    }

    fn turn(&mut self, buf: &[u8]) {
        let (mut spans, mut ends, mut at) = (Vec::with_capacity(64), [0; PIPELINE], 0);
        for end in &mut ends {
            match self.parser.parse(buf, at, &mut spans, &emberkv_resp::Limits::default()) {
                Ok(Parsed::Command { consumed }) => at += consumed,
                other => panic!("{other:?}"),
            }
            *end = spans.len();
        }
        let mut fingerprints = [None; PIPELINE];
        let mut first = 0;
        for (slot, end) in fingerprints.iter_mut().zip(ends) {
            *slot = Some(self.partition.prefetch_row(DbId(0), spans[first + 1].of(buf)));
            first = end;
        }
        for fingerprint in fingerprints.iter().flatten() {
            self.partition.prefetch_record(*fingerprint);
        }
        first = 0;
        for end in ends {
            let args = Args::new(buf, &spans[first..end]);
            let Ok(command) = resolve(args) else { panic!("no command") };
            let request = Request { id: command.id, db: DbId(0), args, whose: Whose::default() };
            loop {
                let mut reply = Reply::new(&mut self.output, Protocol::Resp2);
                match self.partition.execute(request, &mut reply) {
                    Ok(()) => break,
                    Err(Stop::Wait | Stop::Locked | Stop::Cold(_)) => self.jobs(),
                    Err(Stop::Error(text)) => panic!("{text}"),
                }
            }
            first = end;
        }
        self.output.clear();
        self.partition.log_mut().end_turn();
        self.jobs();
    }

    /// A pipeline of GETs as another core answers it: without the owner.
    fn direct_turn(&mut self, reader: &PartitionReader, buf: &[u8]) {
        let (mut spans, mut ends, mut at) = (Vec::with_capacity(64), [0; PIPELINE], 0);
        for end in &mut ends {
            match self.parser.parse(buf, at, &mut spans, &emberkv_resp::Limits::default()) {
                Ok(Parsed::Command { consumed }) => at += consumed,
                other => panic!("{other:?}"),
            }
            *end = spans.len();
        }
        let guard = crossbeam_epoch::pin();
        let mut fingerprints = [None; PIPELINE];
        let mut first = 0;
        for (slot, end) in fingerprints.iter_mut().zip(ends) {
            *slot = Some(reader.prefetch_row(&guard, DbId(0), spans[first + 1].of(buf)));
            first = end;
        }
        for fingerprint in fingerprints.iter().flatten() {
            reader.prefetch_record(&guard, *fingerprint);
        }
        first = 0;
        let now = now_ms();
        for (fingerprint, end) in fingerprints.iter().flatten().zip(ends) {
            let args = Args::new(buf, &spans[first..end]);
            let Ok(command) = resolve(args) else { panic!("no command") };
            let request = Request { id: command.id, db: DbId(0), args, whose: Whose::default() };
            let mut reply = Reply::new(&mut self.output, Protocol::Resp2);
            assert_ne!(reader.answer(&guard, request, *fingerprint, now, &mut reply), Direct::Ask);
            first = end;
        }
        self.output.clear();
    }

    fn jobs(&mut self) {
        while let Some(job) = self.partition.log_mut().next_job() {
            let result = job.run(self.disk.as_ref());
            self.partition.log_mut().complete(job.kind(), result);
            self.partition.log_mut().end_turn();
        }
    }
}

fn pipeline(c: &mut Criterion) {
    let path = std::env::temp_dir().join(format!("emberkv-bench-{}", std::process::id()));
    let disk = Arc::new(RealDisk::open(&path).unwrap_or_else(|error| panic!("{error}")));
    let opened = emberkv_engine::open(Arc::clone(&disk), options(), Limits::default(), 1, &Progress::default());
    let (mut partitions, _) = opened.unwrap_or_else(|error| panic!("{error}"));
    let mut partition = partitions.remove(0);
    partition.begin_turn(now_ms());
    let mut rig = Rig { partition, disk, parser: Parser::new(), output: Output::new(), random: 7 };
    for buf in rig.pipelines(KEYS as usize / 5, true) {
        rig.turn(&buf);
    }
    let mut group = c.benchmark_group("pipeline of 16");
    group.throughput(Throughput::Elements(PIPELINE as u64));
    for (name, set) in [("get", false), ("set", true)] {
        let pipelines = rig.pipelines(4096, set);
        let mut next = 0;
        group.bench_function(name, |b| {
            b.iter(|| {
                next = (next + 1) % pipelines.len();
                rig.turn(&pipelines[next]);
            });
        });
    }
    let reader = rig.partition.reader();
    let pipelines = rig.pipelines(4096, true);
    let mut next = 0;
    group.bench_function("set, while there are readers", |b| {
        b.iter(|| {
            next = (next + 1) % pipelines.len();
            rig.turn(&pipelines[next]);
            rig.partition.publish();
        });
    });
    let pipelines = rig.pipelines(4096, false);
    group.bench_function("get, another core's", |b| {
        b.iter(|| {
            next = (next + 1) % pipelines.len();
            rig.direct_turn(&reader, &pipelines[next]);
        });
    });
    group.finish();
    drop(rig);
    let _ = std::fs::remove_dir_all(path);
}

criterion_group!(benches, pipeline);
criterion_main!(benches);
