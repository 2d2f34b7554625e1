//! Claims about connections and listeners.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use emberkv_resp::Output;
use socket2::SockRef;

use super::super::{ConnId, Driver, Event, ListenerId, Settings, Wait};
use super::Make;
use super::harness::{LISTENER, Server, pattern, wait_ms};

fn output(bytes: &[u8]) -> Output {
    let mut output = Output::default();
    output.push(bytes);
    output
}

/// Runs `client` on a thread of its own and the server until it has returned.
fn serve<D: Driver, T: Send + 'static>(server: &mut Server<D>, client: impl FnOnce() -> T + Send + 'static) -> T {
    let (done, result) = mpsc::channel();
    let client = thread::spawn(move || done.send(client()).unwrap());
    let mut returned = None;
    server.run_until(|_| {
        returned = returned.take().or_else(|| result.try_recv().ok());
        returned.is_some() || client.is_finished()
    });
    client.join().unwrap();
    returned.unwrap_or_else(|| result.recv().unwrap())
}

/// Sends `model` and expects it back.
fn expect_echo(stream: TcpStream, model: Vec<u8>) {
    let mut sender = stream.try_clone().unwrap();
    let expected = model.clone();
    let sending = thread::spawn(move || sender.write_all(&model).unwrap());
    let mut stream = stream;
    let mut back = vec![0; expected.len()];
    stream.read_exact(&mut back).unwrap();
    assert!(back == expected);
    sending.join().unwrap();
}

pub(super) fn echoes_small_and_large_data_both_ways<D: Driver>(make: Make<D>) {
    let (mut server, _, client) = Server::connected(make(Settings::default()).unwrap());
    serve(&mut server, move || {
        for len in [1, 2, 100, 16_383, 16_384, 16_385] {
            expect_echo(client.try_clone().unwrap(), pattern(len, len as u64));
        }
        expect_echo(client, pattern(20_000_000, 7));
    });
    server.run_until(|s| s.closed.len() == 1);
}

pub(super) fn echoes_over_unix_sockets<D: Driver>(make: Make<D>) {
    let mut server = Server::new(make(Settings::default()).unwrap());
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    server.attach(ConnId(5), ours.into());
    serve(&mut server, move || {
        let model = pattern(10_000, 3);
        theirs.write_all(&model).unwrap();
        let mut back = vec![0; model.len()];
        theirs.read_exact(&mut back).unwrap();
        assert!(back == model);
    });
    server.run_until(|s| s.closed == [ConnId(5)]);
}

pub(super) fn gathers_events<D: Driver>(make: Make<D>) {
    let (mut server, _, client) = Server::connected(make(Settings::default()).unwrap());
    server.wait =
        Wait { timeout: Duration::from_millis(20), gather_time: Duration::from_micros(200), gather_events: 32 };
    serve(&mut server, move || {
        for _ in 0..100 {
            expect_echo(client.try_clone().unwrap(), pattern(50, 1));
        }
    });
}

pub(super) fn serves_many_connections<D: Driver>(make: Make<D>) {
    let mut server = Server::new(make(Settings::default()).unwrap());
    let addr = server.listen(LISTENER);
    serve(&mut server, move || {
        let connect = |_| TcpStream::connect(addr).unwrap();
        let mut clients: Vec<TcpStream> = (0..200).map(connect).collect();
        for round in 0..20 {
            for (i, client) in clients.iter_mut().enumerate() {
                client.write_all(&pattern(64, round * 1000 + i as u64)).unwrap();
            }
            for (i, client) in clients.iter_mut().enumerate() {
                let mut back = [0; 64];
                client.read_exact(&mut back).unwrap();
                assert_eq!(back[..], pattern(64, round * 1000 + i as u64));
            }
        }
    });
    server.run_until(|s| s.closed.len() == 200);
    assert_eq!(server.accepted.len(), 200);
}

