//! Follows the logs of several services as they grow, and bounds their size.
//!
//! Another program may truncate a log under its reader (`: > order1.log`, logrotate's
//! `copytruncate`). The length does not show that: at the next poll the log may be longer than
//! before. So the reader remembers the last bytes before its offset, and begins anew when they
//! differ. Another program may also move a log away (logrotate's default). Then the reader reads
//! the old file to its end, and the new file from its beginning.
//!
//! At [`LIMIT_BYTES`] the launcher copies a log to `<log>.1` and truncates it. The service goes on
//! writing at the new end, because it appends. The copy misses lines that come in the microseconds
//! between copy and cut.

use cluster::service::Service;
use common::private;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

/// Size at which a log is set aside.
const LIMIT_BYTES: u64 = 8 * 1024 * 1024;
/// Number of older logs of each service.
const KEPT: u32 = 3;
/// Most bytes of one read, so that a service with a long log does not hide the others.
const CHUNK_BYTES: usize = 256 * 1024;
/// A longer line appears in pieces of this size.
const LINE_BYTES: usize = 16 * 1024;
/// Remembered bytes before the offset: more than a time stamp, which two files could share.
const REMEMBERED: usize = 64;

/// Several logs, and the offset up to which each was printed.
#[derive(Debug)]
pub(super) struct Follower {
    logs: Vec<Log>,
}

#[derive(Debug)]
struct Log {
    service: Service,
    path: PathBuf,
    reader: Option<Reader>,
    /// The bytes after the last line end.
    partial: Vec<u8>,
}

/// An open log, and the offset up to which it was read.
#[derive(Debug)]
struct Reader {
    file: File,
    offset: u64,
    /// The last bytes before the offset.
    before: Vec<u8>,
}

impl Follower {
    /// Follows each log from its present end; a missing one later from its beginning.
    pub(super) fn new(logs: impl Iterator<Item = (Service, PathBuf)>) -> Self {
        let log = |(service, path): (Service, PathBuf)| Log {
            service,
            reader: Reader::at_end(&path).ok(),
            path,
            partial: Vec::new(),
        };
        Self {
            logs: logs.map(log).collect(),
        }
    }

    /// Calls `show` with every new whole line.
    pub(super) fn poll(&mut self, mut show: impl FnMut(Service, &str)) {
        for log in &mut self.logs {
            log.read();
            let mut shown = 0;
            while let Some(end) = line_end(&log.partial[shown..]) {
                let line = String::from_utf8_lossy(&log.partial[shown..shown + end]);
                show(log.service, line.trim_end_matches(['\n', '\r']));
                shown += end;
            }
            log.partial.drain(..shown);
        }
    }

    /// Sets aside each log that has reached its limit. Returns the failures. It truncates the log
    /// even when the copy failed: a full disk would stop the services, and they matter more.
    pub(super) fn bound(&mut self) -> Vec<String> {
        let bound = |log: &mut Log| {
            let outcome = log.is_full().then(|| log.set_aside())?;
            let error = outcome.err()?;
            Some(format!(
                "cannot keep the end of {}: {error}",
                log.path.display()
            ))
        };
        self.logs.iter_mut().filter_map(bound).collect()
    }
}

impl Log {
    /// Reads new bytes. The next poll tries an unreadable log again: its service may not have
    /// started yet.
    fn read(&mut self) {
        if self.reader.is_none() {
            self.reader = Reader::at_start(&self.path).ok();
        }
        let Some(reader) = &mut self.reader else {
            return;
        };
        match reader.read(&mut self.partial) {
            // Read to the end: only now may another file replace it.
            Ok(0) if reader.was_moved(&self.path) => self.reader = None,
            Ok(_) => {}
            Err(_) => self.reader = None,
        }
    }

    /// Whether the log has reached its limit. A log that was not printed to its end may grow to
    /// twice the limit.
    fn is_full(&self) -> bool {
        self.reader.as_ref().is_some_and(|reader| {
            let length = reader.file.metadata().map_or(0, |found| found.len());
            length >= LIMIT_BYTES && (reader.offset >= length || length >= 2 * LIMIT_BYTES)
        })
    }

