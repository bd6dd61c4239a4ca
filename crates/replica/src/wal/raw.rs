//! The calls into libSQL's C library. Nothing here decides anything.
#![expect(
    unsafe_code,
    reason = "libsql keeps the WAL calls to itself; this is where we make them"
)]

use std::{
    ffi::{CStr, CString, c_int, c_void},
    fmt,
    future::Future as _,
    pin::pin,
    ptr,
    sync::Once,
    task::{Context, Poll, Waker},
};

use libsql_ffi as ffi;

use crate::limits::INDEX_READ_ATTEMPTS_MAX;

/// Bytes of one shared-memory region of the wal-index, fixed by SQLite's file format.
const INDEX_REGION_BYTES: c_int = 32_768;

/// SQLite's result code with its text.
#[derive(Debug)]
pub struct SqliteError {
    /// Extended result code.
    pub code: i32,
    /// SQLite's text for it.
    pub text: String,
}

impl SqliteError {
    fn of_code(code: c_int) -> Self {
        // SAFETY: sqlite3_errstr returns a static, zero-terminated string for every code.
        let text = unsafe { CStr::from_ptr(ffi::sqlite3_errstr(code)) };
        Self {
            code,
            text: text.to_string_lossy().into_owned(),
        }
    }

    /// Whether another connection holds a lock.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        matches!(self.code & 0xff, ffi::SQLITE_BUSY | ffi::SQLITE_LOCKED)
    }

    /// Whether the file is not a database, or not a sound one.
    #[must_use]
    pub fn is_damage(&self) -> bool {
        matches!(self.code & 0xff, ffi::SQLITE_CORRUPT | ffi::SQLITE_NOTADB)
    }

    /// Whether the file ended before the bytes that were asked for.
    pub(crate) fn is_short_read(&self) -> bool {
        self.code == ffi::SQLITE_IOERR_SHORT_READ
    }

    /// Whether the disk is full.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.code & 0xff == ffi::SQLITE_FULL
    }
}

impl fmt::Display for SqliteError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "SQLite reports {} ({})", self.text, self.code)
    }
}

impl std::error::Error for SqliteError {}

/// Lets libsql configure the C library, which it insists on doing before any other call.
///
/// # Panics
/// When libsql cannot open a database in memory: nothing works then.
pub fn initialize() {
    static INITIALIZED: Once = Once::new();
    INITIALIZED.call_once(|| {
        let building = pin!(libsql::Builder::new_local(":memory:").build());
        // Opening a local database never waits: libsql's local calls run at the place of the call.
        match building.poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Ok(database)) => drop(database.connect().expect("libsql opens memory")),
            Poll::Ready(Err(error)) => unreachable!("libsql opens memory: {error}"),
            Poll::Pending => unreachable!("libsql opens a local database without waiting"),
        }
    });
}

/// Which of a database's files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum File {
    Main,
    Wal,
}

/// What the wal-index header says.
#[derive(Clone, Copy, Debug)]
pub(super) struct WalIndex {
    pub(super) frames: u32,
    pub(super) salt: [u8; 8],
}

/// An open connection.
#[derive(Debug)]
pub(super) struct Handle {
    db: *mut ffi::sqlite3,
}

// SAFETY: the handle is opened with SQLITE_OPEN_FULLMUTEX, so calls from any thread are allowed,
// and the pointer is owned by this value alone.
unsafe impl Send for Handle {}

impl Handle {
    pub(super) fn open(path: &str) -> Result<Self, SqliteError> {
        let path = CString::new(path).map_err(|_| SqliteError::of_code(ffi::SQLITE_CANTOPEN))?;
        let flags =
            ffi::SQLITE_OPEN_READWRITE | ffi::SQLITE_OPEN_CREATE | ffi::SQLITE_OPEN_FULLMUTEX;
        let mut db = ptr::null_mut();
        // SAFETY: the path is zero-terminated and `db` is a valid place for the result.
        let code = unsafe { ffi::sqlite3_open_v2(path.as_ptr(), &raw mut db, flags, ptr::null()) };
        // Also after a failure SQLite may hand out a handle, which Drop closes.
        let handle = Self { db };
        if code == ffi::SQLITE_OK {
            Ok(handle)
        } else {
            Err(SqliteError::of_code(code))
        }
    }

    fn check(&self, code: c_int) -> Result<(), SqliteError> {
        if code == ffi::SQLITE_OK {
            return Ok(());
        }
        // SAFETY: `db` is open; the code is read before any other call on the handle.
        let extended = unsafe { ffi::sqlite3_extended_errcode(self.db) };
        let code = if extended & 0xff == code & 0xff {
            extended
        } else {
            code
        };
        Err(SqliteError::of_code(code))
    }

    pub(super) fn set_busy_timeout(&self, milliseconds: u32) {
        let milliseconds = c_int::try_from(milliseconds).unwrap_or(c_int::MAX);
        // SAFETY: `db` is open.
        unsafe { ffi::sqlite3_busy_timeout(self.db, milliseconds) };
    }

