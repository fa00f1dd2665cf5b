//! The programs in a terminal: output that is gone or full, text that is no UTF-8, signals.

use client::api::Api;
use cluster::addresses::PortBlock;
use cluster::{binaries, process, wait};
use rustix::process::Signal;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File, Permissions};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use tests::harness::SOON;
use tests::tool::{self, Running};

const BINARIES: [&str; 6] = ["bazaar", "catalog", "order", "frontend", "client", "eval"];

/// The target of a program's output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Target {
    /// A disk without room.
    Full,
    /// A pipe whose reader has gone.
    Gone,
    Null,
}

impl Target {
    fn open(self) -> Stdio {
        match self {
            Self::Full => File::create("/dev/full").expect("the device").into(),
            Self::Gone => std::io::pipe().expect("a pipe").1.into(),
            Self::Null => Stdio::null(),
        }
    }
}

fn run_into(name: &str, arguments: &[&str], out: Target, err: Target) -> (ExitStatus, String) {
    let said = tempfile::tempfile().expect("a file");
    let mut command = command(name);
    command.args(arguments).stdout(out.open());
    if err == Target::Null {
        command.stderr(said.try_clone().expect("a second handle"));
    } else {
        command.stderr(err.open());
    }
    let mut child = process::spawn(command).expect("starts");
    let status = child.wait().expect("ends");
    (status, tool::read(&said))
}

fn command(name: &str) -> std::process::Command {
    let binary = binaries::find(&binaries::folder(), name).unwrap_or_else(|e| panic!("{e}"));
    let mut command = process::dying_with_us(&binary);
    command.stdin(Stdio::null());
    command
}

/// A reader that has gone has seen enough: the program ends with its own code and without a word.
/// A full disk is a failure, and is said. Neither is a panic.
#[test]
fn output_that_is_not_written_is_no_success_and_a_reader_that_has_gone_no_failure() {
    for binary in BINARIES {
        for flag in ["--help", "--version", "-h"] {
            let (gone, words) = run_into(binary, &[flag], Target::Gone, Target::Null);
            assert_eq!(
                (gone.code(), words.as_str()),
                (Some(0), ""),
                "{binary} {flag}"
            );
            let (full, words) = run_into(binary, &[flag], Target::Full, Target::Null);
            assert_eq!(full.code(), Some(1), "{binary} {flag}: {full}: {words}");
            assert!(words.contains("No space left"), "{binary} {flag}: {words}");
        }
    }
    let (full, words) = run_into("order", &["verify", "/nowhere"], Target::Full, Target::Null);
    assert!(
        full.code() == Some(1) && words.contains("No space left"),
        "{full}: {words}"
    );
    let (gone, words) = run_into("order", &["verify", "/nowhere"], Target::Gone, Target::Null);
    assert_eq!(
        (gone.code(), words.as_str()),
        (Some(1), ""),
        "the verdict stays"
    );
}

/// The documented code of a start that failed comes also where its reason cannot be printed.
#[test]
fn a_failed_start_has_its_code_where_nobody_can_read_why() {
    for target in [Target::Full, Target::Gone] {
        for binary in BINARIES {
            let (status, _) = run_into(binary, &["--no-such-flag"], Target::Null, target);
            assert_eq!(status.code(), Some(2), "{binary}, {target:?}: {status}");
        }
        for (binary, variable) in [
            ("catalog", "CATALOG_DB"),
            ("frontend", "FRONTEND_LISTEN"),
            ("client", "CLIENT_URL"),
        ] {
            let mut command = command(binary);
            command
                .env(variable, "/nonexistent/x/y")
                .stdout(Target::Null.open())
                .stderr(target.open());
            let mut child = process::spawn(command).expect("starts");
            assert_eq!(child.wait().expect("ends").code(), Some(2), "{binary}");
        }
    }
}

fn latin1() -> OsString {
    OsString::from_vec(b"M\xfcller".to_vec())
}

fn output(command: std::process::Command) -> (Option<i32>, String) {
    let mut command = command;
    let said = tempfile::tempfile().expect("a file");
    let to = || said.try_clone().expect("a second handle");
    command.stdout(to()).stderr(to());
    let mut child = process::spawn(command).expect("starts");
    (child.wait().expect("ends").code(), tool::read(&said))
}

