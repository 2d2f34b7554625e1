//! `tls-port`: with certificates that are made here, by clients of ours and of others.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod common;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use common::{PATIENCE, binary, dir, drivers, eventually, is_ember, must, refused, run, spec, text};
use emberkv_torture::{Client, Server, TempDir, Value, peers};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};

/// An authority and what it has signed, in files of a folder.
struct Authority {
    folder: TempDir,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let folder = dir("tls-files");
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "an authority");
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        std::fs::write(folder.path().join("ca.crt"), certificate.pem()).unwrap();
        let authority = Self { folder, issuer: Issuer::new(params, key) };
        authority.sign("server");
        authority
    }

    /// Makes `NAME.crt` and `NAME.key`, for localhost and this common name.
    fn sign(&self, name: &str) {
        self.sign_key(name, KeyPair::generate().unwrap());
    }

    fn sign_key(&self, name: &str, key: KeyPair) {
        let mut params = CertificateParams::new(vec!["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
        params.distinguished_name.push(DnType::OrganizationName, "an organisation");
        params.distinguished_name.push(DnType::CommonName, name);
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        std::fs::write(self.folder.path().join(format!("{name}.crt")), certificate.pem()).unwrap();
        std::fs::write(self.folder.path().join(format!("{name}.key")), key.serialize_pem()).unwrap();
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn path(&self, name: &str) -> String {
        self.file(name).to_str().unwrap().to_owned()
    }

    /// A client that trusts this authority, and shows the certificate of this name.
    fn client(&self, shows: Option<&str>) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(self.file("ca.crt")).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let builder = builder.with_root_certificates(roots);
        Arc::new(match shows {
            None => builder.with_no_client_auth(),
            Some(name) => {
                let chain = vec![CertificateDer::from_pem_file(self.file(&format!("{name}.crt"))).unwrap()];
                let key = PrivateKeyDer::from_pem_file(self.file(&format!("{name}.key"))).unwrap();
                builder.with_client_auth_cert(chain, key).unwrap()
            }
        })
    }
}

/// A server with TLS, and its port for that.
struct Secure {
    server: Server,
    port: u16,
    _dir: TempDir,
}

fn free_port() -> u16 {
    TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port()
}

impl Secure {
    fn start(authority: &Authority, io: &str, more: &[&str]) -> Self {
        let (port, dir) = (free_port(), dir("tls"));
        let (port_text, certificate, key) =
            (port.to_string(), authority.path("server.crt"), authority.path("server.key"));
        let words = ["--io", io, "--tls-port", &port_text, "--tls-cert-file", &certificate, "--tls-key-file", &key];
        let words = [&["--cores", "2", "--bind", "127.0.0.1"][..], &words, more].concat();
        let server = Server::start(&spec(dir.path(), &words)).unwrap();
        Self { server, port, _dir: dir }
    }

    fn connect(&self, config: &Arc<ClientConfig>) -> emberkv_torture::Result<Client> {
        let mut client = Client::connect_tls(self.port, Arc::clone(config), "localhost")?;
        client.set_timeout(PATIENCE)?;
        Ok(client)
    }

    /// A client that is let in.
    fn client(&self, authority: &Authority) -> Client {
        let mut client = self.connect(&authority.client(None)).unwrap();
        assert_eq!(text(&client.ask("PING").unwrap()), "PONG");
        client
    }
}

/// A reply, or the error that the connection ended with.
fn answer(client: emberkv_torture::Result<Client>, words: &str) -> Result<Value, String> {
    client.and_then(|mut client| client.ask(words)).map_err(|error| error.to_string())
}

#[test]
fn it_is_the_same_server_behind() {
    if !is_ember() {
        return;
    }
    let authority = Authority::new();
    for io in drivers() {
        let secure = Secure::start(&authority, io, &["--tls-auth-clients", "no"]);
        // connections of both cores
        let mut clients: Vec<Client> = (0..4).map(|_| secure.client(&authority)).collect();
        let mut plain = secure.server.connect().unwrap();
        for (i, client) in clients.iter_mut().enumerate() {
            must(client, &format!("SET k{i} v{i}"));
            assert_eq!(text(&plain.ask(&format!("GET k{i}")).unwrap()), format!("v{i}"));
            assert!(text(&client.ask("CLIENT INFO").unwrap()).contains("addr=127.0.0.1:"));
        }
        // pipelines, over records' ends
        for client in &mut clients {
            for i in 0..5_000 {
                client.send(&["SET", &format!("p{i}"), &format!("{i}")]);
                client.send(&["GET", &format!("p{i}")]);
            }
            client.flush().unwrap();
            for i in 0..5_000 {
                assert!(client.read().unwrap().is_ok());
                assert_eq!(text(&client.read().unwrap()), i.to_string());
            }
        }
        // large values, which leave in pieces
        let large: Vec<u8> = (0..20 << 20).map(|i: u32| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        assert!(clients[0].command(&[b"SET", &b"large"[..], &large]).unwrap().is_ok());
        for client in &mut clients {
            client.send(&["GET", "large"]);
            client.send(&["PING"]);
            assert!(client.read().unwrap() == Value::Bulk(large.clone()));
            assert_eq!(text(&client.read().unwrap()), "PONG");
        }
        // messages, to who only listens
        let mut listener = secure.client(&authority);
        must(&mut listener, "SUBSCRIBE news");
        for i in 0..100 {
            must(&mut clients[i % 4], &format!("PUBLISH news {i}"));
        }
        for i in 0..100 {
            assert_eq!(text(&listener.read().unwrap().items().unwrap()[2]), i.to_string());
        }
        // what it is told at the end, it is told before the end
        let mut last = secure.client(&authority);
        last.send(&["GET", "k1"]);
        last.send(&["QUIT"]);
        assert_eq!(last.read_to_close().unwrap(), b"$2\r\nv1\r\n+OK\r\n");
        // and a client may say that nothing follows, and still get its replies
        let mut last = secure.client(&authority);
        last.send(&["GET", "k1"]);
        last.flush().unwrap();
        last.close_sending().unwrap();
        assert_eq!(last.read_to_close().unwrap(), b"$2\r\nv1\r\n");
        assert!(text(&plain.ask("INFO server").unwrap()).contains(&format!("tcp_port:{}", secure.server.port())));
    }
}

#[test]
fn a_slow_reader_is_bounded_and_others_are_served() {
    if !is_ember() {
        return;
    }
    let authority = Authority::new();
    for io in drivers() {
        let limits = ["--tls-auth-clients", "no", "--client-output-buffer-limit", "normal 64mb 0 0"];
        let secure = Secure::start(&authority, io, &limits);
        let mut client = secure.client(&authority);
        assert!(client.command(&[b"SET", &b"large"[..], &vec![b'x'; 8 << 20]]).unwrap().is_ok());
        let mut slow = secure.client(&authority);
        for _ in 0..6 {
            slow.send(&["GET", "large"]);
        }
        slow.flush().unwrap();
        for _ in 0..1000 {
            must(&mut client, "PING");
        }
        for _ in 0..6 {
            assert_eq!(slow.read().unwrap().text().unwrap().len(), 8 << 20);
        }
        // who never reads and listens to much is closed
        let mut plain = secure.server.connect().unwrap();
        let set = ["CONFIG", "SET", "client-output-buffer-limit", "pubsub 1mb 0 0"];
        assert!(plain.command(&set).unwrap().is_ok());
        let mut deaf = secure.client(&authority);
        must(&mut deaf, "SUBSCRIBE news");
        let message = "x".repeat(100_000);
        eventually("it is closed", || {
            must(&mut plain, &format!("PUBLISH news {message}"));
            !text(&plain.ask("CLIENT LIST").unwrap()).contains("sub=1")
        });
    }
}

#[test]
fn who_shows_no_good_certificate_is_not_let_in() {
    if !is_ember() {
        return;
    }
    let (authority, stranger) = (Authority::new(), Authority::new());
    authority.sign("alice");
    stranger.sign("alice");
    let ca = authority.path("ca.crt");
    // a stranger's certificate, shown to who trusts the right authority
    let impostor = {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(authority.file("ca.crt")).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let chain = vec![CertificateDer::from_pem_file(stranger.file("alice.crt")).unwrap()];
        let key = PrivateKeyDer::from_pem_file(stranger.file("alice.key")).unwrap();
        let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        Arc::new(builder.with_root_certificates(roots).with_client_auth_cert(chain, key).unwrap())
    };
    for io in drivers() {
        let secure = Secure::start(&authority, io, &["--tls-ca-cert-file", &ca]);
        assert!(answer(secure.connect(&authority.client(None)), "PING").is_err(), "a certificate is asked for");
        assert!(answer(secure.connect(&impostor), "PING").is_err());
        assert_eq!(text(&answer(secure.connect(&authority.client(Some("alice"))), "PING").unwrap()), "PONG");
        assert!(secure.connect(&stranger.client(None)).is_err(), "the client does not trust the server");
        // plain requests are no handshake
        let mut plain = TcpStream::connect(("127.0.0.1", secure.port)).unwrap();
        plain.set_read_timeout(Some(PATIENCE)).unwrap();
        plain.write_all(b"PING\r\nPING\r\n*1\r\n$4\r\nPING\r\n").unwrap();
        let mut said = Vec::new();
        let _ = plain.read_to_end(&mut said);
        assert!(!said.windows(4).any(|bytes| bytes == b"PONG"), "{said:?}");
        let mut admin = secure.server.connect().unwrap();
        must(&mut admin, "CONFIG SET tls-auth-clients optional");
        assert_eq!(text(&answer(secure.connect(&authority.client(None)), "PING").unwrap()), "PONG");
        assert!(answer(secure.connect(&impostor), "PING").is_err());
        must(&mut admin, "CONFIG SET tls-auth-clients no");
        assert_eq!(text(&answer(secure.connect(&impostor), "PING").unwrap()), "PONG", "it is not looked at");
    }
    let dir = dir("tls-wrong");
    let with = |words: &[&str]| refused(&spec(dir.path(), words));
    let (certificate, key) = (authority.path("server.crt"), authority.path("server.key"));
    assert!(with(&["--tls-port", "1"]).contains("tls-cert-file"));
    let both = ["--tls-port", "1", "--tls-cert-file", &certificate, "--tls-key-file", &key];
    assert!(with(&both).contains("tls-ca-cert-file"));
    assert!(
        with(&[&both[..3], &[&key, "--tls-key-file", &key, "--tls-auth-clients", "no"]].concat())
            .contains("no certificate")
    );
    let other = authority.path("alice.key");
    assert!(with(&[&both[..5], &[&other, "--tls-auth-clients", "no"]].concat()).contains("tls:"));
}

/// An encrypted key that openssl has written, and what it is encrypted with.
const SEALED_KEY: &str = include_str!("fixtures/sealed.key");
const SEALED_WITH: &str = "a pass phrase";
/// The same key as it was.
const OPEN_KEY: &str = include_str!("fixtures/open.key");

#[test]
fn a_key_may_be_encrypted() {
    if !is_ember() {
        return;
    }
    let authority = Authority::new();
    authority.sign_key("server", KeyPair::from_pem(OPEN_KEY).unwrap());
    let dir = dir("tls-sealed");
    let (certificate, key) = (authority.path("server.crt"), authority.path("server.key"));
    std::fs::write(&key, SEALED_KEY).unwrap();
    for io in drivers() {
        let secure = Secure::start(&authority, io, &["--tls-auth-clients", "no", "--tls-key-file-pass", SEALED_WITH]);
        let mut client = secure.connect(&authority.client(None)).unwrap();
        assert_eq!(text(&client.ask("PING").unwrap()), "PONG");
        // a key that is read again is read with the password that there is then
        let mut admin = secure.server.connect().unwrap();
        assert!(admin.ask("CONFIG SET tls-key-file-pass wrong").unwrap().is_error("ERR CONFIG SET failed"));
        std::fs::write(&key, OPEN_KEY).unwrap();
        must(&mut admin, "CONFIG SET tls-key-file-pass wrong");
        std::fs::write(&key, SEALED_KEY).unwrap();
        assert!(admin.ask(&format!("CONFIG SET tls-key-file {key}")).unwrap().is_error("ERR CONFIG SET failed"));
    }
    let with = |more: &[&str]| {
        let words =
            ["--tls-port", "1", "--tls-cert-file", &certificate, "--tls-key-file", &key, "--tls-auth-clients", "no"];
        refused(&spec(dir.path(), &[&words[..], more].concat()))
    };
    assert!(with(&[]).contains("there is no tls-key-file-pass"));
    assert!(with(&["--tls-key-file-pass", "wrong"]).contains("can't be decrypted with tls-key-file-pass"));
    let old = "-----BEGIN EC PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\nAAAA\n-----END EC PRIVATE KEY-----\n";
    std::fs::write(&key, old).unwrap();
    assert!(with(&["--tls-key-file-pass", "x"]).contains("openssl pkcs8 -topk8"));
    std::fs::write(&key, OPEN_KEY).unwrap();
    assert!(with(&["--tls-auth-clients-user", "CN"]).contains("tls-auth-clients-user needs tls-auth-clients"));
}

#[test]
fn a_certificates_name_may_be_a_users() {
    if !is_ember() {
        return;
    }
    let authority = Authority::new();
    ["alice", "bob", "nobody"].iter().for_each(|name| authority.sign(name));
    let ca = authority.path("ca.crt");
    for io in drivers() {
        let more = ["--tls-ca-cert-file", &ca, "--tls-auth-clients-user", "CN", "--requirepass", "secret"];
        let secure = Secure::start(&authority, io, &more);
        let mut admin = secure.server.connect().unwrap();
        must(&mut admin, "AUTH secret");
        must(&mut admin, "ACL SETUSER alice on +@all -flushall ~*");
        must(&mut admin, "ACL SETUSER bob off +@all ~*");
        for _ in 0..4 {
            let mut alice = secure.connect(&authority.client(Some("alice"))).unwrap();
            assert_eq!(text(&alice.ask("ACL WHOAMI").unwrap()), "alice");
            assert!(alice.ask("FLUSHALL").unwrap().is_error("NOPERM"));
        }
        for name in ["bob", "nobody"] {
            let mut other = secure.connect(&authority.client(Some(name))).unwrap();
            assert!(other.ask("ACL WHOAMI").unwrap().is_error("NOAUTH"), "{name}");
            must(&mut other, "AUTH secret");
            assert_eq!(text(&other.ask("ACL WHOAMI").unwrap()), "default");
        }
        must(&mut admin, "CONFIG SET tls-auth-clients-user off");
        let mut alice = secure.connect(&authority.client(Some("alice"))).unwrap();
        assert!(alice.ask("ACL WHOAMI").unwrap().is_error("NOAUTH"));
    }
}

#[test]
fn certificates_are_read_again_without_a_restart() {
    if !is_ember() {
        return;
    }
    let (authority, next) = (Authority::new(), Authority::new());
    for io in drivers() {
        let secure = Secure::start(&authority, io, &["--tls-auth-clients", "no"]);
        let mut before = secure.client(&authority);
        let mut admin = secure.server.connect().unwrap();
        let (certificate, key) = (next.path("server.crt"), next.path("server.key"));
        // one without the other does not fit, and nothing changes
        let half = text(&admin.ask(&format!("CONFIG SET tls-cert-file {certificate}")).unwrap());
        assert_eq!(
            half,
            "ERR CONFIG SET failed (possibly related to argument 'tls-cert-file') - Unable to update TLS configuration. Check server logs."
        );
        let _still = secure.client(&authority);
        must(&mut admin, &format!("CONFIG SET tls-cert-file {certificate} tls-key-file {key}"));
        assert!(secure.connect(&authority.client(None)).is_err());
        let _renewed = secure.client(&next);
        must(&mut before, "PING");
        // the same names, with another content
        let kept: Vec<Vec<u8>> = [&certificate, &key].iter().map(|path| std::fs::read(path).unwrap()).collect();
        std::fs::copy(authority.file("server.crt"), &certificate).unwrap();
        std::fs::copy(authority.file("server.key"), &key).unwrap();
        let _unread = secure.client(&next);
        must(&mut admin, &format!("CONFIG SET tls-cert-file {certificate}"));
        let _read = secure.client(&authority);
        for (path, bytes) in [&certificate, &key].iter().zip(kept) {
            std::fs::write(path, bytes).unwrap();
        }
        must(&mut admin, "CONFIG SET tls-protocols TLSv1.2");
        let _older = secure.client(&next);
    }
}

#[test]
fn handshakes_that_do_not_end_hold_nothing_up() {
    if !is_ember() {
        return;
    }
    let authority = Authority::new();
    for io in drivers() {
        let secure = Secure::start(&authority, io, &["--tls-auth-clients", "no"]);
        let mut client = secure.client(&authority);
        let begun = Instant::now();
        // silent ones, and such that have begun to speak
        let mut half: Vec<TcpStream> =
            (0..50).map(|_| TcpStream::connect(("127.0.0.1", secure.port)).unwrap()).collect();
        for socket in half.iter_mut().step_by(2) {
            socket.write_all(&[0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3]).unwrap();
        }
        // a flood of whole ones
        let config = authority.client(None);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..50).for_each(|_| drop(secure.connect(&config).unwrap())));
            }
            for i in 0..500 {
                must(&mut client, &format!("SET k{i} v"));
            }
        });
        for socket in &mut half {
            socket.set_read_timeout(Some(PATIENCE)).unwrap();
            let mut said = Vec::new();
            let _ = socket.read_to_end(&mut said);
        }
        assert!(begun.elapsed() > Duration::from_secs(9), "they were given some time");
        eventually("the only one is this", || text(&client.ask("CLIENT LIST").unwrap()).lines().count() == 1);
    }
}

