//! The bazaar in a folder, as other commands than `run` see it.

use super::{Action, DEFAULT_FOLDER};
use cluster::service::Service;
use common::filelock::FileLock;
use common::port_owner::listener_pid;
use common::terminal::shell_word;
use std::collections::BTreeMap;
use std::fmt::Display;
use std::fs;
use std::path::{Path, PathBuf};

/// File in the folder with the front-end's URL.
pub(super) const URL_FILE: &str = "url";
/// Name of the folder of the process ids.
pub(super) const PIDS: &str = "pids";

/// URL of the front-end that ran last in this folder.
pub fn saved_url(folder: &Path) -> Option<String> {
    Some(
        fs::read_to_string(folder.join(URL_FILE))
            .ok()?
            .trim()
            .to_owned(),
    )
}

/// The running processes of the bazaar in a folder.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Running {
    pub launcher: bool,
    /// By service.
    pub pids: BTreeMap<String, u32>,
}

impl Running {
    pub fn is_any(&self) -> bool {
        self.launcher || !self.pids.is_empty()
    }
}

/// Finds the running processes of the bazaar in this folder. The files of process ids do not
/// suffice: after a kill of the launcher, or a reboot, their numbers belong to no process or to
/// another program. So a service counts if a process holds the lock of its file. A front-end has no
/// file; it counts if the process with its id listens on its port. Neither have catalogs that share
/// a database; one counts if the process with its id is a catalog. The system ends lock and
/// listener with the process.
pub fn running(folder: &Path) -> Running {
    let files = fs::read_dir(folder.join(PIDS))
        .into_iter()
        .flatten()
        .flatten();
    let port = saved_url(folder).and_then(|url| url.rsplit_once(':')?.1.parse().ok());
    let look = |path: PathBuf| {
        let service = path.file_stem()?.to_str()?.to_owned();
        let holder = match service.parse().ok()? {
            Service::Frontend(_) => {
                let started = started(&path)?;
                listener_pid(port?).filter(|pid| *pid == started)
            }
            of => {
                let holder = FileLock::holder(&folder.join(format!("{service}.db")));
                holder.or_else(|| started(&path).filter(|pid| runs(*pid, of.binary())))
            }
        };
        Some((service, holder?))
    };
    Running {
        launcher: FileLock::is_held(&folder.join("bazaar")),
        pids: files.filter_map(|file| look(file.path())).collect(),
    }
}

/// The process id that the launcher wrote down.
fn started(path: &Path) -> Option<u32> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

/// Whether this process runs this program.
fn runs(pid: u32, program: &str) -> bool {
    fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name.trim() == program)
}

/// The command that restarts or kills a service of the bazaar in this folder.
pub fn command(folder: &Path, action: Action, service: &dyn Display) -> String {
    let action = action.word();
    if folder == Path::new(DEFAULT_FOLDER) {
        return format!(
            "make {action} ID={}",
            service.to_string().trim_start_matches("order")
        );
    }
    let folder = folder.display().to_string();
    format!("bazaar {action} {service} --dir {}", shell_word(&folder))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The command in a message fits the folder of the bazaar.
    #[test]
    fn commands_in_messages_fit_the_folder() {
        let replica = Service::Order(3);
        assert_eq!(
            command(Path::new("run"), Action::Restart, &replica),
            "make restart ID=3"
        );
        assert_eq!(
            command(Path::new("run"), Action::Kill, &Service::Catalog),
            "make kill ID=catalog"
        );
        assert_eq!(
            command(Path::new("/x"), Action::Restart, &replica),
            "bazaar restart order3 --dir /x"
        );
        assert_eq!(
            command(Path::new("/a b; reboot"), Action::Kill, &replica),
            "bazaar kill order3 --dir '/a b; reboot'"
        );
    }
}
