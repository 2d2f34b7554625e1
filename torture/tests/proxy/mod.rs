//! A proxy in front of a server that spoils what the harness is to find.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};

use emberkv_torture::partition::partition;
use emberkv_torture::{Client, Result, Value};

/// Connections to the server for each of a client.
const BACKENDS: usize = 2;

/// The words of a command.
type Command = Vec<Vec<u8>>;

/// Which commands go to which connection in place of one; the answer of the first is the client's.
pub type Route = fn(Command) -> Vec<(usize, Command)>;

/// Nothing is spoiled.
pub fn as_it_is(command: Command) -> Vec<(usize, Command)> {
    vec![(0, command)]
}

/// Each of two partitions has a connection of its own, and nothing keeps the order between them.
pub fn by_partition(command: Command) -> Vec<(usize, Command)> {
    if command[0] == b"SELECT" {
        return (0..BACKENDS).map(|backend| (backend, command.clone())).collect();
    }
    let backend = command.get(1).map_or(0, |key| usize::from(partition(key, 2)));
    vec![(backend, command)]
}

/// MSET is two commands, on two connections.
pub fn msets_in_halves(command: Command) -> Vec<(usize, Command)> {
    if command[0] == b"SELECT" {
        return by_partition(command);
    }
    if command[0] != b"MSET" {
        return as_it_is(command);
    }
    let half = |words: &[Vec<u8>]| [&[b"MSET".to_vec()], words].concat();
    let middle = command.len() / 4 * 2 + 1;
    vec![(0, half(&command[1..middle])), (1, half(&command[middle..]))]
}

/// WATCH is answered, and forgotten.
pub fn without_watches(command: Command) -> Vec<(usize, Command)> {
    if command[0] == b"WATCH" {
        return vec![(0, vec![b"SELECT".to_vec(), b"0".to_vec()])];
    }
    as_it_is(command)
}

/// Listens, and serves until the process ends; the port.
pub fn start(server: u16, route: Route) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            // a client that goes away ends its thread, by whatever error that is.
            std::thread::spawn(move || drop(serve(client, server, route)));
        }
    });
    port
}

fn serve(mut stream: TcpStream, server: u16, route: Route) -> Result<()> {
    let mut backends = (0..BACKENDS).map(|_| Client::connect(server)).collect::<Result<Vec<_>>>()?;
    stream.set_nodelay(true).unwrap();
    let (mut received, mut buffer) = (Vec::new(), vec![0; 1 << 16]);
    while let Ok(length @ 1..) = stream.read(&mut buffer) {
        received.extend_from_slice(&buffer[..length]);
        let (mut answers, mut at) = (Vec::new(), 0);
        while let Some((request, length)) = Value::parse(&received[at..])? {
            at += length;
            let words = request.items().unwrap().iter().map(|word| word.text().unwrap().to_vec());
            let routed = route(words.collect());
            routed.iter().for_each(|(backend, command)| backends[*backend].send(command));
            answers.push(routed.into_iter().map(|(backend, _)| backend).collect::<Vec<_>>());
        }
        received.drain(..at);
        for backend in backends.iter_mut().rev() {
            backend.flush()?;
        }
        for backends_of_one in answers {
            for (number, backend) in backends_of_one.into_iter().enumerate() {
                let reply = backends[backend].read_reply()?;
                if number == 0 && stream.write_all(&reply.raw).is_err() {
                    return Ok(());
                }
            }
        }
    }
    Ok(())
}
