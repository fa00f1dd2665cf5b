//! The folder of a bazaar. Only its user may read it, and [`take`] tightens the rights of an older
//! one.

use super::PIDS;
use cluster::LOGS;
use common::private;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Prefixes of the names of a bazaar's files.
const OURS: [&str; 6] = [
    "catalog.db",
    "order",
    "bazaar.lock",
    "token",
    "url",
    "control.sock",
];
/// Mode bit of a folder in which all users may create files.
const STICKY: u32 = 0o1000;

/// Makes the folder with its subfolders, or takes that of an earlier run. Returns a message where
/// it took other users' rights away.
///
/// # Errors
/// When it belongs to another user, all users share it, or it holds a link in place of one of our
/// files.
pub(super) fn take(folder: &Path) -> Result<Option<String>, String> {
    let shown = folder.display();
    let explain = |e: io::Error| format!("cannot use {shown}: {e}");
    // Before anything follows it: another user's link could lead anywhere.
    if private::is_planted(folder).map_err(explain)? {
        return Err(format!(
            "{shown} is another user's link: name a folder of your own with --dir"
        ));
    }
    fs::create_dir_all(folder).map_err(|e| format!("cannot make {shown}: {e}"))?;
    check_owner(folder)?;
    check_shared(folder).map_err(explain)??;
    let mut opened = private::tighten(folder).map_err(explain)?;
    // From here on, no other user can create an entry.
    for part in [LOGS, PIDS] {
        let path = folder.join(part);
        check_entry(&path)?;
        fs::create_dir_all(&path).map_err(|e| format!("cannot make {}: {e}", path.display()))?;
    }
    for path in entries(folder).map_err(explain)? {
        check_entry(&path)?;
        opened |= private::tighten(&path).map_err(explain)?;
    }
    Ok(opened.then(|| {
        format!(
            "{shown} could be read by other users: its folders have mode 0700 now, its files 0600"
        )
    }))
}

/// Replaces a file. It removes the old one first, so that neither its rights nor a link's target
/// matter.
pub(super) fn write_anew(path: &Path, text: &str) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = private::options().write(true).create_new(true).open(path)?;
    file.write_all(text.as_bytes())
}

/// Our files in the folder, and all files in the folders of logs and process ids.
fn entries(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut all = Vec::new();
    for part in [LOGS, PIDS] {
        all.push(folder.join(part));
        for entry in fs::read_dir(folder.join(part))? {
            all.push(entry?.path());
        }
    }
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if OURS.iter().any(|beginning| name.starts_with(beginning)) {
            all.push(entry.path());
        }
    }
    Ok(all)
}

fn check_owner(path: &Path) -> Result<(), String> {
    let found = fs::metadata(path).map_err(|e| format!("cannot use {}: {e}", path.display()))?;
    if found.uid() == private::user() {
        return Ok(());
    }
    Err(format!(
        "{} belongs to user {}, and this is user {}: name a folder of your own with --dir",
        path.display(),
        found.uid(),
        private::user()
    ))
}

/// Refuses a folder that other users use on purpose, such as `/tmp`: its rights must stay.
fn check_shared(folder: &Path) -> io::Result<Result<(), String>> {
    let is_shared = fs::metadata(folder)?.mode() & STICKY != 0
        && !folder.join("bazaar.lock").exists()
        && fs::read_dir(folder)?.next().is_some();
    if is_shared || fs::canonicalize(folder)?.parent().is_none() {
        return Ok(Err(format!(
            "{} is shared by all users: name a folder of your own with --dir",
            folder.display()
        )));
    }
    Ok(Ok(()))
}

/// An entry must be a file or folder of this user, and no link. Another user may have planted a
/// link while the folder was open, and it would redirect our writes.
fn check_entry(path: &Path) -> Result<(), String> {
    let shown = path.display();
    match fs::symlink_metadata(path) {
        Ok(found) if found.is_symlink() => Err(format!(
            "{shown} is a link, and links in this folder are not followed: \
             remove it, or name the folder that it leads to with --dir"
        )),
        Ok(found) if found.uid() != private::user() => Err(format!(
            "{shown} belongs to user {}: remove it, or name another folder with --dir",
            found.uid()
        )),
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(format!("cannot use {shown}: {e}")),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::Permissions;
    use std::os::unix::fs::{PermissionsExt, symlink};

    fn mode(path: &Path) -> u32 {
        fs::symlink_metadata(path).expect("there").mode() & 0o777
    }

    fn open_to_all(path: &Path, mode: u32) {
        fs::set_permissions(path, Permissions::from_mode(mode)).expect("ours");
    }

    /// `take` tightens a folder of an earlier version with a message; other files stay as they are.
    #[test]
    fn an_open_folder_is_tightened_with_a_message() {
        let outer = tempfile::tempdir().expect("a folder");
        let folder = outer.path().join("run");
        fs::create_dir_all(folder.join(LOGS)).expect("made");
        for name in [
            "catalog.db",
            "catalog.db-shm",
            "order1.db",
            "notes.txt",
            "logs/order1.log",
        ] {
            fs::write(folder.join(name), "").expect("written");
            open_to_all(&folder.join(name), 0o644);
        }
        open_to_all(&folder.join(LOGS), 0o755);
        open_to_all(&folder, 0o777);
        let word = take(&folder).expect("ours").expect("a word");
        assert!(word.contains("0700"), "{word}");
        assert_eq!((mode(&folder), mode(&folder.join(LOGS))), (0o700, 0o700));
        for name in [
            "catalog.db",
            "catalog.db-shm",
            "order1.db",
            "logs/order1.log",
        ] {
            assert_eq!(mode(&folder.join(name)), 0o600, "{name}");
        }
        assert_eq!(mode(&folder.join("notes.txt")), 0o644);
        assert_eq!(take(&folder), Ok(None), "once");
    }

    /// A link in place of a file or folder of ours is not followed.
    #[test]
    fn planted_links_are_not_followed() {
        for name in [
            LOGS,
            "catalog.db",
            "bazaar.lock",
            "token",
            "logs/order1.log",
            "pids/x.pid",
        ] {
            let outer = tempfile::tempdir().expect("a folder");
            let (folder, target) = (outer.path().join("run"), outer.path().join("target"));
            let link = folder.join(name);
            fs::create_dir_all(link.parent().expect("a parent")).expect("made");
            symlink(&target, &link).expect("made");
            let error = take(&folder).expect_err(name);
            assert!(
                error.contains("is a link") && error.contains(name),
                "{error}"
            );
            assert!(!target.exists(), "{name}");
        }
        let folder = tempfile::tempdir().expect("a folder");
        let (target, link) = (folder.path().join("target"), folder.path().join("url"));
        symlink(&target, &link).expect("made");
        write_anew(&link, "new").expect("written");
        assert!(!target.exists() && mode(&link) == 0o600);
    }

    /// A folder that all users share keeps its rights.
    #[test]
    fn a_shared_folder_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join("somebody's"), "").expect("written");
        open_to_all(folder.path(), 0o1777);
        assert!(take(folder.path()).expect_err("shared").contains("shared"));
        assert_eq!(mode(folder.path()), 0o777);
        assert!(take(Path::new("/")).is_err());
    }
}
