//! The owner of a port or file that a start needs: the process that listens there or holds the
//! lock. Looked up in `/proc`, as far as it lets this user see; for messages only.

use crate::settings::addresses::ListenAddress;
use crate::terminal;
use std::fs;
use std::io;
use std::net::TcpListener;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// State of a listening socket in `/proc/net/tcp`.
const LISTENING: &str = "0A";

/// Says why an address cannot be listened on: the variable that names it, who has the port where
/// that can be known, and the remedy.
pub fn explain_listen(variable: &str, address: &ListenAddress, error: &io::Error) -> io::Error {
    let remedy = match error.kind() {
        io::ErrorKind::AddrInUse => {
            // Another user's processes hide their descriptors.
            let who = listener(address.port())
                .unwrap_or_else(|| "a process that cannot be seen from here".into());
            format!("{who} has the port: stop it, or set {variable} to another address")
        }
        io::ErrorKind::AddrNotAvailable => {
            format!(
                "this machine does not have that address: set {variable} to one of its own, or to \
                 0.0.0.0 for all"
            )
        }
        io::ErrorKind::PermissionDenied => {
            format!(
                "ports below 1024 are for privileged processes: set {variable} to a port from 1024 \
                 to 32767"
            )
        }
        _ => format!("set {variable} to another address"),
    };
    io::Error::new(
        error.kind(),
        format!("{variable}={address}: {error}; {remedy}"),
    )
}

/// Whether an address can be listened on now. A service asks before it makes files, so that a start
/// that fails for its port leaves none.
///
/// # Errors
/// As [`explain_listen`] says it.
pub fn check_listen(variable: &str, address: &ListenAddress) -> io::Result<()> {
    // Free for a moment: the real listener is bound later, and reports it itself if somebody was
    // faster.
    TcpListener::bind(address.one())
        .map(drop)
        .map_err(|error| explain_listen(variable, address, &error))
}

/// Says why a database file cannot be used: the variable that names it, and the remedy where the
/// error does not say it.
pub fn explain_file(variable: &str, file: &Path, error: &io::Error) -> io::Error {
    let remedy = match error.kind() {
        io::ErrorKind::NotFound => {
            format!("; make its folder, or set {variable} to a file elsewhere")
        }
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            format!("; let this user write its folder, or set {variable} to a file elsewhere")
        }
        _ => String::new(),
    };
    io::Error::new(
        error.kind(),
        format!("{variable}={}: {error}{remedy}", file.display()),
    )
}

/// The process that listens on a TCP port, as `process 12 (catalog)`; `None` when that cannot be
/// seen.
pub fn listener(port: u16) -> Option<String> {
    listener_pid(port).map(name)
}

/// The id of the process that listens on a TCP port; `None` when that cannot be seen.
pub fn listener_pid(port: u16) -> Option<u32> {
    // Both tables: a socket of `::` takes callers of IPv4 too, and stands in the second.
    let sockets: Vec<String> = ["/proc/net/tcp", "/proc/net/tcp6"]
        .iter()
        .filter_map(|table| fs::read_to_string(table).ok())
        .flat_map(|table| {
            let inodes = table
                .lines()
                .filter_map(|line| listening_socket(line, port));
            inodes
                .map(|inode| format!("socket:[{inode}]"))
                .collect::<Vec<_>>()
        })
        .collect();
    // Two steps, since `/proc/net/tcp` names inodes and only a process's own folder says which it
    // has open.
    let has_one = |process: &Path| {
        fs::read_dir(process.join("fd")).is_ok_and(|open| {
            let targets = open
                .flatten()
                .filter_map(|descriptor| fs::read_link(descriptor.path()).ok());
            targets.into_iter().any(|target| {
                sockets
                    .iter()
                    .any(|socket| target.as_os_str() == socket.as_str())
            })
        })
    };
    // Before all processes are walked through, which takes long.
    if sockets.is_empty() {
        return None;
    }
    let processes = fs::read_dir("/proc").ok()?.flatten();
    let pid = |name: &str| name.parse::<u32>().ok();
    processes
        .filter_map(|entry| Some((pid(entry.file_name().to_str()?)?, entry.path())))
        .find(|(_, process)| has_one(process))
        .map(|(pid, _)| pid)
}

