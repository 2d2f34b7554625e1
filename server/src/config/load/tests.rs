use super::*;
use crate::config::{AppendFsync, Field};
use proptest::prelude::*;
use std::fs;
use std::sync::atomic::{AtomicUsize, Ordering};

fn from_text(text: &str) -> Result<Loaded, String> {
    let mut loader = Loader::default();
    loader.text("data.conf", text.as_bytes()).map_err(|error| error.to_string())?;
    Ok(loader.finish())
}

fn from_args(args: &[&str]) -> Result<Loaded, String> {
    load(args.iter().map(OsString::from)).map_err(|error| error.to_string())
}

fn value(loaded: &Loaded, name: &str) -> String {
    let pairs = loaded.config.get(&[name.as_bytes()]);
    String::from_utf8(pairs[0].1.clone()).unwrap()
}

/// A folder that goes away with the test.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let name = format!("emberkv-config-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn write(&self, name: &str, text: &str) -> String {
        let path = self.0.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn reads_the_syntax_of_redis_conf() {
    let loaded = from_text(
        "# a comment\r\n\n  PORT 7000\r\n\tappendfsync \"always\"\nrequirepass 'it\\'s'\n\
         bind 127.0.0.1 -::1\nport 7001\nmaxmemory 1gb\nlogfile \"\"",
    )
    .unwrap();
    assert_eq!(loaded.config.port, 7001);
    assert_eq!(loaded.config.appendfsync, AppendFsync::Always);
    assert_eq!(loaded.config.maxmemory, 1 << 30);
    assert_eq!(value(&loaded, "requirepass"), "it's");
    assert_eq!(value(&loaded, "bind"), "127.0.0.1 -::1");
    assert_eq!(loaded.config.logfile, None);
    assert_eq!(loaded.warnings, []);
}

#[test]
fn errors_name_the_line_and_what_is_wrong_with_it() {
    for (text, error) in [
        (
            "port 1\n\nappendfsync sometimes",
            "data.conf:3: 'appendfsync sometimes': argument(s) must be one of the following: \
             everysec, always, no",
        ),
        (
            "apendfsync no",
            "data.conf:1: 'apendfsync no': bad directive or wrong number of arguments; \
             did you mean 'appendfsync'?",
        ),
        ("zzzzzz 1", "data.conf:1: 'zzzzzz 1': bad directive or wrong number of arguments"),
        ("port", "data.conf:1: 'port': wrong number of arguments"),
        ("port 1 2", "data.conf:1: 'port 1 2': wrong number of arguments"),
        ("save", "data.conf:1: 'save': wrong number of arguments"),
        (
            "port 1 # main",
            "data.conf:1: 'port 1 # main': wrong number of arguments \
             (a comment needs a line of its own)",
        ),
        ("logfile \"abc", "data.conf:1: 'logfile \"abc': Unbalanced quotes in configuration line"),
        ("databases 0", "data.conf:1: 'databases 0': argument must be between 1 and 255 inclusive"),
        (
            "client-output-buffer-limit normal 0 0",
            "data.conf:1: 'client-output-buffer-limit normal 0 0': Wrong number of arguments in \
             buffer limit configuration.",
        ),
        ("hz x", "data.conf:1: 'hz x': argument couldn't be parsed into an integer"),
        ("appendonly maybe", "data.conf:1: 'appendonly maybe': argument must be 'yes' or 'no'"),
    ] {
        assert_eq!(from_text(text).unwrap_err(), error);
    }
    let error = from_text("cluster-enabled yes").unwrap_err();
    assert!(error.starts_with("data.conf:1: 'cluster-enabled yes': this version can't be a node of a cluster"));
    let error = from_text("replica-read-only no").unwrap_err();
    assert!(error.starts_with("data.conf:1: 'replica-read-only no': the log of a replica is that of its primary"));
}

#[test]
fn save_and_buffer_limits_may_be_repeated() {
    let save = |text| value(&from_text(text).unwrap(), "save");
    assert_eq!(save("port 1"), "3600 1 300 100 60 10000");
    assert_eq!(save("save 60 5\nsave 70 6 80 7"), "60 5 70 6 80 7");
    assert_eq!(save("save \"60 5\""), "60 5");
    assert_eq!(save("save 60 5\nsave \"\""), "");
    assert_eq!(save("save 60 5\nsave \"\"\nsave 1 2"), "1 2");
    let limits = "client-output-buffer-limit normal 1 2 3\n\
                  client-output-buffer-limit replica 4 5 6 pubsub 1kb 1k 9";
    assert_eq!(
        value(&from_text(limits).unwrap(), "client-output-buffer-limit"),
        "normal 1 2 3 slave 4 5 6 pubsub 1024 1000 9"
    );
}

#[test]
fn the_command_line_comes_after_the_file() {
    let folder = Folder::new();
    let file = folder.write("a.conf", "port 7000\ntimeout 5\nsave 60 5\n");
    let loaded = from_args(&[&file, "--port", "7001", "--save", "100", "100"]).unwrap();
    assert_eq!((loaded.config.port, loaded.config.timeout), (7001, 5));
    assert_eq!(value(&loaded, "save"), "60 5 100 100");
    assert_eq!(loaded.file, Some(PathBuf::from(&file)));
    assert_eq!(from_args(&[]).unwrap().config, Config::default());
}