/// Variables of other programs, and a folder to stand in, may have names in any encoding; an
/// argument or a variable that a program reads is a mistake then, and is named.
#[test]
fn text_in_another_encoding_is_a_mistake_only_where_it_is_read() {
    let folder = tempfile::tempdir().expect("a folder");
    let odd: PathBuf = folder.path().join(latin1());
    std::fs::create_dir(&odd).expect("made");
    for binary in BINARIES {
        let mut asked = command(binary);
        asked
            .arg("--version")
            .env("NAME", latin1())
            .env(latin1(), "x")
            .current_dir(&odd);
        let (code, said) = output(asked);
        assert!(
            code == Some(0) && said.starts_with(binary),
            "{binary}: {code:?} {said}"
        );

        let mut asked = command(binary);
        asked.arg(latin1());
        let (code, said) = output(asked);
        assert_eq!(code, Some(2), "{binary}: {said}");
        assert!(
            said.contains(r"M\xFCller") && said.contains("argument 1"),
            "{binary}: {said}"
        );
    }
    for (binary, arguments, variable) in [
        ("catalog", &[][..], "CATALOG_DB"),
        ("order", &[], "ORDER_ID"),
        ("frontend", &[], "FRONTEND_CACHE"),
        ("client", &[], "CLIENT_SEED"),
        ("bazaar", &["run"], "CATALOG_LISTEN"),
        ("eval", &["measure"], "EVAL_KILL"),
    ] {
        let mut asked = command(binary);
        asked.args(arguments).env(variable, latin1());
        let (code, said) = output(asked);
        assert_eq!(code, Some(2), "{binary}: {said}");
        assert!(
            said.contains(&format!("{variable}=")) && said.contains("UTF-8"),
            "{said}"
        );
        assert!(!said.contains("is not set"), "{said}");
    }
}

/// SIGHUP, which a closed terminal sends, stops services and launcher in order, and they say so;
/// one that was ignored at the start, as under nohup, does not reach them.
#[test]
fn an_ignored_hangup_stays_ignored_and_any_other_stops_in_order() {
    let ports = PortBlock::take().expect("there are free ports");
    let first = ports.ports().next().expect("a port").to_string();
    for ignored in [false, true] {
        let folder = tempfile::tempdir().expect("a folder");
        let bazaar = binaries::find(&binaries::folder(), "bazaar").expect("built");
        let script = if ignored {
            r#"trap '' HUP; exec "$0" "$@""#
        } else {
            r#"exec "$0" "$@""#
        };
        let mut command = process::dying_with_us(Path::new("/bin/sh"));
        let dir = folder.path().join("run");
        command
            .args(["-c", script, text(&bazaar), "run", "--dir", text(&dir)])
            .args(["--ports-from", &first]);
        let mut launcher = tool::started("bazaar", command);
        launcher.wait_for("The bazaar is open at ");
        launcher.signal(Signal::HUP);
        if ignored {
            // Whether it lives is seen by what it still does after the signal.
            let killed = tool::run("bazaar", &["kill", "1", "--dir", text(&dir)], &[]);
            assert_eq!(killed.code, Some(0), "{killed:?}");
            launcher.signal(Signal::TERM);
        }
        let ended = launcher.wait();
        assert_eq!(ended.code, Some(0), "{ended:?}");
        let signal = if ignored { "SIGTERM" } else { "SIGHUP" };
        assert!(ended.out.contains(&format!("{signal} came")), "{ended:?}");
        assert!(ended.out.contains("| stopped; "), "{ended:?}");
    }
    let folder = tempfile::tempdir().expect("a folder");
    let database = folder.path().join("c.db");
    let address = format!("127.0.0.1:{first}");
    let variables = [
        ("CATALOG_LISTEN", address.as_str()),
        ("CATALOG_DB", text(&database)),
    ];
    let mut catalog = tool::start("catalog", &[], &variables);
    catalog.wait_for("listening");
    // The handlers are installed after the start.
    let ended = wait::until(SOON, || catalog.out().contains("is checked").then_some(()));
    assert!(ended.is_some(), "{}", catalog.out());
    catalog.wait_for_handler(Signal::HUP);
    catalog.signal(Signal::HUP);
    let ended = catalog.wait();
    assert!(
        ended.code == Some(0) && ended.out.contains("signal=SIGHUP"),
        "{ended:?}"
    );
}

/// Nothing in the folder of a bazaar is open to others, not even what an earlier version left; the
/// terminal shows what a service says after its log was cut or renamed.
#[test]
fn nothing_in_the_folder_is_open_to_others() {
    let ports = PortBlock::take().expect("there are free ports");
    let first = ports.ports().next().expect("a port").to_string();
    let outer = tempfile::tempdir().expect("a folder");
    let dir = outer.path().join("run");
    fs::create_dir_all(dir.join("logs")).expect("made");
    fs::write(dir.join("logs/order1.log"), "old\n").expect("written");
    fs::set_permissions(dir.join("logs/order1.log"), Permissions::from_mode(0o644)).expect("ours");
    fs::set_permissions(&dir, Permissions::from_mode(0o755)).expect("ours");
    let arguments = ["run", "--dir", text(&dir), "--ports-from", &first];
    let mut launcher = tool::start("bazaar", &arguments, &[]);
    launcher.wait_for("could be read by other users");
    launcher.wait_for("The bazaar is open at ");
    for path in all(&dir) {
        let mode = fs::symlink_metadata(&path).expect("there").mode();
        assert_eq!(mode & 0o077, 0, "{}: {mode:o}", path.display());
    }
    let token = fs::read_to_string(dir.join("token")).expect("ours");
    assert_eq!(token.trim().len(), 64);

    let shown = |launcher: &Running, service: &str| {
        let begin = format!("{service:9}| ");
        let out = launcher.out();
        out.lines().filter(|line| line.starts_with(&begin)).count()
    };
    for (service, cut) in [("order1", true), ("order2", false)] {
        let log = dir.join("logs").join(format!("{service}.log"));
        let before = shown(&launcher, service);
        if cut {
            File::create(&log).expect("cut");
        } else {
            fs::rename(&log, log.with_extension("log.1")).expect("renamed");
        }
        let back = tool::run("bazaar", &["restart", service, "--dir", text(&dir)], &[]);
        assert_eq!(back.code, Some(0), "{back:?}");
        let seen = wait::until(SOON, || {
            (shown(&launcher, service) > before + 2).then_some(())
        });
        assert!(seen.is_some(), "{service}: {}", launcher.out());
    }
    launcher.signal(Signal::TERM);
    assert_eq!(launcher.wait().code, Some(0));
}