pub(super) fn takes_more_connections_than_a_ring_has_entries<D: Driver>(make: Make<D>) {
    let mut server = Server::new(make(Settings::default()).unwrap());
    server.hang_up = false;
    let mut clients = Vec::new();
    for id in 0..1500 {
        let (ours, theirs) = UnixStream::pair().unwrap();
        server.attach(ConnId(id), ours.into());
        clients.push(theirs);
    }
    for client in &mut clients {
        client.write_all(b"hello").unwrap();
    }
    server.run_until(|s| s.clients.values().all(|c| c.sent_count == 1));
    for client in &mut clients {
        let mut back = [0; 5];
        client.read_exact(&mut back).unwrap();
        assert_eq!(&back, b"hello");
    }
    for id in 0..1500 {
        server.close(ConnId(id));
    }
    server.run_until(|s| s.closed.len() == 1500);
}

pub(super) fn sends_what_is_left_after_a_half_close<D: Driver>(make: Make<D>) {
    let (mut server, id, mut client) = Server::connected(make(Settings::default()).unwrap());
    server.echo = false;
    server.hang_up = false;
    client.write_all(b"question").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    server.run_until(|s| s.clients[&id].eof);
    assert_eq!(server.clients[&id].received, b"question");
    let answer = pattern(5_000_000, 11);
    server.send(id, output(&answer));
    server.hang_up = true;
    serve(&mut server, move || {
        let mut back = Vec::new();
        client.read_to_end(&mut back).unwrap();
        assert!(back == answer);
    });
    // the client may have seen the end before the driver has
    server.run_until(|s| !s.closed.is_empty());
    assert_eq!(server.closed, [id]);
}

pub(super) fn reports_a_reset_once<D: Driver>(make: Make<D>) {
    let (mut server, id, client) = Server::connected(make(Settings::default()).unwrap());
    server.hang_up = false;
    SockRef::from(&client).set_linger(Some(Duration::ZERO)).unwrap();
    drop(client);
    server.run_until(|s| s.clients[&id].failed);
    // an output of a failed connection comes back at once, unsent.
    server.send(id, output(b"too late"));
    server.run_until(|s| s.clients[&id].sent_count == 1);
    server.run_until_quiet();
    server.close(id);
    server.run_until(|s| s.closed == [id]);
}

pub(super) fn reports_a_failed_send_once_and_returns_the_output<D: Driver>(make: Make<D>) {
    let (mut server, id, client) = Server::connected(make(Settings::default()).unwrap());
    server.hang_up = false;
    server.send(id, output(&pattern(50_000_000, 2)));
    server.run_until_quiet();
    assert_eq!(server.clients[&id].sent_count, 0);
    SockRef::from(&client).set_linger(Some(Duration::ZERO)).unwrap();
    drop(client);
    server.run_until(|s| s.clients[&id].failed && s.clients[&id].sent_count == 1);
    server.run_until_quiet();
    server.close(id);
    server.run_until(|s| s.closed == [id]);
}

pub(super) fn outlasts_a_slow_reader_and_serves_others_meanwhile<D: Driver>(make: Make<D>) {
    let (mut server, id, mut slow) = Server::connected(make(Settings::default()).unwrap());
    let model = pattern(50_000_000, 13);
    server.send(id, output(&model));
    server.run_until_quiet();
    let addr = slow.peer_addr().unwrap();
    serve(&mut server, move || {
        expect_echo(TcpStream::connect(addr).unwrap(), pattern(1000, 4));
    });
    assert_eq!(server.clients[&id].sent_count, 0);
    serve(&mut server, move || {
        let mut back = vec![0; model.len()];
        slow.read_exact(&mut back).unwrap();
        assert!(back == model);
        slow
    });
    server.run_until(|s| s.closed.contains(&id));
}