#[test]
fn values_on_the_command_line_end_where_a_directive_starts() {
    let loaded = from_args(&["--save", "--port", "7000"]).unwrap();
    assert_eq!((value(&loaded, "save").as_str(), loaded.config.port), ("", 7000));
    for empty in [&["--save"][..], &["--save", ""], &["--save", "\"\""]] {
        assert_eq!(value(&from_args(empty).unwrap(), "save"), "", "{empty:?}");
    }
    let loaded = from_args(&["--bind", "127.0.0.1 ::1", "--requirepass", "--odd"]).unwrap();
    assert_eq!(value(&loaded, "bind"), "127.0.0.1 ::1");
    assert_eq!(value(&loaded, "requirepass"), "--odd");
    for (args, error) in [
        (&["--port"][..], "<command line>: 'port': wrong number of arguments"),
        (&["--port", "--save"], "<command line>: 'port': wrong number of arguments"),
        (&["--port", "x"], "<command line>: 'port x': argument couldn't be parsed into an integer"),
        (
            &["--prot", "1"],
            "<command line>: 'prot 1': bad directive or wrong number of arguments; \
             did you mean 'port'?",
        ),
    ] {
        assert_eq!(from_args(args).unwrap_err(), error);
    }
}

#[test]
fn included_files_are_read_where_they_stand() {
    let folder = Folder::new();
    folder.write("conf.d/20.conf", "timeout 20\n");
    folder.write("conf.d/10.conf", "timeout 10\nport 10\n");
    folder.write("conf.d/.hidden.conf", "timeout 99\n");
    let absolute = folder.write("port.conf", "port 7000\n");
    let text = format!("port 1\ninclude conf.d/*.conf\ninclude {absolute}\ninclude none*.conf\nhz 20\n");
    let loaded = from_args(&[&folder.write("main.conf", &text)]).unwrap();
    assert_eq!((loaded.config.port, loaded.config.timeout, loaded.config.hz), (7000, 20, 20));
}

#[test]
fn an_include_that_fails_says_where_it_stands() {
    let folder = Folder::new();
    let main = folder.write("main.conf", "\ninclude missing.conf\n");
    let error = from_args(&[&main]).unwrap_err();
    assert!(
        error.starts_with("can't read the configuration file 'missing.conf', included at ")
            && error.contains("main.conf:2: "),
        "{error}"
    );
    let bad = folder.write("bad.conf", "port x\n");
    let error = from_args(&[&folder.write("main.conf", "include bad.conf\n")]).unwrap_err();
    assert_eq!(error, format!("{bad}:1: 'port x': argument couldn't be parsed into an integer"));
    let circle = folder.write("circle.conf", "include circle.conf\n");
    assert!(from_args(&[&circle]).unwrap_err().ends_with("files include one another more than 16 deep"));
}

/// Debian's redis.conf with the values it has, and emberkv starts.
fn starts_with_warnings_only(loaded: &Loaded) {
    let config = &loaded.config;
    assert_eq!(config.port, 6379);
    assert_eq!(config.dir, Path::new("/var/lib/redis"));
    assert_eq!(value(loaded, "appendonly"), "yes");
    assert_eq!(value(loaded, "daemonize"), "yes");
    assert_eq!(value(loaded, "auto-aof-rewrite-min-size"), "67108864");
    let differing: Vec<_> = loaded.warnings.iter().filter(|warning| !warning.is_default).collect();
    let names: Vec<_> = differing.iter().map(|warning| warning.directive).collect();
    assert_eq!(names, ["daemonize", "pidfile", "appendonly"]);
    let mut all: Vec<_> = loaded.warnings.iter().map(|warning| warning.directive).collect();
    let count = all.len();
    all.sort_unstable();
    all.dedup();
    assert_eq!(all.len(), count, "each directive is reported once");
    assert!(all.iter().all(|name| !["port", "bind", "save"].contains(name)));
}

#[test]
fn a_stock_redis_conf_starts_unchanged() {
    let mut loader = Loader::default();
    loader.text("redis.conf", include_bytes!("../fixtures/debian-redis-7.0.conf")).unwrap();
    let loaded = loader.finish();
    starts_with_warnings_only(&loaded);
    assert_eq!(
        loaded.warnings[0].to_string(),
        "redis.conf:7: 'daemonize' has no effect: emberkv stays in the foreground; run it under \
         systemd or another supervisor"
    );
    // the installed one may have been changed since, but not to something that stops the start
    let installed = Path::new("/etc/redis/redis.conf");
    if fs::read(installed).is_ok() {
        load([installed.into()]).unwrap();
    }
}

#[test]
fn a_directive_is_warned_about_once_where_it_stands_last() {
    let loaded = from_text("daemonize yes\nhz 10\ndaemonize no\n").unwrap();
    assert_eq!(loaded.warnings.len(), 1);
    assert_eq!(loaded.warnings[0].place.to_string(), "data.conf:3");
    assert!(loaded.warnings[0].is_default);
    assert_eq!(from_text("appendonly yes\ncluster-enabled no\n").unwrap().warnings, []);
}

proptest! {
    #[test]
    fn any_text_is_fine(text: Vec<u8>) {
        let _ = Loader::default().text("x", &text);
    }

    #[test]
    fn any_values_of_known_directives_are_fine(
        name in "(save|bind|port|maxmemory|client-output-buffer-limit|unixsocketperm|loglevel|oom-score-adj-values)",
        values in "[ -~]{0,40}",
    ) {
        let _ = from_text(&format!("{name} {values}"));
    }

    #[test]
    fn any_arguments_are_fine(args in prop::collection::vec("(--)?[a-z\"' -]{0,12}", 0..6)) {
        let _ = Loader::default().command_line(args.into_iter().map(OsString::from));
    }
}

#[test]
fn fields_have_the_names_of_their_directives() {
    assert_eq!(Field::TcpKeepalive.name(), "tcp-keepalive");
}
