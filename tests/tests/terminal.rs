//! The programs in a terminal: output that is gone or full, text that is no UTF-8, signals.

use cluster::{binaries, process};
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use tests::tool;

const BINARIES: [&str; 6] = ["bazaar", "catalog", "order", "frontend", "client", "eval"];

/// What a program writes to.
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

/// What a command's help shows is what that command reads.
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
