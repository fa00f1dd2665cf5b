//! The folder of the services' binaries.

use std::env;
use std::path::{Path, PathBuf};

/// Variable with the path of the folder.
pub const VARIABLE: &str = "BAZAAR_BIN_DIR";

/// The folder of the binaries: `BAZAAR_BIN_DIR`, or the folder of this program
/// (`target/<profile>`). A test, which cargo puts into `deps` there, uses the folder above.
pub fn folder() -> PathBuf {
    if let Some(folder) = env::var_os(VARIABLE).filter(|folder| !folder.is_empty()) {
        return folder.into();
    }
    let own = env::current_exe().unwrap_or_default();
    let beside = own.parent().unwrap_or(Path::new("."));
    // cargo puts tests and examples one folder below the binaries.
    let is_below = beside
        .file_name()
        .is_some_and(|name| name == "deps" || name == "examples");
    if is_below {
        beside.parent().unwrap_or(beside).into()
    } else {
        beside.into()
    }
}

/// The path of a binary.
///
/// # Errors
/// When it is missing; the text names the path and the command that builds it.
pub fn find(folder: &Path, name: &str) -> Result<PathBuf, String> {
    let path = folder.join(name);
    if path.is_file() {
        return Ok(path);
    }
    Err(format!(
        "there is no {}: run 'cargo build --workspace --bins' ('make' does), or set {VARIABLE}",
        path.display()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A test, which runs in `deps`, looks one folder higher; the error for a missing binary names
    /// its path and the remedy.
    #[test]
    fn looks_beside_and_names_what_is_missing() {
        assert!(
            env::var_os(VARIABLE).is_some()
                || folder().file_name().is_some_and(|name| name != "deps")
        );
        let error = find(Path::new("/nowhere"), "catalog").expect_err("not there");
        assert!(
            error.contains("/nowhere/catalog") && error.contains("cargo build"),
            "{error}"
        );
    }
}
