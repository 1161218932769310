//! Files beside a model file.

use std::io;

/// Files in the folder of a model file, where an ONNX model may keep its weights (`model.onnx.data`).
///
/// This crate opens no files: whoever reads the model reads these. A location has been checked as a text: plain names
/// between slashes, with no way up. Whether a link leads out of the folder is for the implementation to find.
pub trait Siblings {
    /// The `length` bytes at `offset` of a file; fewer where it ends.
    ///
    /// # Errors
    /// There is no such file, or it may not be read; what is said is shown to the user.
    fn read(&self, location: &str, offset: u64, length: usize) -> io::Result<Vec<u8>>;
}

/// A model whose file is read alone.
pub(crate) struct Alone;

impl Siblings for Alone {
    fn read(&self, _: &str, _: u64, _: usize) -> io::Result<Vec<u8>> {
        Err(io::Error::other("a model that is handed in as bytes is read alone"))
    }
}
