//! Starts that fail: each is told with the variable, its value and the remedy, and ends with the
//! documented exit code.

use common::database::{CATALOG_FILE, ORDER_LOG};
use rustix::process::Signal;
use std::fs;
use std::net::TcpListener;
use std::path::Path;
use tests::tool::{self, Ran};

/// A service with its variables: where it listens and its file, where it has one.
struct Kind {
    binary: &'static str,
    listen: &'static str,
    file: Option<&'static str>,
    /// Others that it needs to be alone on this machine.
    more: &'static [(&'static str, &'static str)],
}

const KINDS: [Kind; 3] = [
    Kind {
        binary: "catalog",
        listen: "CATALOG_LISTEN",
        file: Some("CATALOG_DB"),
        more: &[],
    },
    Kind {
        binary: "order",
        listen: "ORDER_LISTEN",
        file: Some("ORDER_DB"),
        more: &[("ORDER_ID", "1")],
    },
    Kind {
        binary: "frontend",
        listen: "FRONTEND_LISTEN",
        file: None,
        more: &[("FRONTEND_INTERNAL_LISTEN", "127.0.0.1:0")],
    },
];

impl Kind {
    fn variables<'a>(&self, listen: &'a str, file: &'a str) -> Vec<(&'a str, &'a str)> {
        let own = [(self.listen, listen)]
            .into_iter()
            .chain(self.file.map(|variable| (variable, file)));
        // Nobody is asked anything: the port of the "discard" service, where nobody listens.
        own.chain(self.more.iter().copied())
            .chain([("CATALOG_URL", "http://127.0.0.1:9")])
            .collect()
    }

    fn run(&self, listen: &str, file: &str) -> Ran {
        tool::run(self.binary, &[], &self.variables(listen, file))
    }
}

fn assert_told(ran: &Ran, parts: &[&str]) {
    assert_eq!(ran.code, Some(2), "{ran:?}");
    for part in parts {
        assert!(ran.err.contains(part), "'{part}' is not in {}", ran.err);
    }
}

fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

/// A port in use: the message has the variable, the address, the process that has it, and the
/// remedy.
#[test]
fn port_in_use() {
    let folder = tempfile::tempdir().expect("a folder");
    let used = TcpListener::bind("127.0.0.1:0")
        .and_then(|l| Ok((l.local_addr()?.to_string(), l)))
        .expect("a port");
    let own = format!("process {} (", std::process::id());
    for kind in KINDS {
        let ran = kind.run(&used.0, text(&folder.path().join(kind.binary)));
        assert_told(
            &ran,
            &[
                &format!("{}={}", kind.listen, used.0),
                &own,
                "another address",
            ],
        );
    }
}

/// An address of another machine, and a folder that is not there or cannot be written.
#[test]
fn wrong_places() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("no/such/folder/x.db");
    for kind in KINDS {
        // An address kept for documentation (RFC 5737).
        let ran = kind.run("192.0.2.1:7100", text(&folder.path().join(kind.binary)));
        assert_told(
            &ran,
            &[&format!("{}=192.0.2.1:7100", kind.listen), "one of its own"],
        );
        let Some(variable) = kind.file else { continue };
        let ran = kind.run("127.0.0.1:0", text(&file));
        assert_told(
            &ran,
            &[&format!("{variable}={}", file.display()), "make its folder"],
        );
        // Not even root can write there.
        let ran = kind.run("127.0.0.1:0", "/sys/x.db");
        assert_told(
            &ran,
            &[
                &format!("{variable}=/sys/x.db"),
                "let this user write its folder",
            ],
        );
    }
}

/// A file that another process has open is told with that process; a file of a newer version and
/// one of another kind by what they are.
#[test]
fn wrong_files() {
    for (kind, other) in [(&KINDS[0], ORDER_LOG), (&KINDS[1], CATALOG_FILE)] {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("x.db");
        let mut first = tool::start(
            kind.binary,
            &[],
            &kind.variables("127.0.0.1:0", text(&file)),
        );
        first.wait_for("listening");
        let ran = kind.run("127.0.0.1:0", text(&file));
        let variable = kind.file.expect("it has one");
        assert_told(
            &ran,
            &[
                variable,
                text(&file),
                &format!("process {} ({})", first.pid(), kind.binary),
                "stop it",
            ],
        );
        first.signal(Signal::TERM);
        assert_eq!(first.wait().code, Some(0), "stopped as asked");
        let set = |name: &str, value: i32| {
            let connection = rusqlite::Connection::open(&file).expect("opens");
            connection.pragma_update(None, name, value).expect("is set");
        };
        set("user_version", 99);
        assert_told(
            &kind.run("127.0.0.1:0", text(&file)),
            &[variable, "version 99", "update this program"],
        );
        set("application_id", other.application_id);
        assert_told(
            &kind.run("127.0.0.1:0", text(&file)),
            &[variable, "name another file"],
        );
        assert!(
            fs::metadata(&file).is_ok_and(|file| file.len() > 0),
            "nothing was changed"
        );
    }
}

/// Wrong settings are told all together, with value and remedy; a token's value never.
#[test]
fn wrong_settings() {
    let ran = tool::run(
        "frontend",
        &[],
        &[
            ("FRONTEND_LISTEN", "here"),
            ("FRONTEND_CACHE_SIZE", "0"),
            ("BAZAAR_TOKEN", "short"),
            ("BAZAAR_LOG", "loud"),
        ],
    );
    assert_told(
        &ran,
        &[
            "FRONTEND_LISTEN=here",
            "FRONTEND_CACHE_SIZE=0",
            "BAZAAR_TOKEN=(not shown)",
            "BAZAAR_LOG=loud",
        ],
    );
    assert!(
        !ran.err.contains("short") && ran.err.contains("write error, warn, info"),
        "{}",
        ran.err
    );
}

/// The exit codes of `order verify`: 0 for files that are equal, 1 for what differs or cannot be
/// read, 2 for a wrong call.
#[test]
fn exit_codes_of_verify() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("x.db");
    let mut replica = tool::start(
        "order",
        &[],
        &KINDS[1].variables("127.0.0.1:0", text(&file)),
    );
    replica.wait_for("listening");
    replica.signal(Signal::INT);
    assert_eq!(replica.wait().code, Some(0), "stopped as asked");
    assert_eq!(
        tool::run("order", &["verify", text(&file), text(&file)], &[]).code,
        Some(0)
    );
    assert_eq!(
        tool::run("order", &["verify", text(&file), "/no/such/file"], &[]).code,
        Some(1)
    );
    assert_eq!(tool::run("order", &["verify"], &[]).code, Some(2));
}
