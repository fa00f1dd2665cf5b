//! Starts that fail: the message has the variable, its value and the remedy, and they end with the
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
        // No service is called: this is the port of "discard", which has no listener.
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

/// A file that another process has open is reported with that process; a file of a newer version
/// and one of another kind by what they are.
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

/// Wrong settings are reported together, with value and remedy; a token's value never.
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

/// Every program takes the token from a file too. A file that cannot be used is a mistake of the
/// start, with variable, path and remedy, beside all other mistakes; two sources are one too.
#[test]
fn a_token_comes_from_a_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("token");
    for (program, arguments) in [
        ("catalog", &[][..]),
        ("order", &[]),
        ("frontend", &[]),
        ("bazaar", &["run"]),
        ("eval", &["measure"]),
    ] {
        let variables = [("BAZAAR_TOKEN_FILE", text(&file)), ("ORDER_ID", "1")];
        let ran = tool::run(program, arguments, &variables);
        assert_told(
            &ran,
            &["BAZAAR_TOKEN_FILE=", text(&file), "name a file that"],
        );
    }
    fs::write(&file, "a-s3cret-token\n").expect("written");
    let both = [
        ("BAZAAR_TOKEN_FILE", text(&file)),
        ("BAZAAR_TOKEN", "a-s3cret-token"),
    ];
    let ran = tool::run("catalog", &[], &both);
    assert_told(&ran, &["BAZAAR_TOKEN_FILE=", "both set"]);
    assert!(!ran.err.contains("s3cret"), "{}", ran.err);

    let database = folder.path().join("catalog.db");
    let variables = [
        ("CATALOG_LISTEN", "127.0.0.1:0"),
        ("CATALOG_DB", text(&database)),
        ("BAZAAR_TOKEN_FILE", text(&file)),
    ];
    let mut catalog = tool::start("catalog", &[], &variables);
    catalog.wait_for("listening");
    let url = format!("http://{}", word_behind(&catalog.out(), "address="));
    let api = client::api::Api::new(&url);
    let status = |api: &client::api::Api| api.get("/health").expect("answered").status;
    assert_eq!(status(&api), 401);
    assert_eq!(status(&api.with_token("a-s3cret-token")), 200);
    assert!(!catalog.out().contains("s3cret"), "{}", catalog.out());
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

/// A token that differs between two services is logged once, by the caller and with the service
/// that refuses it, and readiness names it.
#[test]
fn a_token_that_differs_is_named_once_and_in_readyz() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("catalog.db");
    let catalog_variables = [
        ("CATALOG_LISTEN", "127.0.0.1:0"),
        ("CATALOG_DB", text(&file)),
        ("BAZAAR_TOKEN", "one-token"),
    ];
    let mut catalog = tool::start("catalog", &[], &catalog_variables);
    catalog.wait_for("listening");
    let address = word_behind(&catalog.out(), "address=");
    let url = format!("http://{address}");
    let variables = [
        ("CATALOG_URL", url.as_str()),
        ("BAZAAR_TOKEN", "other-token"),
        ("FRONTEND_LISTEN", "127.0.0.1:0"),
        ("FRONTEND_INTERNAL_LISTEN", "127.0.0.1:0"),
        // Nobody is there.
        ("ORDER_REPLICAS", "1=http://127.0.0.1:9"),
    ];
    let mut frontend = tool::start("frontend", &[], &variables);
    frontend.wait_for("listening");
    let public = word_behind(&frontend.out(), "address=");
    let api = client::api::Api::new(&format!("http://{public}"));
    let named = cluster::wait::until(std::time::Duration::from_secs(30), || {
        let answer = api.get("/readyz").ok()?;
        let names_it = answer.status == 503 && answer.body.contains("BAZAAR_TOKEN");
        names_it.then_some(answer.body)
    });
    assert!(named.is_some_and(|body| body.contains(&url)));
    let lines_of = |running: &tool::Running| {
        let log = running.out();
        let lines = log
            .lines()
            .filter(|line| line.contains("calls are refused (401)"));
        lines.map(ToOwned::to_owned).collect::<Vec<_>>()
    };
    let lines = lines_of(&frontend);
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(lines[0].contains(&url), "{lines:?}");
}

/// The word behind `label` in a log.
fn word_behind(log: &str, label: &str) -> String {
    let rest = log.split_once(label).expect("it is logged").1;
    rest.split_whitespace().next().unwrap_or_default().into()
}

/// A wrong file of stocks, a file that is none of ours, and a port in use leave nothing behind; a
/// file of stocks beside an existing bazaar is called ignored.
#[test]
fn failed_starts_leave_nothing_behind() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name);
    let names = || {
        let mut names: Vec<String> = fs::read_dir(folder.path())
            .expect("lists")
            .map(|entry| {
                entry
                    .expect("an entry")
                    .file_name()
                    .into_string()
                    .expect("UTF-8")
            })
            .collect();
        names.sort();
        names
    };
    fs::write(path("README.md"), "# no database\n".repeat(100)).expect("writes");
    fs::write(path("wrong.csv"), "name,price,quantity\n\nA,x,1\n").expect("writes");
    fs::write(path("right.csv"), "name,price,quantity\nA,1,1\n").expect("writes");
    let before = names();
    let holder = TcpListener::bind("127.0.0.1:0").expect("a port");
    let used = holder.local_addr().expect("an address").to_string();
    let ran = KINDS[0].run("127.0.0.1:0", text(&path("README.md")));
    assert_told(&ran, &["CATALOG_DB", "README.md"]);
    for kind in &KINDS[..2] {
        assert_eq!(kind.run(&used, text(&path("new.db"))).code, Some(2));
    }
    let catalog = |stocks: &str| {
        let variables = [
            ("CATALOG_LISTEN", "127.0.0.1:0".to_owned()),
            ("CATALOG_DB", text(&path("new.db")).to_owned()),
            ("CATALOG_STOCKS", text(&path(stocks)).to_owned()),
        ];
        let variables = variables
            .each_ref()
            .map(|(name, value)| (*name, value.as_str()));
        tool::start("catalog", &[], &variables)
    };
    let ran = catalog("wrong.csv").wait();
    assert_told(&ran, &["CATALOG_STOCKS=", "wrong.csv: line 3: price 'x'"]);
    assert_eq!(names(), before, "nothing is left");
    for ignored in [false, true] {
        let mut running = catalog("right.csv");
        running.wait_for("listening");
        assert_eq!(
            running.out().contains("ignored"),
            ignored,
            "{}",
            running.out()
        );
        running.signal(Signal::TERM);
        assert_eq!(running.wait().code, Some(0), "stopped as asked");
    }
}

