//! The binaries as a user meets them: `bazaar run|kill|restart`, `client`, `--help`, `--version`.

use client::api::Api;
use cluster::addresses::PortBlock;
use cluster::wait;
use rustix::process::Signal;
use std::fs;
use std::path::Path;
use tests::harness::SOON;
use tests::tool::{self, Running, is_alive};

/// A launcher in a folder of its own, its bazaar open.
struct Launched {
    launcher: Running,
    folder: tempfile::TempDir,
    first_port: String,
    url: String,
    _ports: PortBlock,
}

fn launch() -> Launched {
    let ports = PortBlock::take().expect("there are free ports");
    let folder = tempfile::tempdir().expect("a folder");
    let first = ports.ports().next().expect("a port");
    let first_port = first.to_string();
    let launcher = tool::start(
        "bazaar",
        &[
            "run",
            "--dir",
            text(folder.path()),
            "--ports-from",
            &first_port,
        ],
        &[],
    );
    let url = format!("http://127.0.0.1:{}", first + 5);
    let mut launched = Launched {
        launcher,
        folder,
        first_port,
        url,
        _ports: ports,
    };
    launched.launcher.wait_for("The bazaar is open at ");
    launched
}

impl Launched {
    fn tell(&self, words: &[&str]) -> tool::Ran {
        let arguments: Vec<&str> = words
            .iter()
            .copied()
            .chain(["--dir", text(self.folder.path())])
            .collect();
        tool::run("bazaar", &arguments, &[])
    }

    fn pids(&self) -> Vec<u32> {
        let files = fs::read_dir(self.folder.path().join("pids")).expect("process ids");
        let read = |path: &Path| fs::read_to_string(path).ok()?.trim().parse().ok();
        files.filter_map(|file| read(&file.ok()?.path())).collect()
    }

    fn pid(&self, service: &str) -> Option<u32> {
        let path = self
            .folder
            .path()
            .join("pids")
            .join(format!("{service}.pid"));
        fs::read_to_string(path).ok()?.trim().parse().ok()
    }
}

fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

/// `bazaar run` opens a bazaar, follows its logs, says loudly when a service dies, brings it back
/// on request, and stops everything.
#[test]
fn run_kill_restart_stop() {
    let mut launched = launch();
    let url = launched.url.clone();
    let words = launched.launcher.out();
    assert!(
        words.contains(&format!("curl {url}/stocks/GameStart")) && words.contains("curl -d '{"),
        "{words}"
    );
    assert!(
        words.contains("catalog  | ") && words.contains("order3   | "),
        "logs have prefixes: {words}"
    );
    assert!(
        !words.contains('\x1b'),
        "no colour where there is no terminal"
    );
    assert_eq!(launched.pids().len(), 5);

    let shown = launched.tell(&["status"]);
    assert_eq!(shown.code, Some(0), "{shown:?}");
    let pid = launched.pid("order3").expect("a process id").to_string();
    for words in [
        url.as_str(),
        "led by order3",
        "serving",
        "follower",
        &pid,
        "frontend   ready",
        "cache: ",
    ] {
        assert!(
            shown.out.contains(words),
            "'{words}' is not in\n{}",
            shown.out
        );
    }

    let killed = launched.tell(&["kill", "3"]);
    assert!(
        killed.code == Some(0) && killed.out.contains("bazaar restart order3"),
        "{killed:?}"
    );
    launched.launcher.wait_for("ORDER3 WAS KILLED");
    assert_eq!(launched.pid("order3"), None);
    let again = launched.tell(&["kill", "order3"]);
    assert!(
        again.code == Some(1) && again.err.contains("order3 is not running"),
        "{again:?}"
    );

    let pid = launched
        .pid("catalog")
        .and_then(|pid| i32::try_from(pid).ok())
        .expect("a process id");
    let pid = rustix::process::Pid::from_raw(pid).expect("a process id");
    rustix::process::kill_process(pid, Signal::KILL).expect("it is ours");
    launched.launcher.wait_for("CATALOG HAS DIED (SIGNAL: 9");
    for service in ["catalog", "3"] {
        let back = launched.tell(&["restart", service]);
        assert!(
            back.code == Some(0) && back.out.contains("runs again"),
            "{back:?}"
        );
    }
    let ran = tool::run(
        "client",
        &["--url", &url, "-p", "0.8", "-n", "40", "-c", "2", "--json"],
        &[],
    );
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let report: serde_json::Value = serde_json::from_str(&ran.out).expect("one line of JSON");
    assert_eq!(
        (&report["clean"], &report["requests"][0]["count"]),
        (&true.into(), &80.into()),
        "{report}"
    );

    let pids = launched.pids();
    assert_eq!(pids.len(), 5);
    launched.launcher.signal(Signal::TERM);
    let ended = launched.launcher.wait();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(!pids.into_iter().any(is_alive), "all services are stopped");
    let files: Vec<_> = (1..=3)
        .map(|id| launched.folder.path().join(format!("order{id}.db")))
        .collect();
    let files: Vec<_> = files.iter().map(|file| file.as_path()).collect();
    assert!(!tool::order("verify", &files).is_empty());
    let logs = fs::read_dir(launched.folder.path().join("logs"))
        .expect("logs")
        .count();
    assert_eq!(logs, 5);
}