#[test]
fn there_need_be_no_other_port() {
    if !is_ember() {
        return;
    }
    let (authority, dir, port) = (Authority::new(), dir("tls-only"), free_port());
    let (port_text, certificate, key) = (port.to_string(), authority.path("server.crt"), authority.path("server.key"));
    let words = ["--port", "0", "--tls-port", &port_text, "--tls-cert-file", &certificate, "--tls-key-file", &key];
    let words = [&words[..], &["--bind", "127.0.0.1", "--tls-auth-clients", "no"]].concat();
    let mut server = Server::spawn_in_place(&spec(dir.path(), &words)).unwrap();
    let config = authority.client(None);
    eventually("it serves", || Client::connect_tls(port, Arc::clone(&config), "localhost").is_ok());
    let mut client = Client::connect_tls(port, config, "localhost").unwrap();
    eventually("it has loaded", || text(&client.ask("PING").unwrap()) == "PONG");
    assert!(text(&client.ask("INFO server").unwrap()).contains(&format!("tcp_port:{port}\r")));
    server.terminate(PATIENCE).unwrap();
}

/// Clients of others, and ours.
#[test]
fn clients_that_people_use_speak_it() {
    if !is_ember() {
        return;
    }
    let authority = Authority::new();
    authority.sign("alice");
    let (ca, cert, key) = (authority.path("ca.crt"), authority.path("alice.crt"), authority.path("alice.key"));
    for io in drivers() {
        let secure = Secure::start(&authority, io, &["--tls-ca-cert-file", &ca]);
        let port = secure.port.to_string();
        let theirs = ["-h", "localhost", "-p", &port, "--tls", "--cacert", &ca, "--cert", &cert, "--key", &key];
        assert_eq!(run("redis-cli", &[&theirs[..], &["SET", "a", "1"]].concat(), &[]), "OK\n");
        let ours = [&["cli"][..], &theirs].concat();
        assert_eq!(run(binary(), &[&ours[..], &["GET", "a"]].concat(), &[]), "1\n");
        let uri = format!("rediss://localhost:{port}/0");
        let by_uri = ["cli", "-u", &uri, "--cacert", &ca, "--cert", &cert, "--key", &key, "GET", "a"];
        assert_eq!(run(binary(), &by_uri, &[]), "1\n");
        let insecure = ["cli", "-p", &port, "--tls", "--insecure", "--cert", &cert, "--key", &key, "GET", "a"];
        assert_eq!(run(binary(), &insecure, &[]), "1\n");
        assert!(
            fails(&["cli", "-h", "localhost", "-p", &port, "--tls", "--cacert", &ca, "GET", "a"]),
            "it shows nothing"
        );
        assert!(fails(&["cli", "-h", "localhost", "-p", &port, "--tls", "--cert", &cert, "--key", &key, "GET", "a"]));
        let wrong_name = [&ours[..], &["--sni", "elsewhere.example", "GET", "a"]].concat();
        assert!(fails(&wrong_name), "the certificate has another name");
        let load =
            ["-q", "-d", "100..20000", "-k", "500", "-c", "5", "-P", "4", "--duration", "300ms", "--warm-up", "0s"];
        let bench = [&["bench"][..], &theirs, &load].concat();
        let said = run(binary(), &bench, &[]);
        assert!(said.contains("requests"), "{said}");
        let python = peers::python().unwrap_or_else(|error| panic!("{error}"));
        let script = common::test_file("clients/redis_py_tls.py");
        let said = run(&python, &[script.to_str().unwrap(), &port, &ca, &cert, &key], &[]);
        assert!(said.ends_with("done\n"), "{said}");
    }
}