pub(super) fn closes_once_while_sending<D: Driver>(make: Make<D>) {
    let (mut server, id, client) = Server::connected(make(Settings::default()).unwrap());
    for polls in 0..3 {
        let id = ConnId(id.0 + 10 + polls);
        let (ours, theirs) = UnixStream::pair().unwrap();
        server.attach(id, ours.into());
        let mut rope = output(&pattern(5_000_000, 3));
        rope.push_shared(Bytes::from(pattern(5_000_000, 4)));
        server.send(id, rope);
        for _ in 0..polls {
            server.turn();
        }
        server.close(id);
        server.driver.close(id);
        server.run_until(|s| s.closed.contains(&id));
        server.run_until_quiet();
        drop(theirs);
    }
    server.send(id, output(&pattern(50_000_000, 3)));
    server.run_until_quiet();
    server.close(id);
    server.run_until(|s| s.closed.contains(&id));
    server.run_until_quiet();
    assert_eq!(server.closed.len(), 4);
    drop(client);
}

pub(super) fn closes_once_while_receiving<D: Driver>(make: Make<D>) {
    let mut server = Server::new(make(Settings::default()).unwrap());
    server.echo = false;
    for round in 0..20 {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let id = ConnId(round);
        server.attach(id, ours.into());
        let flood = thread::spawn(move || {
            let data = vec![7; 100_000];
            while theirs.write_all(&data).is_ok() {}
        });
        server.run_until(|s| s.clients[&id].received.len() > 1_000_000);
        server.close(id);
        server.run_until(|s| s.closed.last() == Some(&id));
        flood.join().unwrap();
    }
    server.run_until_quiet();
    assert_eq!(server.closed.len(), 20);
}

pub(super) fn closes_once_when_nothing_is_under_way<D: Driver>(make: Make<D>) {
    let (mut server, id, client) = Server::connected(make(Settings::default()).unwrap());
    server.driver.pause(id);
    server.run_until_quiet();
    server.close(id);
    server.run_until(|s| s.closed == [id]);
    server.run_until_quiet();
    assert_eq!(server.closed, [id]);
    drop(client);
}

pub(super) fn uses_a_place_again_after_it_closed<D: Driver>(make: Make<D>) {
    let mut server = Server::new(make(Settings::default()).unwrap());
    for round in 0..50 {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let id = ConnId(0);
        server.attach(id, ours.into());
        let model = pattern(100, round);
        theirs.write_all(&model).unwrap();
        server.run_until(|s| s.clients[&id].sent_count == 1);
        let mut back = vec![0; model.len()];
        theirs.read_exact(&mut back).unwrap();
        assert!(back == model);
        if round % 2 == 0 {
            server.close(id);
        } else {
            drop(theirs);
        }
        server.run_until(|s| s.closed.len() as u64 == round + 1);
    }
}

pub(super) fn pause_stops_delivery_and_resume_restarts_it<D: Driver>(make: Make<D>) {
    let (mut server, id, mut client) = Server::connected(make(Settings::default()).unwrap());
    server.echo = false;
    server.hang_up = false;
    let model = pattern(20_000_000, 17);
    let data = model.clone();
    let sending = thread::spawn(move || client.write_all(&data).unwrap());
    for stop_at in [100_000, 5_000_000] {
        server.run_until(|s| s.clients[&id].received.len() >= stop_at);
        server.driver.pause(id);
        server.run_until_quiet();
        let so_far = server.clients[&id].received.len();
        assert!(so_far < model.len());
        for _ in 0..10 {
            server.turn();
        }
        assert_eq!(server.clients[&id].received.len(), so_far);
        server.driver.resume(id);
    }
    server.run_until(|s| s.clients[&id].eof);
    assert!(server.clients[&id].received == model);
    sending.join().unwrap();
}

pub(super) fn pause_and_resume_at_once_lose_nothing<D: Driver>(make: Make<D>) {
    let (mut server, id, mut client) = Server::connected(make(Settings::default()).unwrap());
    server.echo = false;
    server.hang_up = false;
    let model = pattern(10_000_000, 19);
    let data = model.clone();
    let sending = thread::spawn(move || client.write_all(&data).unwrap());
    let mut turn = 0;
    while !server.clients[&id].eof {
        server.driver.pause(id);
        if turn % 3 == 0 {
            server.turn();
        }
        server.driver.resume(id);
        server.driver.resume(id);
        server.turn();
        turn += 1;
    }
    assert!(server.clients[&id].received == model);
    sending.join().unwrap();
}