/// A second launcher is refused: in the same folder, and on the same ports, which are all named
/// before anything is started.
#[test]
fn refused_starts() {
    let mut launched = launch();
    let same_folder = tool::run(
        "bazaar",
        &["run", "--dir", text(launched.folder.path())],
        &[],
    );
    assert!(
        same_folder.code == Some(2) && same_folder.err.contains("runs in"),
        "{same_folder:?}"
    );
    let other = tempfile::tempdir().expect("a folder");
    let same_ports = tool::run(
        "bazaar",
        &[
            "run",
            "--dir",
            text(other.path()),
            "--ports-from",
            &launched.first_port,
        ],
        &[],
    );
    assert_eq!(same_ports.code, Some(2), "{same_ports:?}");
    for address in [
        format!("127.0.0.1:{} (catalog)", launched.first_port),
        launched.url.replace("http://", ""),
    ] {
        assert!(
            same_ports.err.contains(&address),
            "{address} is not named: {}",
            same_ports.err
        );
    }
    assert!(
        !other.path().join("catalog.db").exists(),
        "nothing was started"
    );
    launched.launcher.signal(Signal::INT);
    assert_eq!(launched.launcher.wait().code, Some(0));
}

/// When the launcher itself is killed, its services do not stay behind (where the system offers
/// that, through setpriv).
#[test]
fn launcher_killed() {
    let mut launched = launch();
    let pids = launched.pids();
    assert!(pids.len() == 5 && pids.iter().all(|pid| is_alive(*pid)));
    launched.launcher.signal(Signal::KILL);
    assert_eq!(launched.launcher.wait().code, None);
    let gone = wait::until(SOON, || {
        (!pids.iter().any(|pid| is_alive(*pid))).then_some(())
    });
    assert!(gone.is_some(), "services outlive their launcher: {pids:?}");
}

/// A service that cannot start ends the launcher with its reason; what had started is stopped.
#[test]
fn service_cannot_start() {
    let ports = PortBlock::take().expect("there are free ports");
    let folder = tempfile::tempdir().expect("a folder");
    let first = ports.ports().next().expect("a port").to_string();
    let arguments = ["run", "--dir", text(folder.path()), "--ports-from", &first];
    let ran = tool::run("bazaar", &arguments, &[("ORDER_MIN_COPIES", "9")]);
    assert_eq!(ran.code, Some(2), "{ran:?}");
    assert!(
        ran.err.contains("before the bazaar was ready") && ran.out.contains("ORDER_MIN_COPIES"),
        "{ran:?}"
    );
}

