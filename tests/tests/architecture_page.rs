//! `docs/architecture.md` names the threads that there are.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// All Rust sources below a folder, joined.
fn sources(folder: &Path) -> String {
    let mut text = String::new();
    for entry in fs::read_dir(folder).expect("a folder of sources") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            text.push_str(&sources(&path));
        } else if path.extension().is_some_and(|e| e == "rs") {
            text.push_str(&fs::read_to_string(&path).expect("a source"));
        }
    }
    text
}

/// A thread's name as the page writes it: whatever is filled in is `<n>`.
fn as_on_the_page(literal: &str) -> String {
    let mut name = String::new();
    let mut rest = literal;
    while let Some((before, after)) = rest.split_once('{') {
        name.push_str(before);
        name.push_str("<n>");
        rest = after.split_once('}').map_or("", |(_, rest)| rest);
    }
    name.push_str(rest);
    name
}

/// The names in the source: first arguments of `Thread::spawn`, a literal or `&format!(literal…`.
/// Where the literal begins with a type's constant `THREAD`, there is a name for each such
/// constant.
fn spawned(source: &str) -> BTreeSet<String> {
    let constants = source.split("const THREAD: &'static str = \"").skip(1);
    let constants: Vec<&str> = constants
        .filter_map(|text| Some(text.split_once('"')?.0))
        .collect();
    let mut names = BTreeSet::new();
    for call in source.split("Thread::spawn(").skip(1) {
        let call = call.trim_start().trim_start_matches("&format!(");
        let Some((literal, rest)) = call
            .trim_start()
            .strip_prefix('"')
            .and_then(|text| text.split_once('"'))
        else {
            continue;
        };
        let argument = rest.split(')').next().unwrap_or_default();
        if argument.contains("::THREAD") {
            let name = |constant: &&str| as_on_the_page(&literal.replacen("{}", constant, 1));
            names.extend(constants.iter().map(name));
        } else {
            names.insert(as_on_the_page(literal));
        }
    }
    names
}

/// The names on the page: the second column of the table of threads.
fn on_the_page(page: &str) -> BTreeSet<String> {
    let table = page
        .split_once("| process | thread | work |")
        .expect("the table of threads")
        .1;
    let rows = table.lines().skip(2).take_while(|l| l.starts_with('|'));
    let names = rows.flat_map(|row| {
        let cell = row.split('|').nth(2).expect("a second column");
        cell.split('`').skip(1).step_by(2)
    });
    names.map(str::to_owned).collect()
}

/// Every thread that a service starts is in the table, and every name in the table is started
/// somewhere. Threads of tiny_http's wrapper carry the service's name in front.
#[test]
fn the_table_of_threads_names_those_that_are_started() {
    let mut started = BTreeSet::new();
    for service in ["common", "catalog", "order", "frontend"] {
        let source = sources(&root().join(service).join("src"));
        started.extend(spawned(&source));
    }
    let page = fs::read_to_string(root().join("docs/architecture.md")).expect("the page");
    let named: BTreeSet<String> = on_the_page(&page)
        .into_iter()
        .map(|name| name.replace("<service>", "<n>"))
        .collect();
    // The workers are started by a builder, since a failure to start one is survived.
    started.insert("<n>-http<n>".into());
    started.insert("<n>-other<n>".into());
    // The same holds for this one, which may be left behind.
    started.insert("activity-row".into());
    let unnamed: Vec<_> = started.difference(&named).collect();
    let gone: Vec<_> = named.difference(&started).collect();
    assert!(
        unnamed.is_empty(),
        "not in docs/architecture.md: {unnamed:?}"
    );
    assert!(
        gone.is_empty(),
        "docs/architecture.md names no such thread: {gone:?}"
    );
}

/// The reading of names is itself right.
#[test]
fn names_are_found_in_sources_and_in_tables() {
    let source =
        r#"Thread::spawn("a", f); Thread::spawn(&format!("b-{i}"), f); Thread::spawn(name, f)"#;
    assert_eq!(
        spawned(source),
        BTreeSet::from(["a".into(), "b-<n>".into()])
    );
    let page =
        "| process | thread | work |\n|---|---|---|\n| x | `a`, `b-<n>` | `no` |\n\n| y | `z` | |";
    assert_eq!(
        on_the_page(page),
        BTreeSet::from(["a".into(), "b-<n>".into()])
    );
}
