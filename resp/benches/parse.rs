//! The cost of finding requests (a pipeline of 16 SETs, 16-byte keys), of finding their commands and of replies.
#![allow(missing_docs)]

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use emberkv_resp::{Args, Limits, Output, Parsed, Parser, Protocol, Reply, schema};

const PIPELINE: u64 = 16;

fn pipeline(value_len: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    for i in 0..PIPELINE {
        let value = "v".repeat(value_len);
        let request = format!("*3\r\n$3\r\nSET\r\n$16\r\nkey:{i:012}\r\n${value_len}\r\n{value}\r\n");
        bytes.extend_from_slice(request.as_bytes());
    }
    bytes
}

fn parse(c: &mut Criterion) {
    let mut group = c.benchmark_group("parse");
    group.throughput(Throughput::Elements(PIPELINE));
    let limits = Limits::default();
    for value_len in [64, 1024] {
        let bytes = pipeline(value_len);
        let mut parser = Parser::new();
        let mut spans = Vec::with_capacity(64);
        group.bench_function(format!("set_16_{value_len}"), |b| {
            b.iter(|| {
                spans.clear();
                let bytes = black_box(&bytes[..]);
                let mut from = 0;
                while let Ok(Parsed::Command { consumed }) = parser.parse(bytes, from, &mut spans, &limits) {
                    from += consumed;
                }
                assert_eq!(from, bytes.len());
                black_box(spans.len())
            });
        });
    }
    group.finish();
}

/// What every command costs besides: its name, its keys, its reply.
fn rest(c: &mut Criterion) {
    let mut group = c.benchmark_group("rest");
    for name in ["GET", "set", "incrbyfloat"] {
        group.bench_function(format!("lookup_{name}"), |b| {
            b.iter(|| schema::lookup(black_box(name.as_bytes())));
        });
    }
    let bytes = pipeline(64);
    let mut spans = Vec::new();
    let parsed = Parser::new().parse(&bytes, 0, &mut spans, &Limits::default());
    assert!(matches!(parsed, Ok(Parsed::Command { .. })));
    group.bench_function("resolve_and_keys", |b| {
        b.iter(|| {
            let args = black_box(Args::new(&bytes, &spans));
            let command = schema::resolve(args).ok()?;
            let keys = command.keys(args).ok()?;
            Some((command.id, keys.sum::<usize>()))
        });
    });
    let mut out = Output::new();
    let mut reply_bench = |name: &str, write: fn(&mut Reply<'_>)| {
        group.bench_function(name, |b| {
            b.iter(|| {
                out.clear();
                let mut reply = Reply::new(&mut out, Protocol::Resp2);
                for _ in 0..PIPELINE {
                    write(black_box(&mut reply));
                }
                out.len()
            });
        });
    };
    reply_bench("16_ok", |r| r.ok());
    reply_bench("16_bulk_64", |r| r.bulk(black_box(&[b'x'; 64])));
    reply_bench("16_integer", |r| r.integer(black_box(12345)));
    reply_bench("16_bulk_integer", |r| r.bulk_integer(black_box(1234567890)));
    group.finish();
}

criterion_group!(benches, parse, rest);
criterion_main!(benches);