pub(super) fn sends_ropes_in_order<D: Driver>(make: Make<D>) {
    let (mut server, id, mut client) = Server::connected(make(Settings::default()).unwrap());
    let mut model = Vec::new();
    for round in 0..3u64 {
        let mut rope = Output::default();
        for piece in 0..3000u64 {
            let seed = round * 10_000 + piece;
            rope.push(&pattern((seed % 40) as usize, seed));
            let shared = pattern((seed * 7 % 3000) as usize, seed + 1);
            rope.push_shared(Bytes::from(shared));
        }
        rope.push_shared(Bytes::from(pattern(3_000_000, round)));
        rope.push(b"end");
        model.extend_from_slice(&rope.to_vec());
        server.send(id, rope);
    }
    serve(&mut server, move || {
        let mut back = vec![0; model.len()];
        client.read_exact(&mut back).unwrap();
        assert!(back == model);
    });
}

pub(super) fn sends_an_empty_output<D: Driver>(make: Make<D>) {
    let mut driver = make(Settings::default()).unwrap();
    let (ours, _theirs) = UnixStream::pair().unwrap();
    driver.attach(ConnId(0), ours.into()).unwrap();
    driver.send(ConnId(0), Output::default());
    let mut events = Vec::new();
    driver.poll(wait_ms(60_000), &mut events).unwrap();
    assert!(matches!(&events[..], [Event::Sent(ConnId(0), output)] if output.is_empty()));
}

pub(super) fn accepts_on_two_listeners_until_unlistened<D: Driver>(make: Make<D>) {
    let mut server = Server::new(make(Settings::default()).unwrap());
    let (one, two) = (ListenerId(0), ListenerId(200));
    let (first, second) = (server.listen(one), server.listen(two));
    for (listener, addr) in [(one, first), (two, second), (one, first)] {
        let client = TcpStream::connect(addr).unwrap();
        let count = server.accepted.len();
        server.run_until(|s| s.accepted.len() > count);
        assert_eq!(server.accepted[count].0, listener);
        drop(client);
    }
    server.driver.unlisten(one);
    server.run_until_quiet();
    assert_eq!(TcpStream::connect(first).unwrap_err().kind(), ErrorKind::ConnectionRefused);
    serve(&mut server, move || {
        expect_echo(TcpStream::connect(second).unwrap(), pattern(100, 1));
    });
}

pub(super) fn listens_again_under_the_same_name_at_once<D: Driver>(make: Make<D>) {
    let mut server = Server::new(make(Settings::default()).unwrap());
    let mut last = None;
    for _ in 0..5 {
        server.driver.unlisten(LISTENER);
        last = Some(server.listen(LISTENER));
        server.turn();
    }
    serve(&mut server, move || {
        expect_echo(TcpStream::connect(last.unwrap()).unwrap(), pattern(100, 1));
    });
}

pub(super) fn recovers_from_having_no_buffers<D: Driver>(make: Make<D>) {
    let mut driver = make(Settings { buffers: 4, buffer_len_bytes: 1000 }).unwrap();
    let mut clients = Vec::new();
    let mut models = Vec::new();
    for i in 0..64 {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        models.push(pattern(5000 + i as usize, i));
        theirs.write_all(&models[i as usize]).unwrap();
        driver.attach(ConnId(i as u32), ours.into()).unwrap();
        clients.push(theirs);
    }
    let mut received = vec![Vec::new(); 64];
    let mut events = Vec::new();
    let mut rounds = 0;
    while received != models {
        assert!(rounds < 100_000, "hangs");
        rounds += 1;
        // keep what arrives until nothing more can.
        let mut held = 0;
        loop {
            let before = events.len();
            driver.poll(wait_ms(0), &mut events).unwrap();
            held += events.len() - before;
            assert!(held <= 4, "more buffers than there are");
            if events.len() == before {
                break;
            }
        }
        for event in events.drain(..) {
            let Event::Received(id, buffer) = event else { panic!("{event:?}") };
            received[id.0 as usize].extend_from_slice(driver.bytes(&buffer));
            driver.recycle(buffer);
        }
    }
}

