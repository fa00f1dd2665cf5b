//! Follows the logs of several services as they grow.

use cluster::service::Service;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::PathBuf;

/// What is read from one log at a time, at most, so that a chatty service does not hide the others.
const CHUNK_BYTES: u64 = 256 * 1024;
/// A line without an end is shown in pieces of this size.
const LINE_BYTES: usize = 16 * 1024;

/// Several logs and how far each has been shown.
#[derive(Debug)]
pub(super) struct Follower {
    logs: Vec<Log>,
}

#[derive(Debug)]
struct Log {
    service: Service,
    path: PathBuf,
    file: Option<File>,
    /// What came after the last line end.
    begun: Vec<u8>,
}

impl Follower {
    /// Follows from where each log ends now; one that is not there yet, from its beginning.
    pub(super) fn new(logs: impl Iterator<Item = (Service, PathBuf)>) -> Self {
        let at_end = |path: &PathBuf| {
            let mut file = File::open(path).ok()?;
            file.seek(SeekFrom::End(0)).ok()?;
            Some(file)
        };
        let log = |(service, path)| Log {
            service,
            file: at_end(&path),
            path,
            begun: Vec::new(),
        };
        Self {
            logs: logs.map(log).collect(),
        }
    }

    /// Gives every whole line that is new to `show`.
    pub(super) fn poll(&mut self, mut show: impl FnMut(Service, &str)) {
        for log in &mut self.logs {
            log.read();
            while let Some(end) = log.line_end() {
                let line: Vec<u8> = log.begun.drain(..end).collect();
                show(
                    log.service,
                    String::from_utf8_lossy(&line).trim_end_matches(['\n', '\r']),
                );
            }
        }
    }
}

impl Log {
    /// A log that cannot be read is tried again at the next poll: its service may not have been
    /// started yet.
    fn read(&mut self) {
        if self.file.is_none() {
            self.file = File::open(&self.path).ok();
        }
        if let Some(file) = &mut self.file {
            let _ = file.take(CHUNK_BYTES).read_to_end(&mut self.begun);
        }
    }

    fn line_end(&self) -> Option<usize> {
        let newline = self
            .begun
            .iter()
            .position(|byte| *byte == b'\n')
            .map(|at| at + 1);
        newline.or((self.begun.len() >= LINE_BYTES).then_some(LINE_BYTES))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::io::Write;

    /// Old lines are not shown, new ones once, in order and only when whole; a log may appear
    /// later.
    #[test]
    fn new_whole_lines_once() {
        let folder = tempfile::tempdir().expect("a folder");
        let (old, late) = (folder.path().join("a.log"), folder.path().join("b.log"));
        fs::write(&old, "before\n").expect("written");
        let logs = [
            (Service::Catalog, old.clone()),
            (Service::Order(1), late.clone()),
        ];
        let mut follower = Follower::new(logs.into_iter());
        let mut poll = || {
            let mut lines = Vec::new();
            follower.poll(|service, line| lines.push(format!("{service}: {line}")));
            lines
        };
        assert!(poll().is_empty());
        let mut file = File::options().append(true).open(&old).expect("opens");
        file.write_all(b"one\ntwo\nthr").expect("written");
        fs::write(&late, "x\n").expect("written");
        assert_eq!(poll(), ["catalog: one", "catalog: two", "order1: x"]);
        assert!(poll().is_empty());
        file.write_all(b"ee\r\n").expect("written");
        assert_eq!(poll(), ["catalog: three"]);
    }
}
