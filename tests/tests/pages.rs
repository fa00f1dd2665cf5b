//! The pages for readers: settings, links, tests and `make` goals that they name exist. Lines of
//! pages and code are short.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use tests::tool;

/// Programs whose `--help` shows variables.
const PROGRAMS: [&str; 6] = ["catalog", "order", "frontend", "client", "bazaar", "eval"];
/// The README is for a newcomer, who reads no more than this.
const README_WORDS: usize = 1_200;
/// The longest line of prose and of code, in characters.
const COLUMNS: usize = 100;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// All files of the project with this ending. Folders of builds and runs are left out.
fn files(ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder").flatten() {
            let path = entry.path();
            let name = entry.file_name();
            let name = name.to_string_lossy();
            let kind = entry.file_type().expect("a kind");
            if kind.is_dir() && !["target", "build", "run"].contains(&&*name) {
                if !name.starts_with('.') {
                    folders.push(path);
                }
            } else if kind.is_file() && name.ends_with(ending) {
                found.push(path);
            }
        }
    }
    found
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn page(name: &str) -> String {
    read(&root().join(name))
}

/// The pages that people write. The evaluation writes one page, the demo another.
fn pages() -> Vec<PathBuf> {
    let mut pages = files(".md");
    pages.retain(|path| !path.ends_with("docs/evaluation.md") && !path.ends_with("docs/output.md"));
    assert!(pages.len() > 15, "the pages are found: {pages:?}");
    pages
}

/// The prose of a page, and its code: the lines between fences.
fn prose_and_code(page: &str) -> (String, String) {
    let (mut prose, mut code, mut fenced) = (String::new(), String::new(), false);
    for line in page.lines() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
            continue;
        }
        let part = if fenced { &mut code } else { &mut prose };
        part.push_str(line);
        part.push('\n');
    }
    (prose, code)
}

/// The texts between backticks.
fn spans(prose: &str) -> impl Iterator<Item = &str> {
    prose.split('`').skip(1).step_by(2)
}

/// The anchor that GitHub gives a heading.
fn anchor(heading: &str) -> String {
    let kept = heading
        .trim()
        .chars()
        .filter(|c| c.is_alphanumeric() || [' ', '-', '_'].contains(c));
    kept.map(|c| {
        if c == ' ' {
            '-'
        } else {
            c.to_ascii_lowercase()
        }
    })
    .collect()
}

/// The variables of `--help`, each with its default.
fn variables_of_help() -> BTreeMap<String, BTreeSet<String>> {
    let mut variables = BTreeMap::<_, BTreeSet<_>>::new();
    for program in PROGRAMS {
        let help = tool::run(program, &["--help"], &[]);
        let table = help.out.split("Environment variables:\n").nth(1);
        let mut lines = table.expect("a table of variables").lines();
        while let (Some(name), Some(text)) = (lines.next(), lines.next()) {
            let default = text.rsplit("[default: ").next().expect("a default");
            let default = default.trim_end_matches(']').to_owned();
            variables
                .entry(name.trim().to_owned())
                .or_default()
                .insert(default);
        }
    }
    variables
}

/// The variables of `docs/settings.md`. Each has its default where the page has one value for each
/// name of the row, and no words.
fn variables_of_the_page(page: &str) -> BTreeMap<String, Option<String>> {
    let mut variables = BTreeMap::new();
    for row in page.lines().filter(|line| line.starts_with("| `")) {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let names: Vec<&str> = spans(cells[1]).collect();
        let defaults: Vec<&str> = spans(cells[2]).collect();
        let words = cells[2].split('`').step_by(2).map(str::trim);
        let values_alone = words.clone().all(|word| word.is_empty() || word == ",");
        for (i, name) in names.iter().enumerate() {
            let is_one_each = values_alone && defaults.len() == names.len();
            let default = is_one_each.then(|| defaults[i].to_owned());
            let doubled = variables.insert((*name).to_owned(), default);
            assert!(doubled.is_none(), "docs/settings.md has {name} twice");
        }
    }
    variables
}