    /// Runs one statement to its end; the first column of its first row as text.
    pub(super) fn exec(&self, sql: &str) -> Result<Option<String>, SqliteError> {
        let sql = CString::new(sql).map_err(|_| SqliteError::of_code(ffi::SQLITE_MISUSE))?;
        let mut statement = ptr::null_mut();
        // SAFETY: `db` is open, `sql` is zero-terminated and outlives the statement, which is
        // finalized below on every path and is used on this thread only.
        unsafe {
            self.check(ffi::sqlite3_prepare_v2(
                self.db,
                sql.as_ptr(),
                -1,
                &raw mut statement,
                ptr::null_mut(),
            ))?;
            let mut first = None;
            let code = loop {
                match ffi::sqlite3_step(statement) {
                    ffi::SQLITE_ROW if first.is_none() => {
                        let text = ffi::sqlite3_column_text(statement, 0);
                        if !text.is_null() {
                            let text = CStr::from_ptr(text.cast());
                            first = Some(text.to_string_lossy().into_owned());
                        }
                    }
                    ffi::SQLITE_ROW => {}
                    code => break code,
                }
            };
            let result = match code {
                ffi::SQLITE_DONE => Ok(()),
                code => self.check(code),
            };
            ffi::sqlite3_finalize(statement);
            result.map(|()| first)
        }
    }

    pub(super) fn disable_checkpoints(&self) -> Result<(), SqliteError> {
        let (on, unused) = (1 as c_int, ptr::null_mut::<c_int>());
        // SAFETY: `db` is open; this option takes an int and a pointer that may be null.
        unsafe {
            self.check(ffi::sqlite3_db_config(
                self.db,
                ffi::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE,
                on,
                unused,
            ))?;
            self.check(ffi::libsql_wal_disable_checkpoint(self.db))
        }
    }

    pub(super) fn checkpoint_truncate(&self) -> Result<(), SqliteError> {
        let unused = ptr::null_mut;
        // SAFETY: `db` is open, the schema name is a zero-terminated literal, and both counts may
        // be left out.
        self.check(unsafe {
            ffi::sqlite3_wal_checkpoint_v2(
                self.db,
                c"main".as_ptr(),
                ffi::SQLITE_CHECKPOINT_TRUNCATE,
                unused(),
                unused(),
            )
        })
    }

    pub(super) fn insert_begin(&self) -> Result<(), SqliteError> {
        // SAFETY: `db` is open and in WAL mode.
        self.check(unsafe { ffi::libsql_wal_insert_begin(self.db) })
    }

    pub(super) fn insert_end(&self) -> Result<(), SqliteError> {
        // SAFETY: `db` is open and in WAL mode.
        self.check(unsafe { ffi::libsql_wal_insert_end(self.db) })
    }

    pub(super) fn insert_frame(&self, number: u32, frame: &[u8]) -> Result<(), SqliteError> {
        let bytes = u32::try_from(frame.len()).unwrap_or(u32::MAX);
        // The library takes a mutable pointer and does not write; a copy leaves no doubt.
        let mut frame = frame.to_vec();
        let mut conflict = 0;
        // SAFETY: `db` is open, in WAL mode and between insert_begin and insert_end; the buffer has
        // the given length.
        self.check(unsafe {
            ffi::libsql_wal_insert_frame(
                self.db,
                number,
                frame.as_mut_ptr().cast(),
                bytes,
                &raw mut conflict,
            )
        })
    }

    pub(super) fn frame(&self, number: u32, frame: &mut [u8]) -> Result<(), SqliteError> {
        let bytes = u32::try_from(frame.len()).unwrap_or(u32::MAX);
        // SAFETY: `db` is open and in WAL mode; the buffer has the given length, which the library
        // compares with the page size.
        self.check(unsafe {
            ffi::libsql_wal_get_frame(self.db, number, frame.as_mut_ptr().cast(), bytes)
        })
    }

