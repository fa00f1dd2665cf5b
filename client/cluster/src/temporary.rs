//! A cluster in a temporary folder, on free ports, for the demo and the evaluation. Nothing of it
//! stays behind.

use super::addresses::PortBlock;
use super::service::Service;
use super::{Cluster, Spec, binaries};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use tempfile::TempDir;

/// Most starts, each on other ports: another program may take a port between our check and the
/// start.
const STARTS: u32 = 5;

/// A cluster whose folder is removed with it.
#[derive(Debug)]
pub struct TemporaryCluster {
    /// Declared before the folder, so that it is dropped first: its processes write into the
    /// folder.
    pub cluster: Cluster,
    folder: TempDir,
    _ports: PortBlock,
}

impl TemporaryCluster {
    /// Starts three replicas, a catalog and a front-end.
    ///
    /// # Errors
    /// When they do not start.
    pub fn start(set: impl Fn(&mut Spec) -> Result<(), String>) -> Result<Self, String> {
        let mut last = String::new();
        // Another program may take a port between the look and the start: then others are tried.
        for _ in 0..STARTS {
            let ports = PortBlock::take().map_err(|e| e.to_string())?;
            let folder = tempfile::Builder::new().prefix("bazaar-").tempdir();
            let folder = folder.map_err(|e| format!("cannot make a folder: {e}"))?;
            if folder.path().to_str().is_none() {
                // A service gets its paths in variables, and our variables are UTF-8.
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
                // Only for a taken port: any other failure would come again.
                Err(error) if error.is_port_taken() => last = error.to_string(),
                Err(error) => return Err(error.to_string()),
            }
        }
        Err(last)
    }

    /// Runs `order verify` or `order dump` on these replicas' files and returns its output, without
    /// the name of the folder.
    ///
    /// # Errors
    /// When it prints nothing. Different files are no error: the output names them.
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
        // The folder's name is random; without it two outputs can be compared.
        let folder = format!("{}/", self.folder.path().display());
        Ok(String::from_utf8_lossy(&output.stdout).replace(&folder, ""))
    }
}
