//! Files beside a trained model: what an ONNX model keeps in `model.onnx.data`.
//!
//! The compiler has checked that a location leads nowhere but down. Here the file is opened, and what it really is must lie in
//! the model's folder: a model that somebody else made may come with links.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use selvedge_compile::Siblings;

/// The folder of a model file.
pub(crate) struct Folder(PathBuf);

impl Folder {
    /// Of a model that is read from `path`.
    pub(crate) fn of(path: &Path) -> Self {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        Self(folder.unwrap_or(Path::new(".")).to_owned())
    }
}

impl Siblings for Folder {
    fn read(&self, location: &str, offset: u64, length: usize) -> io::Result<Vec<u8>> {
        let folder = self.0.canonicalize()?;
        let path = folder.join(location).canonicalize()?;
        if !path.starts_with(&folder) {
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, "a link that leads out of the model's folder"));
        }
        let mut file = File::open(path)?;
        // What blocks or never ends is no file of weights.
        if !file.metadata()?.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no plain file"));
        }
        file.seek(SeekFrom::Start(offset))?;
        let mut bytes = Vec::new();
        file.take(length as u64).read_to_end(&mut bytes)?;
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::ErrorKind;

    use selvedge_compile::Siblings;

    use super::Folder;

    #[test]
    fn a_part_of_a_file_in_the_folder_is_read_and_no_more_than_there_is() {
        let folder = tempfile::tempdir().expect("a folder");
        fs::create_dir(folder.path().join("parts")).expect("a folder in it");
        fs::write(folder.path().join("parts/weights.bin"), b"0123456789").expect("weights");
        let siblings = Folder::of(&folder.path().join("model.onnx"));
        assert_eq!(siblings.read("parts/weights.bin", 2, 3).expect("a part"), b"234");
        assert_eq!(siblings.read("parts/weights.bin", 8, 3).expect("the end"), b"89");
        assert_eq!(siblings.read("parts/weights.bin", 99, 3).expect("behind the end"), b"");
        assert_eq!(siblings.read("other.bin", 0, 1).expect_err("no file").kind(), ErrorKind::NotFound);
        assert_eq!(siblings.read("parts", 0, 1).expect_err("a folder").kind(), ErrorKind::InvalidInput);
    }

    #[test]
    #[cfg(unix)]
    fn a_link_that_leaves_the_folder_is_not_followed() {
        let root = tempfile::tempdir().expect("a folder");
        let folder = root.path().join("model");
        fs::create_dir(&folder).expect("the model's folder");
        fs::write(root.path().join("secret"), b"secret").expect("a file outside");
        fs::write(folder.join("weights.bin"), b"weights").expect("a file inside");
        let link = |to: &str, name: &str| std::os::unix::fs::symlink(to, folder.join(name)).expect("a link");
        link("../secret", "file");
        link("..", "up");
        link("weights.bin", "inside");
        let siblings = Folder::of(&folder.join("model.onnx"));
        for location in ["file", "up/secret"] {
            let error = siblings.read(location, 0, 6).expect_err(location);
            assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{location}");
        }
        assert_eq!(siblings.read("inside", 0, 7).expect("a link within the folder"), b"weights");
    }
}