pub(super) fn wakes_from_another_thread<D: Driver>(make: Make<D>) {
    let mut server = Server::new(make(Settings::default()).unwrap());
    let waker = server.driver.waker();
    // before the first poll, and several at once.
    waker.wake();
    waker.wake();
    server.run_until(|s| s.woken >= 1);
    server.run_until_quiet();
    for _ in 0..10 {
        let before = server.woken;
        server.wait = wait_ms(60_000);
        let waker = waker.clone();
        let waking = thread::spawn(move || {
            thread::sleep(Duration::from_millis(5));
            waker.wake();
        });
        server.run_until(|s| s.woken == before + 1);
        waking.join().unwrap();
    }
    server.wait = wait_ms(5);
    let before = server.woken;
    server.run_until_quiet();
    assert_eq!(server.woken, before);
}

pub(super) fn one_driver_wakes_another<D: Driver + 'static>(make: Make<D>) {
    let (send_waker, wakers) = mpsc::channel();
    let (send_woken, woken) = mpsc::channel();
    let sleeper = thread::spawn(move || {
        let mut driver = make(Settings::default()).unwrap();
        send_waker.send(driver.waker()).unwrap();
        let mut events = Vec::new();
        for _ in 0..10 {
            while events.is_empty() {
                driver.poll(wait_ms(60_000), &mut events).unwrap();
            }
            assert!(events.drain(..).all(|event| matches!(event, Event::Woken)));
            send_woken.send(()).unwrap();
        }
    });
    let waker = wakers.recv().unwrap();
    let mut driver = make(Settings::default()).unwrap();
    let mut events = Vec::new();
    for _ in 0..10 {
        driver.wake(&waker);
        driver.poll(wait_ms(0), &mut events).unwrap();
        woken.recv().unwrap();
    }
    sleeper.join().unwrap();
    // one that is gone is woken in vain
    driver.wake(&waker);
    for _ in 0..3 {
        driver.poll(wait_ms(1), &mut events).unwrap();
    }
    assert!(events.is_empty(), "{events:?}");
}

pub(super) fn returns_without_events_after_the_timeout<D: Driver>(make: Make<D>) {
    let mut driver = make(Settings::default()).unwrap();
    let mut events = Vec::new();
    for timeout_us in [0, 1, 50, 999, 1000, 20_000] {
        let timeout = Duration::from_micros(timeout_us);
        for gather_time in [Duration::ZERO, Duration::from_micros(50)] {
            let wait = Wait { timeout, gather_time, gather_events: 32 };
            driver.poll(wait, &mut events).unwrap();
            assert!(events.is_empty());
        }
    }
    // the longest time there is, ended by a wake.
    driver.waker().wake();
    let wait = Wait { timeout: Duration::MAX, ..wait_ms(0) };
    driver.poll(wait, &mut events).unwrap();
    assert!(matches!(events[..], [Event::Woken]));
}

pub(super) fn drops_while_busy<D: Driver>(make: Make<D>) {
    for turns in 0..4 {
        let (mut server, id, mut client) = Server::connected(make(Settings::default()).unwrap());
        let mut rope = output(&pattern(10_000_000, 3));
        rope.push_shared(Bytes::from(pattern(1_000_000, 4)));
        server.send(id, rope);
        let stop = Arc::new(AtomicBool::new(false));
        let flooding = Arc::clone(&stop);
        let mut sender = client.try_clone().unwrap();
        let flood =
            thread::spawn(move || while !flooding.load(Ordering::Relaxed) && sender.write_all(&[1; 10_000]).is_ok() {});
        for _ in 0..turns {
            server.turn();
        }
        server.driver.waker().wake();
        let Server { driver, .. } = server;
        drop(driver);
        stop.store(true, Ordering::Relaxed);
        let mut rest = Vec::new();
        let _ = client.read_to_end(&mut rest);
        assert!(rest.len() < 11_000_000);
        drop(client);
        flood.join().unwrap();
    }
}