/// The inode of a listening socket on this port in a line of `/proc/net/tcp`.
fn listening_socket(line: &str, port: u16) -> Option<&str> {
    let mut fields = line.split_whitespace().skip(1);
    let (local, _remote, state) = (fields.next()?, fields.next()?, fields.next()?);
    let (_, local_port) = local.rsplit_once(':')?;
    let fits = state == LISTENING && u16::from_str_radix(local_port, 16) == Ok(port);
    if fits { fields.nth(5) } else { None }
}

/// The process that holds the lock of an open file, as `process 12 (catalog)`; `None` when that
/// cannot be seen.
#[must_use]
pub fn lock_holder(file: &fs::File) -> Option<String> {
    lock_holder_pid(file).map(name)
}

/// The id of the process that holds the lock of an open file; `None` when that cannot be seen.
#[must_use]
pub fn lock_holder_pid(file: &fs::File) -> Option<u32> {
    let inode = file.metadata().ok()?.ino().to_string();
    let locks = fs::read_to_string("/proc/locks").ok()?;
    locks.lines().find_map(|line| locking_process(line, &inode))
}

/// The process of a line of `/proc/locks`, if that is a lock on the whole of this file.
fn locking_process(line: &str, inode: &str) -> Option<u32> {
    // `flock` alone: SQLite's own locks are of another kind, and do not say who runs the service.
    let mut fields = line
        .split_whitespace()
        .skip_while(|field| *field != "FLOCK");
    let pid = fields.nth(3)?.parse().ok()?;
    let (_, locked) = fields.next()?.rsplit_once(':')?;
    (locked == inode).then_some(pid)
}

fn name(pid: u32) -> String {
    match fs::read_to_string(format!("/proc/{pid}/comm")) {
        // A process names itself as it likes.
        Ok(command) => format!("process {pid} ({})", terminal::escape(command.trim())),
        Err(_) => format!("process {pid}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    /// A listener of this process is found by its port, and the message names it, the variable and
    /// the remedy.
    #[test]
    fn finds_a_listener() {
        let listening = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let address = listening.local_addr().expect("an address");
        let own = format!("process {} (", std::process::id());
        assert!(
            listener(address.port()).is_some_and(|who| who.starts_with(&own)),
            "{:?}",
            listener(address.port())
        );
        let error = TcpListener::bind(address).expect_err("in use");
        let text = explain_listen("X_LISTEN", &address.into(), &error).to_string();
        for part in [
            format!("X_LISTEN={address}: "),
            own,
            "set X_LISTEN to another".into(),
        ] {
            assert!(text.contains(&part), "{part}: {text}");
        }
        drop(listening);
        assert_eq!(listener(address.port()), None);
    }

    /// The holder of a lock is this process.
    #[test]
    fn finds_a_lock_holder() {
        let file = tempfile::tempfile().expect("a file");
        assert_eq!(lock_holder(&file), None);
        file.lock().expect("locks");
        let holder = lock_holder(&file).expect("is seen");
        assert!(
            holder.starts_with(&format!("process {}", std::process::id())),
            "{holder}"
        );
    }

    /// Lines of the tables as the kernel writes them.
    #[test]
    fn lines_of_the_tables() {
        let line = "   0: 0100007F:1BBC 00000000:0000 0A 00000000:00000000 00:00000000 \
                    00000000     0        0 4242 1 0000";
        assert_eq!(listening_socket(line, 7_100), Some("4242"));
        assert_eq!(listening_socket(line, 7_101), None);
        assert_eq!(listening_socket(&line.replace(" 0A ", " 01 "), 7_100), None);
        let lock = "1: FLOCK  ADVISORY  WRITE 77 08:01:1234 0 EOF";
        assert_eq!(locking_process(lock, "1234"), Some(77));
        assert_eq!(locking_process(lock, "123"), None);
        assert_eq!(
            locking_process(&lock.replace("FLOCK", "POSIX"), "1234"),
            None
        );
    }

    /// The message about a folder that cannot be used names the variable and the remedy.
    #[test]
    fn explains_files() {
        let message = |kind| {
            explain_file("X_DB", Path::new("/x/y.db"), &io::Error::new(kind, "why")).to_string()
        };
        assert!(message(io::ErrorKind::NotFound).contains("X_DB=/x/y.db: why; make its folder"));
        assert!(
            message(io::ErrorKind::PermissionDenied).contains("let this user write its folder")
        );
        assert_eq!(message(io::ErrorKind::ResourceBusy), "X_DB=/x/y.db: why");
    }
}
