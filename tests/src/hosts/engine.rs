//! The container engine, by its command line, and commands in a container's network namespace.

use common::secret;
use std::ffi::OsStr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

/// The label of everything that a test makes; its value is the test's name.
pub const LABEL: &str = "bazaar-hosts";

/// Runs a program to its end. Returns its standard output without the end of the last line.
///
/// # Errors
/// When it is missing or fails, with what it said.
pub fn run<A: AsRef<OsStr>>(program: &str, arguments: &[A]) -> Result<String, String> {
    let output = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("{program}: {error}"))?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end().to_owned();
    if output.status.success() {
        return Ok(text(&output.stdout));
    }
    let arguments: Vec<_> = arguments
        .iter()
        .map(|argument| argument.as_ref().to_string_lossy())
        .collect();
    Err(format!(
        "{program} {}: {}: {}",
        arguments.join(" "),
        output.status,
        text(&output.stderr)
    ))
}

/// Runs the engine's command line.
///
/// # Errors
/// Those of [`run`].
pub fn docker<A: AsRef<OsStr>>(arguments: &[A]) -> Result<String, String> {
    run("docker", arguments)
}

/// The same where a failure is one of the test.
///
/// # Panics
/// When it fails.
pub fn must<A: AsRef<OsStr>>(arguments: &[A]) -> String {
    docker(arguments).unwrap_or_else(|error| panic!("{error}"))
}

/// Why containers cannot be used as hosts here; `None` where they can.
pub fn missing() -> Option<String> {
    if let Err(error) = docker(&["version", "--format", "{{.Server.Version}}"]) {
        return Some(format!("no container engine answers ({error})"));
    }
    if !rustix::process::geteuid().is_root() {
        return Some("cutting networks needs root".into());
    }
    for (program, package) in [
        ("nsenter", "util-linux"),
        ("iptables", "iptables"),
        ("tc", "iproute2"),
        ("ip", "iproute2"),
    ] {
        if let Err(error) = run("sh", &["-c", &format!("command -v {program}")]) {
            return Some(format!(
                "{program} is missing: apt install {package} ({error})"
            ));
        }
    }
    None
}

/// The image of a run.
#[derive(Debug)]
pub struct Image {
    name: String,
    built: bool,
}

impl Image {
    /// The image that `BAZAAR_HOSTS_IMAGE` names, or one built from the project's Dockerfile under
    /// a name of its own, which is removed in the end.
    ///
    /// # Panics
    /// When it cannot be built.
    #[must_use]
    pub fn of_this_run() -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let root = root.to_str().expect("UTF-8");
        // Where a registry answers, the engine fetches them itself.
        let bases = format!("{root}/tests/hosts/base-images.sh");
        let made = run(&bases, &[""; 0]).unwrap_or_else(|error| panic!("{error}"));
        for image in made.lines() {
            println!("made {image}");
        }
        if let Ok(name) = std::env::var("BAZAAR_HOSTS_IMAGE") {
            must(&["image", "inspect", "--format", "{{.Id}}", &name]);
            return Self { name, built: false };
        }
        let name = format!("bazaar-hosts:{}", secret::hex(4));
        println!("building {name}");
        let start = Instant::now();
        // The host's network: a build may need its name server.
        let build = ["build", "--quiet", "--network", "host", "--tag"];
        must(&[&build[..], &[&name, root]].concat());
        println!("built in {} s", start.elapsed().as_secs());
        Self { name, built: true }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        // The layers stay as the engine's build cache: the next run builds only what changed.
        if self.built
            && let Err(error) = docker(&["rmi", "--no-prune", &self.name])
        {
            eprintln!("the image's name stays: {error}");
        }
    }
}

/// Runs a program in a container's network namespace.
///
/// # Errors
/// Those of [`run`].
pub fn in_namespace(pid: &str, arguments: &[&str]) -> Result<String, String> {
    let all = [&["--target", pid, "--net"], arguments].concat();
    run("nsenter", &all)
}
