//! The files for containers agree with the project: toolchain, crates, programs, settings. What
//! they do is shown by `tests/tests/hosts.rs`, which builds and runs the image.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use tests::tool;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn file(name: &str) -> String {
    fs::read_to_string(root().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// The words between quotes in the lines of a list of TOML.
fn quoted(text: &str) -> BTreeSet<String> {
    let words = text.split('"').skip(1).step_by(2);
    words.map(ToOwned::to_owned).collect()
}

/// The image is built with the toolchain that the project pins.
#[test]
fn the_image_has_the_pinned_toolchain() {
    let pinned = file("rust-toolchain.toml");
    let pinned = pinned
        .lines()
        .find_map(|line| line.strip_prefix("channel = "))
        .expect("a channel")
        .trim_matches('"');
    let from = format!("FROM rust:{pinned}-slim-bookworm AS dependencies");
    assert!(
        file("Dockerfile").lines().any(|line| line == from),
        "no line: {from}"
    );
}

/// The manifests of all crates, and no others, are there before the dependencies are built; and
/// they get into the build.
#[test]
fn the_image_knows_every_crate_and_program() {
    let workspace = file("Cargo.toml");
    let members = workspace
        .lines()
        .find_map(|line| line.strip_prefix("members = "))
        .expect("members");
    let dockerfile = file("Dockerfile");
    let copied: BTreeSet<String> = dockerfile
        .lines()
        .filter_map(|line| line.strip_prefix("COPY ")?.split_once("/Cargo.toml "))
        .map(|(folder, _)| folder.to_owned())
        .collect();
    assert_eq!(copied, quoted(members));
    // One loop over the crates with a program, by folder, and one over the programs, by name.
    let loops: Vec<BTreeSet<&str>> = dockerfile
        .lines()
        .filter_map(|line| {
            line.trim()
                .strip_prefix("for program in ")?
                .split_once("; do")
        })
        .map(|(list, _)| list.split(' ').collect())
        .collect();
    let has_main = |folder: &&&str| root().join(folder).join("src/main.rs").exists();
    let folders = copied.iter().map(String::as_str).collect::<Vec<_>>();
    let folders: BTreeSet<&str> = folders.iter().filter(has_main).copied().collect();
    let name = |folder: &str| folder.rsplit('/').next().unwrap_or_default().to_owned();
    let names: Vec<String> = folders.iter().map(|folder| name(folder)).collect();
    let names = names.iter().map(String::as_str).collect();
    assert_eq!(loops, [folders, names]);
}

/// Every variable that the compose file sets for a service is one that its program reads, and
/// every program that it starts exists.
#[test]
fn the_compose_file_sets_what_programs_read() {
    let mut known = String::new();
    for program in ["catalog", "order", "frontend"] {
        known += &tool::run(program, &["--help"], &[]).out;
    }
    let compose = file("compose.yaml");
    let is_ours = |name: &&str| {
        let beginnings = ["BAZAAR_", "CATALOG_", "ORDER_", "FRONTEND_", "PGPASSWORD"];
        beginnings
            .iter()
            .any(|beginning| name.starts_with(beginning))
    };
    let no_name = |c: char| !(c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_');
    let mut named = 0;
    for line in compose
        .lines()
        .filter(|line| !line.trim_start().starts_with('#'))
    {
        // `NAME: value`, alone or within braces.
        for (at, _) in line.match_indices(": ") {
            let name = line[..at].rsplit(no_name).next().unwrap_or_default();
            if is_ours(&name) {
                named += 1;
                assert!(
                    known.contains(&format!("  {name}\n")),
                    "no program reads {name}"
                );
            }
        }
    }
    assert!(named > 15, "the variables are found: {named}");
}