/// Without a running bazaar, and for a service that does not exist, kill and restart say so.
#[test]
fn nothing_to_kill() {
    let folder = tempfile::tempdir().expect("a folder");
    for action in ["kill", "restart"] {
        let ran = tool::run("bazaar", &[action, "3", "--dir", text(folder.path())], &[]);
        assert!(
            ran.code == Some(1) && ran.err.contains("no bazaar runs in"),
            "{ran:?}"
        );
        let ran = tool::run(
            "bazaar",
            &[action, "clerk", "--dir", text(folder.path())],
            &[],
        );
        assert!(
            ran.code == Some(2) && ran.err.contains("catalog, order1"),
            "{ran:?}"
        );
    }
}

/// Several catalogs need a database that they can share: without one they are refused before
/// anything is made.
#[test]
fn several_catalogs_need_a_shared_database() {
    let folder = tempfile::tempdir().expect("a folder");
    let run = folder.path().join("run");
    for database in ["", "catalog.db"] {
        let ran = tool::run(
            "bazaar",
            &["run", "--catalogs", "2", "--dir", text(&run)],
            &[("CATALOG_DB", database)],
        );
        assert!(
            ran.code == Some(2) && ran.err.contains("CATALOG_DB=postgres://"),
            "{ran:?}"
        );
        assert!(!run.exists(), "nothing was made");
    }
}