    fn set_aside(&mut self) -> io::Result<()> {
        let older = |n: u32| common::database::with_suffix(&self.path, &format!(".{n}"));
        for n in (1..KEPT).rev() {
            // Fails for an older log that does not exist yet.
            let _ = fs::rename(older(n), older(n + 1));
        }
        let copied = copy(&self.path, &older(1));
        if copied.is_err() {
            let _ = fs::remove_file(older(1));
        }
        private::options()
            .write(true)
            .open(&self.path)?
            .set_len(0)?;
        if let Some(reader) = &mut self.reader {
            reader.begin_anew();
        }
        copied
    }
}

/// End of the first line of this text.
fn line_end(text: &[u8]) -> Option<usize> {
    let newline = text.iter().position(|byte| *byte == b'\n');
    let long = (text.len() >= LINE_BYTES).then_some(LINE_BYTES);
    newline.map(|at| at + 1).or(long)
}

fn copy(from: &Path, to: &Path) -> io::Result<()> {
    let mut from = private::options().read(true).open(from)?;
    let mut to = private::options()
        .write(true)
        .create(true)
        .truncate(true)
        .open(to)?;
    io::copy(&mut from, &mut to).map(drop)
}

impl Reader {
    fn at_start(path: &Path) -> io::Result<Self> {
        Ok(Self {
            file: private::options().read(true).open(path)?,
            offset: 0,
            before: Vec::new(),
        })
    }

    fn at_end(path: &Path) -> io::Result<Self> {
        let mut reader = Self::at_start(path)?;
        reader.offset = reader.file.metadata()?.len();
        let remembered = reader.offset.min(REMEMBERED as u64);
        reader.before = vec![0; usize::try_from(remembered).unwrap_or_default()];
        reader
            .file
            .read_exact_at(&mut reader.before, reader.offset - remembered)?;
        Ok(reader)
    }

    /// Appends new bytes, at most a chunk. Returns their number.
    fn read(&mut self, into: &mut Vec<u8>) -> io::Result<usize> {
        let length = self.file.metadata()?.len();
        if length == self.offset {
            return Ok(0);
        }
        if length < self.offset || !self.remembered_bytes_match() {
            self.begin_anew();
            into.clear();
        }
        let had = into.len();
        into.resize(had + CHUNK_BYTES, 0);
        let outcome = self.file.read_at(&mut into[had..], self.offset);
        let read = *outcome.as_ref().unwrap_or(&0);
        into.truncate(had + read);
        self.offset += read as u64;
        self.before.extend_from_slice(&into[had..]);
        let surplus = self.before.len().saturating_sub(REMEMBERED);
        self.before.drain(..surplus);
        outcome
    }

    fn remembered_bytes_match(&self) -> bool {
        let mut now = vec![0; self.before.len()];
        let at = self.offset - self.before.len() as u64;
        self.file.read_exact_at(&mut now, at).is_ok() && now == self.before
    }

    fn begin_anew(&mut self) {
        self.offset = 0;
        self.before.clear();
    }

