//! A disk that fails on purpose: it forgets what was not synced, and it fills up.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ::redb::StorageBackend;

/// A disk in memory. Its clones are the same disk.
#[derive(Clone, Debug, Default)]
pub struct FaultyDisk(Arc<Disk>);

#[derive(Debug, Default)]
struct Disk {
    bytes: Mutex<Bytes>,
    /// Bytes that may still be written; `u64::MAX` is no limit.
    room: AtomicU64,
    /// How often something waited for it.
    syncs: AtomicU64,
}

#[derive(Debug, Default)]
struct Bytes {
    written: Vec<u8>,
    synced: Vec<u8>,
}

impl FaultyDisk {
    /// An empty disk without faults.
    #[must_use]
    pub fn new() -> Self {
        let disk = Self::default();
        disk.set_room(u64::MAX);
        disk
    }

    /// From now on so many more bytes can be written before the disk is full.
    pub fn set_room(&self, bytes: u64) {
        self.0.room.store(bytes, Ordering::SeqCst);
    }

    /// How often something was made to survive a power cut.
    #[must_use]
    pub fn syncs(&self) -> u64 {
        self.0.syncs.load(Ordering::SeqCst)
    }

    /// The disk as it is after a power cut now: what was not synced is lost. What still has this disk open goes on with
    /// this one and does not touch the new one.
    #[must_use]
    pub fn after_power_cut(&self) -> Self {
        let synced = self.bytes().synced.clone();
        let disk = Self::new();
        *disk.bytes() = Bytes { written: synced.clone(), synced };
        disk
    }

    fn bytes(&self) -> MutexGuard<'_, Bytes> {
        self.0.bytes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take_room(&self, bytes: u64) -> io::Result<()> {
        let taken = self.0.room.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |room| match room {
            u64::MAX => Some(room),
            room => room.checked_sub(bytes),
        });
        taken.map(|_| ()).map_err(|_| io::Error::from(io::ErrorKind::StorageFull))
    }
}

impl StorageBackend for FaultyDisk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.bytes().written.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let bytes = self.bytes();
        let start = usize::try_from(offset).map_err(|_| io::ErrorKind::UnexpectedEof)?;
        let from = bytes.written.get(start..start + out.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        out.copy_from_slice(from);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut bytes = self.bytes();
        let len = usize::try_from(len).map_err(|_| io::ErrorKind::FileTooLarge)?;
        self.take_room(len.saturating_sub(bytes.written.len()) as u64)?;
        bytes.written.resize(len, 0);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut bytes = self.bytes();
        let Bytes { written, synced } = &mut *bytes;
        synced.clone_from(written);
        self.0.syncs.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.take_room(data.len() as u64)?;
        let mut bytes = self.bytes();
        let start = usize::try_from(offset).map_err(|_| io::ErrorKind::UnexpectedEof)?;
        let to = bytes.written.get_mut(start..start + data.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        to.copy_from_slice(data);
        Ok(())
    }
}
