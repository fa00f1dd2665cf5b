//! The manifest: the file whose presence makes a folder a backup.

use common::chain::Hash;
use common::database::aside::sync_folder;
use common::wire::order::Term;
use order::log::verify::sha256;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::time::SystemTime;

const FILE: &str = "manifest.json";
const FORMAT: u32 = 1;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// Version of this format.
    pub format: u32,
    /// Version of the program that made it.
    pub program: String,
    /// Time of the backup in milliseconds since 1970, for people only.
    pub made_unix_ms: u64,
    /// The bazaar's cluster id.
    pub cluster: String,
    pub orders: u64,
    /// Hash of the last order, or of the genesis: the chain makes it a digest of all.
    pub last_hash: Hash,
    pub term: Term,
    /// SHA-256 of each file.
    pub files: BTreeMap<String, Hash>,
}

/// The fields that a manifest of every format has.
#[derive(Deserialize)]
struct Format {
    format: u32,
}

impl Manifest {
    /// Writes the manifest of a set whose files are complete and durable.
    pub(super) fn write(
        folder: &Path,
        (cluster, orders, last_hash, term): (String, u64, Hash, Term),
        names: [&str; 2],
    ) -> Result<Self, String> {
        let mut files = BTreeMap::new();
        for name in names {
            files.insert(name.into(), hash(&folder.join(name))?);
        }
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let manifest = Self {
            format: FORMAT,
            program: env!("CARGO_PKG_VERSION").into(),
            made_unix_ms: u64::try_from(since.unwrap_or_default().as_millis()).unwrap_or(0),
            cluster,
            orders,
            last_hash,
            term,
            files,
        };
        let (path, draft) = (folder.join(FILE), folder.join("manifest.draft"));
        let text = serde_json::to_string_pretty(&manifest).map_err(|e| e.to_string())?;
        File::create(&draft)
            .and_then(|mut file| writeln!(file, "{text}").and_then(|()| file.sync_all()))
            .and_then(|()| fs::rename(&draft, &path))
            .map_err(|e| format!("cannot write {}: {e}", path.display()))?;
        sync_folder(&path).map_err(|e| e.to_string())?;
        Ok(manifest)
    }

    /// Reads the manifest, and compares the SHA-256 of each file with it.
    pub(super) fn read(folder: &Path) -> Result<Self, String> {
        let path = folder.join(FILE);
        let text = fs::read_to_string(&path).map_err(|e| {
            format!(
                "{}: {e}: this folder is no backup, or one that was not finished",
                path.display()
            )
        })?;
        let misfit = |e: serde_json::Error| format!("{}: {e}", path.display());
        // Alone and first: a newer format may lack a field that this one has.
        let Format { format } = serde_json::from_str(&text).map_err(misfit)?;
        if format > FORMAT {
            return Err(format!(
                "{} has format {format}, this program knows {FORMAT}: update it",
                path.display()
            ));
        }
        let manifest: Self = serde_json::from_str(&text).map_err(misfit)?;
        for (name, wanted) in &manifest.files {
            let file = folder.join(name);
            if hash(&file)? != *wanted {
                return Err(format!(
                    "{} is not the file that was backed up: its SHA-256 differs; \
                     use another backup",
                    file.display()
                ));
            }
        }
        Ok(manifest)
    }
}

fn hash(file: &Path) -> Result<Hash, String> {
    sha256(file).map_err(|e| format!("cannot read {}: {e}", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A backup of a newer format is refused with the file's name and both numbers, whatever else
    /// its manifest has or lacks.
    #[test]
    fn a_newer_format_is_refused_by_name() {
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join(FILE), r#"{"format": 9}"#).expect("written");
        let refused = Manifest::read(folder.path()).expect_err("newer");
        for part in [FILE, "format 9", "knows 1"] {
            assert!(refused.contains(part), "{refused}");
        }
    }
}