    /// Whether another file has the log's name now. While no file has it, the service still writes
    /// to this one.
    fn was_moved(&self, path: &Path) -> bool {
        match (fs::metadata(path), self.file.metadata()) {
            (Ok(named), Ok(ours)) => (named.dev(), named.ino()) != (ours.dev(), ours.ino()),
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    struct Case {
        folder: tempfile::TempDir,
        follower: Follower,
    }

    impl Case {
        fn new() -> Self {
            let folder = tempfile::tempdir().expect("a folder");
            fs::write(folder.path().join("a.log"), "before\n").expect("written");
            let logs = [
                (Service::Catalog, folder.path().join("a.log")),
                (Service::Order(1), folder.path().join("b.log")),
            ];
            Self {
                follower: Follower::new(logs.into_iter()),
                folder,
            }
        }

        fn path(&self, name: &str) -> PathBuf {
            self.folder.path().join(name)
        }

        fn append(&self, name: &str, text: &str) {
            let file = File::options()
                .append(true)
                .create(true)
                .open(self.path(name));
            file.and_then(|mut file| file.write_all(text.as_bytes()))
                .expect("written");
        }

        fn poll(&mut self) -> Vec<String> {
            let mut lines = Vec::new();
            // A log that was moved is opened again at the second look.
            for _ in 0..3 {
                self.follower
                    .poll(|service, line| lines.push(format!("{service}: {line}")));
            }
            lines
        }
    }

    /// New whole lines appear once and in order, old lines never; a log may appear later.
    #[test]
    fn new_whole_lines_once() {
        let mut case = Case::new();
        assert!(case.poll().is_empty());
        case.append("a.log", "one\ntwo\nthr");
        case.append("b.log", "x\n");
        assert_eq!(case.poll(), ["catalog: one", "catalog: two", "order1: x"]);
        assert!(case.poll().is_empty());
        case.append("a.log", "ee\r\n");
        assert_eq!(case.poll(), ["catalog: three"]);
    }

    /// A truncated log is followed from its new beginning, also when it has grown beyond its old
    /// length by the next poll.
    #[test]
    fn a_log_that_was_cut_short_is_followed() {
        let mut case = Case::new();
        case.append("a.log", "first\n");
        assert_eq!(case.poll(), ["catalog: first"]);
        fs::write(case.path("a.log"), "2\n").expect("written");
        assert_eq!(case.poll(), ["catalog: 2"]);
        fs::write(case.path("a.log"), "much longer than before\nsecond\n").expect("written");
        assert_eq!(
            case.poll(),
            ["catalog: much longer than before", "catalog: second"]
        );
    }

    /// A log that is renamed is read to its end, and the one that takes its name from its
    /// beginning.
    #[test]
    fn a_log_that_was_renamed_is_followed() {
        let mut case = Case::new();
        fs::rename(case.path("a.log"), case.path("a.log.1")).expect("renamed");
        case.append("a.log.1", "its service writes on\n");
        assert_eq!(case.poll(), ["catalog: its service writes on"]);
        case.append("a.log.1", "last\n");
        case.append("a.log", "first of the next\n");
        assert_eq!(case.poll(), ["catalog: last", "catalog: first of the next"]);
        case.append("a.log", "more\n");
        assert_eq!(case.poll(), ["catalog: more"]);
    }

    /// A log at its limit is set aside, a bounded number of times, and followed on; its service
    /// appends to it all the while.
    #[test]
    fn logs_are_bounded_in_size_and_count() {
        let mut case = Case::new();
        let line = format!("{}\n", "x".repeat(999));
        let much = line.repeat(usize::try_from(LIMIT_BYTES).expect("fits") / line.len() + 1);
        let mut writer = File::options()
            .append(true)
            .open(case.path("a.log"))
            .expect("opens");
        for round in 0..KEPT + 2 {
            writer.write_all(much.as_bytes()).expect("written");
            while !case.poll().is_empty() {}
            assert_eq!(case.follower.bound(), Vec::<String>::new());
            let length = fs::metadata(case.path("a.log")).expect("there").len();
            assert_eq!(length, 0, "round {round}");
            writer.write_all(b"on\n").expect("written");
            assert_eq!(case.poll(), ["catalog: on"], "round {round}");
        }
        let files = fs::read_dir(case.folder.path()).expect("a folder").count();
        assert_eq!(files, 1 + usize::try_from(KEPT).expect("fits"));
        let newest = fs::metadata(case.path("a.log.1")).expect("there");
        assert!(newest.len() >= LIMIT_BYTES && newest.mode() & 0o077 == 0);
    }

    /// A log whose copy fails is truncated nevertheless, and the failure is returned.
    #[test]
    fn a_log_is_bounded_where_it_cannot_be_kept() {
        let mut case = Case::new();
        let line = format!("{}\n", "x".repeat(999));
        let lines = usize::try_from(LIMIT_BYTES).expect("fits") / line.len() + 1;
        case.append("a.log", &line.repeat(lines));
        while !case.poll().is_empty() {}
        fs::create_dir(case.path("a.log.1")).expect("made");
        fs::create_dir(case.path("a.log.2")).expect("made");
        fs::create_dir(case.path("a.log.3")).expect("made");
        fs::write(case.path("a.log.2/x"), "").expect("written");
        fs::write(case.path("a.log.3/x"), "").expect("written");
        let words = case.follower.bound();
        assert!(words.len() == 1 && words[0].contains("a.log"), "{words:?}");
        assert_eq!(fs::metadata(case.path("a.log")).expect("there").len(), 0);
    }
}