#[test]
fn settings_are_those_that_help_shows() {
    let of_help = variables_of_help();
    let of_page = variables_of_the_page(&page("docs/settings.md"));
    let names: BTreeSet<&String> = of_help.keys().collect();
    let named: BTreeSet<&String> = of_page.keys().collect();
    let missing: Vec<_> = names.difference(&named).collect();
    let gone: Vec<_> = named.difference(&names).collect();
    assert!(
        missing.is_empty() && gone.is_empty(),
        "docs/settings.md lacks {missing:?}, and no program reads {gone:?}"
    );
    let mut compared = 0;
    for (name, default) in &of_page {
        // A default with a placeholder, such as `order<id>.db`, stands for several.
        let Some(default) = default.as_ref().filter(|d| !d.contains('<')) else {
            continue;
        };
        assert!(
            of_help[name].contains(default),
            "docs/settings.md: {name} has the default {default}, --help shows {:?}",
            of_help[name]
        );
        compared += 1;
    }
    assert!(compared > 12, "the defaults are found: {compared}");
}

#[test]
fn links_between_pages_resolve() {
    let mut looked_at = 0;
    for path in pages() {
        let (prose, _) = prose_and_code(&read(&path));
        for link in prose.split("](").skip(1) {
            let link = link.split(')').next().expect("an end");
            if link.contains("://") {
                continue;
            }
            looked_at += 1;
            let (file, heading) = link.split_once('#').unwrap_or((link, ""));
            let target = match file {
                "" => path.clone(),
                file => path.parent().expect("a folder").join(file),
            };
            assert!(target.exists(), "{}: no such file: {link}", path.display());
            if heading.is_empty() {
                continue;
            }
            let headings = read(&target);
            let mut headings = headings.lines().filter(|line| line.starts_with('#'));
            assert!(
                headings.any(|line| anchor(line.trim_start_matches('#')) == heading),
                "{}: no such heading: {link}",
                path.display()
            );
        }
    }
    assert!(looked_at > 80, "the links are found: {looked_at}");
}

/// Tests, scenarios and files that `docs/failures.md` gives as evidence exist.
#[test]
fn evidence_for_failures_exists() {
    let (prose, _) = prose_and_code(&page("docs/failures.md"));
    let paths = files(".rs");
    // This file names none of them.
    let sources = paths.iter().filter(|path| !path.ends_with("pages.rs"));
    let sources: String = sources.map(|path| read(path)).collect();
    // Golden scripts are tests in files of their own: the file's name is the test's.
    let all = files("");
    let scripts = all
        .iter()
        .filter(|path| path.components().any(|part| part.as_os_str() == "scripts"));
    let scripts: BTreeSet<_> = scripts.filter_map(|path| path.file_name()).collect();
    // Lints that hold a mend stand beside the tests.
    let lints = page("Cargo.toml");
    let (mut tests, mut scenarios) = (0, 0);
    for name in spans(&prose) {
        let is_word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "_-".contains(c);
        if !name.starts_with(|c: char| c.is_ascii_lowercase()) || !name.chars().all(is_word) {
            continue;
        }
        if name.contains('_') {
            let is_there = sources.contains(&format!("fn {name}("))
                || scripts.contains(OsStr::new(name))
                || lints.contains(name);
            assert!(is_there, "docs/failures.md names no such test: {name}");
            tests += 1;
        } else if name.contains('-') {
            let is_there = sources.contains(&format!("\"{name}\""));
            assert!(is_there, "docs/failures.md names no such scenario: {name}");
            scenarios += 1;
        }
    }
    assert!(
        tests > 90 && scenarios > 35,
        "the names are found: {tests} tests, {scenarios} scenarios"
    );
    let no_path = |c: char| !c.is_ascii_alphanumeric() && !"_/.-".contains(c);
    let words = prose.split(no_path).filter(|word| word.ends_with(".rs"));
    for word in words.map(|word| word.trim_start_matches("../")) {
        assert!(
            paths.iter().any(|path| path.ends_with(word)),
            "docs/failures.md names no such file: {word}"
        );
    }
}

