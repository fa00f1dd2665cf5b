//! `docs/operations.md` agrees with the code: the metrics that it names exist, and every warning
//! that a service may log is explained.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use tests::harness::Bazaar;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn page() -> String {
    fs::read_to_string(root().join("docs/operations.md")).expect("the page")
}

/// The words of a text that begin with the prefix of our metrics.
fn metrics_in(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let name = |word: &str| {
        let name = ["_bucket", "_sum", "_count"]
            .iter()
            .find_map(|part| word.strip_suffix(part))
            .unwrap_or(word);
        name.to_owned()
    };
    words
        .filter(|word| word.starts_with("bazaar_"))
        .map(name)
        .collect()
}

/// Every metric that the page names is one that some service has, and every one that a service has
/// is named.
#[test]
fn metrics_exist() {
    let bazaar = Bazaar::start();
    bazaar
        .trade("FishCo", common::wire::order::Side::Buy, 1)
        .expect("trades");
    bazaar.wait_level();
    let there: BTreeSet<String> = bazaar
        .cluster
        .services()
        .into_iter()
        .flat_map(|service| {
            let text = bazaar
                .cluster
                .internal(service)
                .get("/metrics")
                .expect("answers")
                .body;
            let names = text.lines().filter_map(|line| {
                line.strip_prefix("# TYPE ")?
                    .split(' ')
                    .next()
                    .map(Into::into)
            });
            names.collect::<Vec<String>>()
        })
        .collect();
    let named = metrics_in(&page());
    let unknown: Vec<_> = named.difference(&there).collect();
    assert!(
        unknown.is_empty(),
        "docs/operations.md names metrics that no service has: {unknown:?}"
    );
    let unnamed: Vec<_> = there.difference(&named).collect();
    assert!(
        unnamed.is_empty(),
        "docs/operations.md does not name {unnamed:?}"
    );
    bazaar.close();
}

/// The messages of all `warn!` and `error!` lines of a source: the last text in the parentheses, up
/// to the first thing filled in.
fn messages(source: &str) -> Vec<String> {
    let mut found = Vec::new();
    for level in ["tracing::warn!(", "tracing::error!("] {
        for (at, _) in source.match_indices(level) {
            let (mut depth, mut text, mut last) = (1, None::<String>, String::new());
            let mut rest = source[at + level.len()..].chars().peekable();
            while let (true, Some(c)) = (depth > 0, rest.next()) {
                match (&mut text, c) {
                    // A line that goes on: the break and the indentation are no part of the text.
                    (Some(_), '\\') if rest.peek() == Some(&'\n') => {
                        while rest.next_if(|c| c.is_whitespace()).is_some() {}
                    }
                    (Some(text), '\\') => text.extend(rest.next()),
                    (Some(_), '"') => last = text.take().unwrap_or_default(),
                    (Some(text), c) => text.push(c),
                    (None, '"') => text = Some(String::new()),
                    (None, '(') => depth += 1,
                    (None, ')') => depth -= 1,
                    (None, _) => {}
                }
            }
            found.push(
                last.split('{')
                    .next()
                    .unwrap_or_default()
                    .trim_end()
                    .to_owned(),
            );
        }
    }
    found
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder)
        .expect("a folder of sources")
        .flatten()
        .map(|entry| entry.path());
    let (folders, files): (Vec<_>, Vec<_>) = entries.partition(|path| path.is_dir());
    files
        .into_iter()
        .chain(folders.iter().flat_map(|folder| sources(folder)))
        .collect()
}

/// Every warning and error that a service may log is in the table, and the table has none that no
/// service logs.
#[test]
fn lines_are_explained() {
    let page = page();
    let rows = page.lines().filter_map(|line| {
        let cells: Vec<_> = line.split('|').map(str::trim).collect();
        let is_line = matches!(cells.get(1), Some(&("error" | "warn")));
        is_line.then(|| cells[3].trim_matches('`').to_owned())
    });
    let explained: BTreeSet<String> = rows.collect();
    // The page ends a line that goes on with "…".
    let is_about = |row: &str, line: &str| match row.strip_suffix('…') {
        Some(beginning) => line.starts_with(beginning.trim_end()),
        None => row == line,
    };
    let logged: BTreeSet<String> = ["common", "catalog", "order", "frontend"]
        .iter()
        .flat_map(|part| sources(&root().join(part).join("src")))
        .flat_map(|file| messages(&fs::read_to_string(file).expect("a source")))
        .collect();
    assert!(logged.len() > 50, "the lines are found: {logged:?}");
    let unexplained: Vec<_> = logged
        .iter()
        .filter(|line| !explained.iter().any(|row| is_about(row, line)))
        .collect();
    assert!(
        unexplained.is_empty(),
        "docs/operations.md does not explain {unexplained:#?}"
    );
    let gone: Vec<_> = explained
        .iter()
        .filter(|row| !logged.iter().any(|line| is_about(row, line)))
        .collect();
    assert!(
        gone.is_empty(),
        "docs/operations.md explains what no service logs: {gone:#?}"
    );
}

/// The rules of `docs/alerts.yml` are those of the page: names, expressions and times.
#[test]
fn alert_rules_are_those_of_the_page() {
    let page = page();
    let table = page.split("## What to alert on").nth(1).expect("the table");
    let table = table.split("\n## ").next().expect("its end");
    let rows = table.lines().filter_map(|line| {
        let cells: Vec<_> = line.split('|').map(str::trim).collect();
        let expression = cells.get(2)?.strip_prefix('`')?.strip_suffix('`')?;
        let time = match cells[3] {
            "at once" => String::new(),
            time => time.replace(" min", "m").replace(" s", "s"),
        };
        Some((cells[1].replace(' ', "_"), expression.to_owned(), time))
    });
    let shown: Vec<_> = rows.collect();
    let rules = fs::read_to_string(root().join("docs/alerts.yml")).expect("the rules");
    let rules: Vec<_> = rules
        .split("- alert: ")
        .skip(1)
        .map(|rule| {
            let field = |name: &str| {
                let value = rule.lines().find_map(|line| line.trim().strip_prefix(name));
                value.unwrap_or_default().trim_matches('\'').to_owned()
            };
            let name = rule.lines().next().unwrap_or_default().to_owned();
            (name, field("expr: "), field("for: "))
        })
        .collect();
    assert!(shown.len() > 15, "the rows are found: {shown:?}");
    assert_eq!(shown, rules);
}

/// Prometheus takes the rules, and on series of `docs/alerts_test.yml` those fire that must: orders
/// that all fail among many lookups, and no others.
#[test]
fn prometheus_fires_the_alerts() {
    let test = root().join("docs/alerts_test.yml");
    let ran = Command::new("promtool")
        .args(["test", "rules"])
        .arg(&test)
        .output();
    let output = match ran {
        Ok(output) => output,
        Err(error) => {
            assert!(
                std::env::var_os("BAZAAR_PROMTOOL_REQUIRED").is_none(),
                "promtool does not run: {error}"
            );
            let missing = "promtool does not run (sudo apt install prometheus): the alert rules \
                           were not tried";
            // Not by a macro: what those print is shown of failed tests only.
            let _ = writeln!(io::stderr(), "SKIPPED: {missing}");
            return;
        }
    };
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    assert!(
        output.status.success() && said.contains("SUCCESS"),
        "{said}"
    );
}