fn fails(args: &[&str]) -> bool {
    !std::process::Command::new(Path::new(&binary())).args(args).output().unwrap().status.success()
}

/// A replica that shows a certificate, one whose primary is not to be trusted, and one that shows none.
#[test]
fn replicas_follow_over_tls() {
    if !is_ember() {
        return;
    }
    let (authority, other) = (Authority::new(), Authority::new());
    authority.sign("replica");
    for io in drivers() {
        let ca = authority.path("ca.crt");
        let primary = Secure::start(&authority, io, &["--tls-ca-cert-file", &ca]);
        let mut client = primary.server.connect().unwrap();
        for i in 0..2_000 {
            must(&mut client, &format!("SET k{i} {i}"));
        }
        let port = primary.port.to_string();
        let follow = |more: &[&str]| {
            let dir = dir("tls-replica");
            let words = ["--io", io, "--cores", "1", "--tls-replication", "yes", "--replicaof", "127.0.0.1", &port];
            (Server::spawn(&spec(dir.path(), &[&words, more].concat())).unwrap(), dir)
        };
        let (certificate, key) = (authority.path("replica.crt"), authority.path("replica.key"));
        let shows = ["--tls-client-cert-file", &certificate, "--tls-client-key-file", &key];
        let (mut replica, _dir) = follow(&[&["--tls-ca-cert-file", &ca], &shows[..]].concat());
        replica.wait_ready().unwrap();
        must(&mut client, "SET last 1");
        eventually("the replica has it", || must(&mut client, "WAIT 1 100") == Value::Integer(1));
        assert_eq!(must(&mut replica.connect().unwrap(), "DBSIZE"), Value::Integer(2_001));
        let unknown = other.path("ca.crt");
        for more in [[&["--tls-ca-cert-file", &unknown], &shows[..]].concat(), vec!["--tls-ca-cert-file", &ca]] {
            let (replica, _dir) = follow(&more);
            eventually("it is refused", || replica.log_text().contains("no link to the primary"));
            let error = replica.connect().unwrap().ask("GET k1").unwrap();
            assert!(error.is_error("LOADING"), "{error:?}");
        }
    }
}