/// Variables that take any text: files, folders, passwords.
const ANY_TEXT: [&str; 6] = [
    "BAZAAR_TOKEN_FILE",
    "CATALOG_DB",
    "CATALOG_STOCKS",
    "ORDER_DB",
    "BAZAAR_BIN_DIR",
    "PGPASSWORD",
];

/// The names in the table of variables of a `--help`.
fn variables_of(help: &str) -> Vec<String> {
    let table = help
        .split_once("Environment variables:\n")
        .expect("a table")
        .1;
    let lines = table.lines().filter_map(|line| line.strip_prefix("  "));
    let names = lines.filter(|line| line.starts_with(|c: char| c.is_ascii_uppercase()));
    names.map(Into::into).collect()
}

/// Nonsense in any variable of any binary is refused with what to write; no library's words
/// ("invalid digit found in string") reach the user.
#[test]
fn nonsense_in_any_variable_is_answered_with_what_to_write() {
    for (binary, arguments) in [
        ("catalog", &[][..]),
        ("order", &[]),
        ("frontend", &[]),
        ("client", &[]),
        ("bazaar", &["run"]),
    ] {
        let help = tool::run(binary, &["--help"], &[]).out;
        let names = variables_of(&help);
        assert!(names.len() >= 3, "{binary}: {help}");
        let set: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "x?y")).collect();
        let ran = tool::run(binary, arguments, &set);
        assert_eq!(ran.code, Some(2), "{binary}: {ran:?}");
        for name in names
            .iter()
            .filter(|name| !ANY_TEXT.contains(&name.as_str()))
        {
            let shown = if name.contains("TOKEN") {
                "(not shown)"
            } else {
                "x?y"
            };
            let line = ran
                .err
                .lines()
                .find(|line| line.contains(&format!("{name}={shown}: ")));
            let line = line.unwrap_or_else(|| panic!("{binary}: {name} is not in {}", ran.err));
            assert!(line.contains("write "), "{binary}: {line}");
        }
    }
}

/// The same for flags that take a number.
#[test]
fn nonsense_in_a_flag_is_answered_with_what_to_write() {
    for (binary, arguments) in [
        ("client", &["-n", "x"][..]),
        ("client", &["-n", "0"]),
        ("client", &["-c", "-1"]),
        ("client", &["-s", "1.5"]),
        ("client", &["-p", "2"]),
        ("client", &["--url", "http://::1:8080"]),
        ("bazaar", &["run", "--ports-from", "x"]),
        ("bazaar", &["run", "--ports-from", "80"]),
        ("bazaar", &["status", "--url", "localhost"]),
        ("eval", &["measure", "--seed", "x"]),
    ] {
        let ran = tool::run(binary, arguments, &[]);
        assert_eq!(ran.code, Some(2), "{arguments:?}: {ran:?}");
        assert!(ran.err.contains("write "), "{arguments:?}: {}", ran.err);
        assert!(!ran.err.contains("invalid"), "{arguments:?}: {}", ran.err);
    }
}

/// A URL that can never work, one address for two listeners, and a name where an address is asked
/// for: refused or taken at the start.
#[test]
fn addresses_are_understood_or_refused_with_the_remedy() {
    let ran = tool::run("frontend", &[], &[("CATALOG_URL", "http://::1:7100")]);
    assert_told(
        &ran,
        &["CATALOG_URL=http://::1:7100", "write http://[::1]:7100"],
    );
    let same = [
        ("FRONTEND_LISTEN", "127.0.0.1:7000"),
        ("FRONTEND_INTERNAL_LISTEN", "localhost:7000"),
    ];
    let ran = tool::run("frontend", &[], &same);
    assert_told(
        &ran,
        &["FRONTEND_LISTEN=127.0.0.1:7000", "are the same address"],
    );
    let named = [
        ("FRONTEND_LISTEN", "localhost:0"),
        ("FRONTEND_INTERNAL_LISTEN", "localhost:0"),
        ("CATALOG_URL", "http://127.0.0.1:9"),
    ];
    let mut frontend = tool::start("frontend", &[], &named);
    frontend.wait_for("listening");
    let line = frontend.out();
    let port = line
        .split_once("address=127.0.0.1:")
        .expect("its address")
        .1;
    let port = port
        .split(' ')
        .next()
        .and_then(|port| port.parse::<u16>().ok());
    let port = port.expect("a port");
    assert!(std::net::TcpStream::connect(("127.0.0.1", port)).is_ok());
    if TcpListener::bind("[::1]:0").is_ok() {
        assert!(std::net::TcpStream::connect(("::1", port)).is_ok());
    }
    frontend.signal(Signal::TERM);
    assert_eq!(frontend.wait().code, Some(0), "stopped as asked");
}