/// A reader of `docs/tests.md` finds every file of system tests, and no other.
#[test]
fn files_of_tests_are_listed() {
    let page = page("docs/tests.md");
    let no_name = |c: char| !c.is_ascii_alphanumeric() && !"_.".contains(c);
    let named: BTreeSet<&str> = page
        .split(no_name)
        .filter(|word| word.ends_with(".rs"))
        .collect();
    let paths = files(".rs");
    let unnamed: Vec<_> = paths
        .iter()
        .filter(|path| {
            path.parent()
                .is_some_and(|folder| folder.ends_with("tests/tests"))
        })
        .filter(|path| !named.iter().any(|name| path.ends_with(name)))
        .collect();
    assert!(
        unnamed.is_empty(),
        "docs/tests.md does not list {unnamed:?}"
    );
    for name in named {
        assert!(
            paths.iter().any(|path| path.ends_with(name)),
            "docs/tests.md names no such file: {name}"
        );
    }
}

#[test]
fn make_goals_exist() {
    let makefile = page("Makefile");
    let is_goal = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "- ".contains(c);
    let goals: BTreeSet<&str> = makefile
        .lines()
        .filter_map(|line| line.split_once(':'))
        .filter(|(goals, _)| !goals.is_empty() && goals.chars().all(is_goal))
        .flat_map(|(goals, _)| goals.split_whitespace())
        .collect();
    let mut named = 0;
    for path in pages() {
        let (prose, code) = prose_and_code(&read(&path));
        let lines = code
            .lines()
            .map(|line| line.trim().trim_start_matches("$ "));
        for command in spans(&prose).chain(lines) {
            let mut words = command.split_whitespace();
            let (Some("make"), Some(goal)) = (words.next(), words.next()) else {
                continue;
            };
            named += 1;
            assert!(
                goals.contains(goal),
                "{}: no such goal: make {goal}",
                path.display()
            );
        }
    }
    assert!(named > 40, "the goals are found: {named}");
}

/// `docs/protocol.md` names structs of the wire.
#[test]
fn messages_of_the_protocol_exist() {
    let wire: String = files(".rs")
        .iter()
        .filter(|path| path.components().any(|part| part.as_os_str() == "wire"))
        .map(|path| read(path))
        .collect();
    let declared = |name: &str| {
        let follows = |rest: &str| rest.starts_with(|c: char| !c.is_alphanumeric());
        ["struct ", "enum ", "type "].iter().any(|kind| {
            let declaration = format!("{kind}{name}");
            wire.split(&declaration).skip(1).any(follows)
        })
    };
    let (prose, _) = prose_and_code(&page("docs/protocol.md"));
    let mut named = 0;
    for name in spans(&prose) {
        let is_type = name.starts_with(|c: char| c.is_ascii_uppercase())
            && name.chars().all(|c| c.is_ascii_alphabetic())
            && name.contains(|c: char| c.is_ascii_lowercase());
        if is_type && !["Host", "Origin"].contains(&name) {
            named += 1;
            assert!(
                declared(name),
                "docs/protocol.md names no such type: {name}"
            );
        }
    }
    assert!(named > 25, "the types are found: {named}");
}

#[test]
fn the_readme_is_short() {
    let words = page("README.md").split_whitespace().count();
    assert!(words <= README_WORDS, "README.md has {words} words");
}

/// Tables may be wider, and so may what programs print.
#[test]
fn lines_of_pages_are_short() {
    let mut long = Vec::new();
    for path in pages() {
        let (prose, _) = prose_and_code(&read(&path));
        let lines = prose.lines().filter(|line| !line.starts_with('|'));
        long.extend(too_long(&path, lines));
    }
    assert!(long.is_empty(), "{}", long.join("\n"));
}

/// rustfmt leaves long texts and macros as they are.
#[test]
fn lines_of_code_are_short() {
    let endings = [
        ".rs",
        ".css",
        ".html",
        ".js",
        ".py",
        ".sh",
        "Makefile",
        "Dockerfile",
    ];
    let mut paths = vec![root().join(".ci/run")];
    for ending in endings {
        let found = files(ending);
        assert!(!found.is_empty(), "there are files that end in {ending}");
        paths.extend(found);
    }
    assert!(paths.len() > 250, "the code is found: {}", paths.len());
    let mut long = Vec::new();
    for path in paths {
        long.extend(too_long(&path, read(&path).lines()));
    }
    assert!(long.is_empty(), "{}", long.join("\n"));
}

fn too_long<'a>(path: &Path, lines: impl Iterator<Item = &'a str>) -> Vec<String> {
    let long = lines.filter(|line| line.chars().count() > COLUMNS);
    long.map(|line| format!("{}: over {COLUMNS} columns: {line}", path.display()))
        .collect()
}