fn all(folder: &Path) -> Vec<PathBuf> {
    let mut found = vec![folder.to_owned()];
    for entry in fs::read_dir(folder).expect("a folder").flatten() {
        let path = entry.path();
        found.extend(if path.is_dir() {
            all(&path)
        } else {
            vec![path]
        });
    }
    found
}

/// Ctrl-C ends a client that has long to go, with the summary of what it has seen.
#[test]
fn an_interrupted_client_prints_its_summary() {
    let ports = PortBlock::take().expect("there are free ports");
    let first = ports.ports().next().expect("a port");
    let outer = tempfile::tempdir().expect("a folder");
    let dir = outer.path().join("run");
    let arguments = [
        "run",
        "--dir",
        text(&dir),
        "--ports-from",
        &first.to_string(),
    ];
    let mut launcher = tool::start("bazaar", &arguments, &[]);
    launcher.wait_for("The bazaar is open at ");
    let url = format!("http://127.0.0.1:{}", first + 5);
    let api = Api::new(&url);
    let client = ["--url", &url, "-n", "1000000", "-p", "1"];
    let mut client = tool::start("client", &client, &[]);
    let traded = wait::until(SOON, || api.order_by_number(3).ok());
    assert!(traded.is_some(), "the client trades");
    client.signal(Signal::INT);
    let ended = client.wait();
    assert_eq!(ended.code, Some(1), "{ended:?}");
    for part in [
        "STOPPED before the end: SIGINT came",
        "acknowledged",
        "lookup",
    ] {
        assert!(ended.out.contains(part), "{part}: {ended:?}");
    }
    launcher.signal(Signal::TERM);
    assert_eq!(launcher.wait().code, Some(0));
}

/// A command's help shows the variables that the command reads.
#[test]
fn the_help_of_a_command_lists_only_what_it_reads() {
    let help =
        |arguments: &[&str]| tool::run(arguments[0], &[&arguments[1..], &["-h"]].concat(), &[]).out;
    assert!(help(&["catalog", "rebuild"]).contains("CATALOG_DB"));
    assert!(!help(&["catalog", "rebuild"]).contains("CATALOG_LISTEN"));
    for (command, none) in [
        (["order", "verify"], "ORDER_"),
        (["order", "dump"], "ORDER_"),
        (["bazaar", "kill"], "BAZAAR_"),
        (["bazaar", "restart"], "BAZAAR_"),
        (["bazaar", "status"], "BAZAAR_"),
        (["bazaar", "demo"], "BAZAAR_TOKEN"),
        (["eval", "draw"], "EVAL_"),
    ] {
        let help = help(&command);
        assert!(
            help.contains("-h, --help") && !help.contains(none),
            "{command:?}: {help}"
        );
    }
    assert!(help(&["bazaar", "run"]).contains("BAZAAR_TOKEN"));
    let wrong = tool::run("bazaar", &["statsu"], &[]);
    assert_eq!(wrong.code, Some(2));
    assert!(
        wrong.err.contains("run, kill, restart, status"),
        "{}",
        wrong.err
    );
}

/// `rebuild` reads one variable: mistakes in others are none of its concern.
#[test]
fn a_command_does_not_stumble_over_settings_that_it_does_not_read() {
    let folder = tempfile::tempdir().expect("a folder");
    let database = folder.path().join("c.db");
    let arguments = ["rebuild", "--from", "/nowhere.db"];
    let variables = [
        ("CATALOG_LISTEN", "nowhere"),
        ("CATALOG_DB", text(&database)),
    ];
    let ran = tool::run("catalog", &arguments, &variables);
    assert!(
        ran.code == Some(1) && ran.err.contains("/nowhere.db"),
        "{ran:?}"
    );
    let ran = tool::run("client", &["-n", "0"], &[]);
    assert!(
        ran.code == Some(2) && ran.err.contains("--iterations 0"),
        "{ran:?}"
    );
}

fn text(path: &Path) -> &str {
    OsStr::to_str(path.as_os_str()).expect("UTF-8")
}
