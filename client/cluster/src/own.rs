//! A cluster in a folder that goes with it, on ports that were free: for who needs a bazaar for a
//! while and nothing of it afterwards.

use super::addresses::PortBlock;
use super::service::Service;
use super::{Cluster, Spec, binaries};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use tempfile::TempDir;

/// Starts on other ports, when someone took one between the look and the start.
const STARTS: u32 = 5;

/// A cluster for a while.
#[derive(Debug)]
pub struct Own {
    /// Its processes. Before the folder, which their files are in, so that it goes first.
    pub cluster: Cluster,
    folder: TempDir,
    _ports: PortBlock,
}

impl Own {
    /// Starts three replicas, a catalog and a front-end.
    ///
    /// # Errors
    /// When they do not start.
    pub fn start(set: impl Fn(&mut Spec) -> Result<(), String>) -> Result<Self, String> {
        let mut last = String::new();
        for _ in 0..STARTS {
            let ports = PortBlock::take().map_err(|e| e.to_string())?;
            let folder = tempfile::Builder::new().prefix("bazaar-").tempdir();
            let folder = folder.map_err(|e| format!("cannot make a folder: {e}"))?;
            if folder.path().to_str().is_none() {
                // Services get paths in their variables, which are text.
                return Err(format!(
                    "TMPDIR={:?} is not UTF-8: name another folder",
                    std::env::temp_dir()
                ));
            }
            let mut spec = Spec::new(folder.path(), ports.addresses(3, 1));
            set(&mut spec)?;
            match Cluster::start(spec) {
                Ok(cluster) => {
                    return Ok(Self {
                        cluster,
                        folder,
                        _ports: ports,
                    });
                }
                Err(error) if error.is_port_taken() => last = error.to_string(),
                Err(error) => return Err(error.to_string()),
            }
        }
        Err(last)
    }

    /// What `order verify` or `order dump` prints about these replicas' files, named without their
    /// folder.
    ///
    /// # Errors
    /// When it prints nothing. That files differ is a finding, no error.
    pub fn order_tool(&self, what: &str, replicas: &[u8]) -> Result<String, String> {
        let spec = self.cluster.spec();
        let files: Vec<PathBuf> = replicas
            .iter()
            .filter_map(|id| spec.database(Service::Order(*id)))
            .collect();
        let binary = binaries::find(&spec.binaries, "order")?;
        let output = Command::new(binary)
            .arg(what)
            .args(files)
            .stdin(Stdio::null())
            .output();
        let output = output.map_err(|e| format!("cannot run order {what}: {e}"))?;
        if output.stdout.is_empty() {
            return Err(format!(
                "order {what}: {}",
                String::from_utf8_lossy(&output.stderr)
            ));
        }
        let folder = format!("{}/", self.folder.path().display());
        Ok(String::from_utf8_lossy(&output.stdout).replace(&folder, ""))
    }
}