    /// Reads the wal-index header: what is committed, without taking the write lock.
    ///
    /// `libsql_wal_frame_count` takes that lock without waiting, and reports what this connection
    /// saw last. `None` when the header did not come to rest. Call it within a transaction only.
    pub(super) fn wal_index(&self) -> Result<Option<WalIndex>, SqliteError> {
        let file = self.file(File::Main)?;
        let mut region: *mut c_void = ptr::null_mut();
        // SAFETY: `file` belongs to the open `db` and has methods. The transaction that is open has
        // mapped region 0 already, so this hands out the existing mapping, valid until the close.
        let code = unsafe {
            match (*(*file).pMethods).xShmMap {
                Some(map) => map(file, 0, INDEX_REGION_BYTES, 0, &raw mut region),
                None => ffi::SQLITE_IOERR,
            }
        };
        if code != ffi::SQLITE_OK || region.is_null() {
            return Err(SqliteError::of_code(if code == 0 {
                ffi::SQLITE_IOERR
            } else {
                code
            }));
        }
        let words: *const u32 = region.cast_const().cast();
        for _ in 0..INDEX_READ_ATTEMPTS_MAX {
            // The writer writes copy 2, a barrier, copy 1; so copy 1 is read first.
            // SAFETY: the region is 32,768 bytes, page-aligned, and begins with two copies of 12
            // words. Another process may write meanwhile: every word is read volatile, and a torn
            // read is found by comparing the copies.
            let [first, second] = unsafe {
                let first = read_words(words);
                std::sync::atomic::fence(std::sync::atomic::Ordering::SeqCst);
                [first, read_words(words.add(12))]
            };
            if first == second {
                // Word 4 counts the frames; words 8 and 9 are the salt as it stands in the WAL.
                let mut salt = [0; 8];
                salt[..4].copy_from_slice(&first[8].to_ne_bytes());
                salt[4..].copy_from_slice(&first[9].to_ne_bytes());
                return Ok(Some(WalIndex {
                    frames: first[4],
                    salt,
                }));
            }
            // The writer may have lost its core between the two.
            std::thread::yield_now();
        }
        Ok(None)
    }

    fn file(&self, file: File) -> Result<*mut ffi::sqlite3_file, SqliteError> {
        let operation = match file {
            File::Main => ffi::SQLITE_FCNTL_FILE_POINTER,
            File::Wal => ffi::SQLITE_FCNTL_JOURNAL_POINTER,
        };
        let mut pointer: *mut ffi::sqlite3_file = ptr::null_mut();
        // SAFETY: `db` is open; both operations store a file pointer that lives as long as the
        // connection stays in WAL mode.
        let code = unsafe {
            ffi::sqlite3_file_control(
                self.db,
                c"main".as_ptr(),
                operation,
                (&raw mut pointer).cast(),
            )
        };
        self.check(code)?;
        // SAFETY: a pointer that is not null points to a file structure of the open connection.
        if pointer.is_null() || unsafe { (*pointer).pMethods.is_null() } {
            return Err(SqliteError::of_code(ffi::SQLITE_CANTOPEN));
        }
        Ok(pointer)
    }

    pub(super) fn size(&self, file: File) -> Result<u64, SqliteError> {
        let file = self.file(file)?;
        let mut size = 0_i64;
        // SAFETY: `file` checked above; `size` is a valid place for the result.
        let code = unsafe {
            match (*(*file).pMethods).xFileSize {
                Some(file_size) => file_size(file, &raw mut size),
                None => ffi::SQLITE_IOERR,
            }
        };
        if code == ffi::SQLITE_OK {
            Ok(u64::try_from(size).unwrap_or_default())
        } else {
            Err(SqliteError::of_code(code))
        }
    }

    /// Reads through SQLite's own descriptor: opening the file a second time and closing it would
    /// drop the process's POSIX locks on it.
    pub(super) fn read_at(
        &self,
        file: File,
        offset: u64,
        bytes: &mut [u8],
    ) -> Result<(), SqliteError> {
        let file = self.file(file)?;
        let length = c_int::try_from(bytes.len()).unwrap_or(c_int::MAX);
        let offset = i64::try_from(offset).unwrap_or(i64::MAX);
        // SAFETY: `file` checked above; the buffer has the given length.
        let code = unsafe {
            match (*(*file).pMethods).xRead {
                Some(read) => read(file, bytes.as_mut_ptr().cast(), length, offset),
                None => ffi::SQLITE_IOERR,
            }
        };
        if code == ffi::SQLITE_OK {
            Ok(())
        } else {
            Err(SqliteError::of_code(code))
        }
    }

    pub(super) fn sync(&self, file: File) -> Result<(), SqliteError> {
        let file = self.file(file)?;
        // SAFETY: `file` checked above.
        let code = unsafe {
            match (*(*file).pMethods).xSync {
                Some(sync) => sync(file, ffi::SQLITE_SYNC_NORMAL),
                None => ffi::SQLITE_IOERR,
            }
        };
        if code == ffi::SQLITE_OK {
            Ok(())
        } else {
            Err(SqliteError::of_code(code))
        }
    }
}

/// # Safety
/// `words` must point to at least 12 readable words.
unsafe fn read_words(words: *const u32) -> [u32; 12] {
    let mut copy = [0; 12];
    for (index, word) in copy.iter_mut().enumerate() {
        // SAFETY: the caller vouches for 12 words.
        *word = unsafe { words.add(index).read_volatile() };
    }
    copy
}

impl Drop for Handle {
    fn drop(&mut self) {
        // SAFETY: every statement is finalized by `exec`, so nothing uses the handle any more.
        unsafe { ffi::sqlite3_close_v2(self.db) };
    }
}