/// `bazaar demo` shows a bazaar that loses nothing, and records what it printed, with two pictures.
#[test]
fn demo() {
    let folder = tempfile::tempdir().expect("a folder");
    let document = folder.path().join("output.md");
    let ran = tool::run("bazaar", &["demo", "--record", text(&document)], &[]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(
        ran.out.contains("kill -9 of replica 3, the leader")
            && ran.out.contains("the files are equal"),
        "{}",
        ran.out
    );
    assert!(
        !ran.out.contains('\x1b'),
        "no colour where there is no terminal"
    );
    let recorded = fs::read_to_string(&document).expect("recorded");
    assert!(
        ran.out.lines().all(|line| recorded.contains(line)),
        "{recorded}"
    );
    assert!(
        recorded.contains("Did all replicas end up with the same file? **Yes**"),
        "{recorded}"
    );
    for picture in ["start.svg", "crash.svg"] {
        let svg =
            fs::read_to_string(folder.path().join("output").join(picture)).expect("a picture");
        assert!(
            svg.starts_with("<svg") && recorded.contains(&format!("](output/{picture})")),
            "{picture}"
        );
    }
}

/// `bazaar healthcheck` is 0 where a service answers 200, and 1 with one line where it does not,
/// soon and without a token.
#[test]
fn healthcheck() {
    let check = |url: &str| tool::run("bazaar", &["healthcheck", url], &[]);
    let mut launched = launch();
    let ready = format!("{}/readyz", launched.url);
    let well = check(&ready);
    assert_eq!((well.code, well.err.as_str()), (Some(0), ""), "{well:?}");
    assert_eq!(check(&launched.url).code, Some(0), "/livez by default");
    let one_line = |ran: &tool::Ran, why: &str| {
        let line = ran.err.trim_end();
        assert_eq!((ran.code, line.lines().count()), (Some(1), 1), "{ran:?}");
        assert!(line.contains(why), "{why}: {ran:?}");
    };
    one_line(&check(&format!("{}/nowhere", launched.url)), "404");
    launched.launcher.signal(Signal::TERM);
    assert_eq!(launched.launcher.wait().code, Some(0));
    one_line(&check(&ready), "no answer");
    // Something that takes the connection and says nothing.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", silent.local_addr().expect("an address"));
    let began = std::time::Instant::now();
    one_line(&check(&url), "no answer");
    assert!(began.elapsed() < SOON / 2, "{:?}", began.elapsed());
    assert_eq!(check("nowhere").code, Some(2), "a wrong address");
}

/// Every binary has --help, with its variables where it has some, and --version.
#[test]
fn help_and_version() {
    let variables = [
        ("catalog", "CATALOG_LISTEN"),
        ("order", "ORDER_REPLICAS"),
        ("frontend", "FRONTEND_CACHE_SIZE"),
        ("client", "CLIENT_PROBABILITY"),
        ("bazaar", "BAZAAR_TOKEN"),
        ("eval", "EVAL_URL"),
    ];
    for (binary, variable) in variables {
        let help = tool::run(binary, &["--help"], &[]);
        assert_eq!(help.code, Some(0), "{help:?}");
        assert!(
            help.out.contains(variable) && help.out.contains("--help"),
            "{binary}: {}",
            help.out
        );
        let version = tool::run(binary, &["--version"], &[]);
        assert_eq!(version.code, Some(0), "{version:?}");
        assert!(
            version.out.starts_with(binary) && version.out.trim().split(' ').count() == 2,
            "{version:?}"
        );
        let wrong = tool::run(binary, &["--no-such-flag"], &[]);
        assert!(
            wrong.code == Some(2) && wrong.err.contains("--help"),
            "{wrong:?}"
        );
    }
}

/// `--help` shows what each variable is set to now; of a secret only that it is set.
#[test]
fn help_shows_current_values() {
    let secret = "do-not-show-me-1";
    for binary in ["catalog", "order", "frontend", "bazaar"] {
        let help = tool::run(
            binary,
            &["--help"],
            &[
                ("BAZAAR_TOKEN", secret),
                ("CATALOG_LISTEN", "127.0.0.1:7999"),
            ],
        );
        assert_eq!(help.code, Some(0), "{help:?}");
        assert!(
            help.out.contains("now set]") && !help.out.contains(secret),
            "{binary}: {}",
            help.out
        );
    }
    let help = tool::run(
        "frontend",
        &["--help"],
        &[("FRONTEND_CACHE_SIZE", "77"), ("FRONTEND_CACHE", "maybe")],
    );
    for shown in [
        "[default: 1024, now 77]",
        "[default: on, now maybe]",
        "[default: localhost:8080]",
    ] {
        assert!(help.out.contains(shown), "{shown} is not in {}", help.out);
    }
}

/// `bazaar status --watch` shows the picture again and again, and ends well on SIGINT; no bazaar
/// there is exit code 1.
#[test]
fn status_watch() {
    let mut launched = launch();
    let arguments = ["status", "--watch", "--url", &launched.url];
    let mut watching = tool::start("bazaar", &arguments, &[]);
    let twice = wait::until(SOON, || {
        (watching.out().matches("led by order3").count() >= 2).then_some(())
    });
    assert!(twice.is_some(), "{}", watching.out());
    assert!(
        !watching.out().contains('\x1b'),
        "no control characters where there is no terminal"
    );
    watching.signal(Signal::INT);
    assert_eq!(watching.wait().code, Some(0));
    launched.launcher.signal(Signal::TERM);
    assert_eq!(launched.launcher.wait().code, Some(0));
    let gone = tool::run(
        "bazaar",
        &["status", "--dir", text(launched.folder.path())],
        &[],
    );
    assert!(
        gone.code == Some(1)
            && gone.out.contains("no bazaar runs in")
            && !gone.out.contains(&launched.url),
        "{gone:?}"
    );
}

/// `client` reports all wrong settings together; a flag wins over its variable; no bazaar there is
/// exit code 2.
#[test]
fn client_settings() {
    let variables = [
        ("CLIENT_PROBABILITY", "7"),
        ("CLIENT_ITERATIONS", "many"),
        ("CLIENT_URL", "nowhere"),
    ];
    let ran = tool::run("client", &["--clients", "0", "-n", "5"], &variables);
    assert_eq!(ran.code, Some(2), "{ran:?}");
    for wrong in ["CLIENT_PROBABILITY=7", "CLIENT_URL=nowhere", "--clients 0"] {
        assert!(ran.err.contains(wrong), "{wrong} is not named: {}", ran.err);
    }
    assert!(
        !ran.err.contains("CLIENT_ITERATIONS"),
        "a flag replaces it: {}",
        ran.err
    );
    assert!(Api::new("http://127.0.0.1:1").stocks().is_err());
}
