//! The examples of `docs/api.md`, run as they stand there.

use cluster::wait;
use common::wire::public::NewOrder;
use std::fs;
use std::io::{self, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use tests::harness::{Bazaar, SOON};

/// The address that the page writes.
const DOCUMENTED: &str = "http://localhost:8080";

/// An example, and what the page says that it prints.
struct Example {
    language: String,
    code: String,
    prints: String,
}

/// The fenced blocks of a page that are followed by a `text` block.
fn examples(page: &str) -> Vec<Example> {
    let mut blocks: Vec<(String, String)> = Vec::new();
    let mut open: Option<(String, String)> = None;
    for line in page.lines() {
        match (&mut open, line.strip_prefix("```")) {
            (None, Some(language)) => open = Some((language.to_owned(), String::new())),
            (Some(_), Some(_)) => blocks.extend(open.take()),
            (Some((_, text)), None) => *text += &format!("{line}\n"),
            (None, None) => {}
        }
    }
    let pairs = blocks.windows(2).filter(|pair| pair[1].0 == "text");
    pairs
        .map(|pair| Example {
            language: pair[0].0.clone(),
            code: pair[0].1.clone(),
            prints: pair[1].1.clone(),
        })
        .collect()
}

/// How an example is run, and the tool that it needs.
fn command(example: &Example, folder: &Path, at: usize) -> (&'static str, Command) {
    let (tool, program, name) = match example.language.as_str() {
        "sh" => ("curl", "sh", format!("{at}.sh")),
        "python" => ("python3", "python3", format!("{at}.py")),
        "javascript" => ("node", "node", format!("{at}.mjs")),
        other => panic!("no way to run an example in {other}"),
    };
    let file = folder.join(name);
    fs::write(&file, &example.code).expect("written");
    let mut command = Command::new(program);
    command.arg(file);
    (tool, command)
}

fn is_there(tool: &str) -> bool {
    let version = Command::new(tool)
        .arg("--version")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    version.is_ok_and(|status| status.success())
}

/// Every example of the page prints what the page says.
#[test]
fn examples_print_what_they_say() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/api.md");
    let page = fs::read_to_string(page).expect("the page");
    let examples = examples(&page);
    let count = |language: &str| {
        examples
            .iter()
            .filter(|example| example.language == language)
            .count()
    };
    assert!(
        count("sh") >= 3 && count("python") >= 1 && count("javascript") >= 1,
        "examples are found"
    );
    let bazaar = Bazaar::start();
    for (at, mut example) in examples.into_iter().enumerate() {
        example.code = example.code.replace(DOCUMENTED, &bazaar.cluster.url(0));
        let (tool, mut command) = command(&example, &bazaar.folder(), at);
        if !is_there(tool) {
            // Not by a macro: what those print is shown of failed tests only.
            let _ = writeln!(
                io::stderr(),
                "SKIPPED: example {at} of docs/api.md needs {tool}, which is not installed"
            );
            continue;
        }
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("starts");
        let ended = wait::until(SOON * 2, || child.try_wait().expect("is ours"));
        if ended.is_none() {
            child.kill().expect("is ours");
        }
        let output = child.wait_with_output().expect("is ours");
        let (out, err) = (
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr),
        );
        assert!(
            output.status.success(),
            "example {at} ({}) fails:\n{out}\n{err}",
            example.language
        );
        assert_eq!(
            out, example.prints,
            "example {at} ({}) prints something else",
            example.language
        );
    }
    // The closing checks want to know of every order.
    let page: common::wire::public::OrdersPage = bazaar
        .api()
        .get("/orders")
        .and_then(|a| a.data())
        .expect("orders");
    for order in page.orders {
        let content = NewOrder {
            name: order.name,
            quantity: order.quantity,
            side: order.side,
        };
        bazaar.recorder.note(order.number, &content, None);
    }
    bazaar.close();
}
