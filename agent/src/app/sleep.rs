//! Lets the pipeline's thread sleep until there is something to do: bytes at a socket or a pipe, a
//! change of a file, or the end.
//!
//! The system says when a file that is open, or its folder, changes (inotify). That only wakes: what
//! there is to do is found by looking, and everything is looked at once a second anyway. So a change
//! that the system does not tell of, as on a network file system, is seen a second later, and
//! nothing depends on events that were lost.

use std::{
    io::{self, PipeReader, PipeWriter},
    os::fd::BorrowedFd,
    path::Path,
    time::Duration,
};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use self::changes::Changes;

/// What wakes.
#[derive(Debug, Default)]
pub(super) struct Watch<'w> {
    fds: Vec<BorrowedFd<'w>>,
    files: Vec<&'w Path>,
}

impl<'w> Watch<'w> {
    /// Adds a socket or pipe that may have something to read.
    pub(super) fn readable(&mut self, fd: BorrowedFd<'w>) {
        self.fds.push(fd);
    }

    /// Adds a file that may change, or come to be.
    pub(super) fn file(&mut self, path: &'w Path) {
        self.files.push(path);
    }
}

/// How a sleep ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Woken {
    /// There may be something to do, or the time is over.
    GoOn,
    /// The pipeline is to stop.
    Stop,
}

/// Says, by being dropped, that the pipeline is to stop.
pub(super) type StopWriter = PipeWriter;

/// Returns what hears that the pipeline is to stop, and what says so.
///
/// # Errors
/// Whatever the system reports.
pub(super) fn stop() -> io::Result<(PipeReader, StopWriter)> {
    io::pipe()
}

/// Sleeps for the pipeline.
#[derive(Debug)]
pub(super) struct Sleeper {
    /// Its other end is closed when the pipeline is to stop.
    stop: PipeReader,
    changes: Option<Changes>,
    /// Whether the last sleep was ended by an event.
    was_woken: bool,
}

impl Sleeper {
    pub(super) const fn new(stop: PipeReader) -> Self {
        Self { stop, changes: None, was_woken: false }
    }

    /// Waits for a time, or for the end.
    pub(super) fn wait(&self, wait: Duration) -> Woken {
        let mut polled = [PollFd::new(&self.stop, PollFlags::IN)];
        // An interrupted wait is a short one.
        match poll(&mut polled, Some(&timespec(wait))) {
            Ok(1..) => Woken::Stop,
            Ok(0) | Err(_) => Woken::GoOn,
        }
    }

    /// Sleeps until something of `watch` changes, or for `longest`. Where changes cannot be known,
    /// and after each that gave nothing to do, it waits for `short` instead.
    pub(super) fn sleep(&mut self, watch: &Watch<'_>, short: Duration, longest: Duration) -> Woken {
        // Whoever changes files for nothing does not keep this thread busy.
        if std::mem::take(&mut self.was_woken) {
            return self.wait(short);
        }
        if !self.changes.as_ref().is_some_and(|changes| changes.is_of(&watch.files)) {
            self.changes = Changes::of(&watch.files);
            // What changed before this is to be looked for once more.
            return self.wait(if self.changes.is_some() { Duration::ZERO } else { short });
        }
        let Some(changes) = &mut self.changes else { return self.wait(short) };
        let mut polled = vec![PollFd::new(&self.stop, PollFlags::IN)];
        polled.extend(changes.fd().map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)));
        polled.extend(watch.fds.iter().map(|fd| PollFd::from_borrowed_fd(*fd, PollFlags::IN)));
        let woken = poll(&mut polled, Some(&timespec(longest)));
        let is_stop = !polled[0].revents().is_empty();
        drop(polled);
        match woken {
            Ok(1..) if is_stop => Woken::Stop,
            Ok(1..) => {
                self.was_woken = true;
                if changes.take() {
                    self.changes = None;
                }
                Woken::GoOn
            }
            Ok(0) | Err(_) => Woken::GoOn,
        }
    }
}

fn timespec(duration: Duration) -> Timespec {
    let tv_sec = i64::try_from(duration.as_secs()).unwrap_or(i64::MAX);
    Timespec { tv_sec, tv_nsec: duration.subsec_nanos().into() }
}

#[cfg(target_os = "linux")]
mod changes {
    use std::{
        mem::MaybeUninit,
        os::fd::{AsFd as _, OwnedFd},
        path::PathBuf,
    };

    use rustix::fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags};

    use super::{BorrowedFd, Path};

    /// What of a file wakes: more in it, another name, its end.
    const FILE: WatchFlags = WatchFlags::MODIFY
        .union(WatchFlags::ATTRIB)
        .union(WatchFlags::MOVE_SELF)
        .union(WatchFlags::DELETE_SELF);
    /// What of its folder: another file at its path.
    const FOLDER: WatchFlags = WatchFlags::CREATE.union(WatchFlags::MOVED_TO);

    /// Has the system tell of changes of files.
    #[derive(Debug)]
    pub(super) struct Changes {
        inotify: OwnedFd,
        files: Vec<PathBuf>,
    }

    impl Changes {
        /// Has the system tell of changes of `files`; nothing where it does not.
        pub(super) fn of(files: &[&Path]) -> Option<Self> {
            let inotify = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC).ok()?;
            for path in files {
                let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
                // What is not there cannot change; it is looked for once a second.
                for (path, flags) in [(folder.unwrap_or(Path::new(".")), FOLDER), (*path, FILE)] {
                    match inotify::add_watch(&inotify, path, flags) {
                        Ok(_) | Err(rustix::io::Errno::NOENT | rustix::io::Errno::ACCESS) => {}
                        Err(_) => return None,
                    }
                }
            }
            Some(Self { inotify, files: files.iter().map(|path| (*path).to_owned()).collect() })
        }

        /// Returns whether it tells of these files.
        pub(super) fn is_of(&self, files: &[&Path]) -> bool {
            self.files.iter().map(PathBuf::as_path).eq(files.iter().copied())
        }

        pub(super) fn fd(&self) -> Option<BorrowedFd<'_>> {
            Some(self.inotify.as_fd())
        }

        /// Takes what the system told; returns whether other files may lie at the paths now.
        pub(super) fn take(&mut self) -> bool {
            let mut buffer = [const { MaybeUninit::uninit() }; 4096];
            let mut reader = Reader::new(&self.inotify, &mut buffer);
            let mut is_other = false;
            while let Ok(event) = reader.next() {
                is_other |= event.events() != ReadFlags::MODIFY;
            }
            is_other
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod changes {
    use super::{BorrowedFd, Path};

    /// Nothing tells of changes here: all is looked at often.
    #[derive(Debug)]
    pub(super) struct Changes(std::convert::Infallible);

    impl Changes {
        pub(super) fn of(_: &[&Path]) -> Option<Self> {
            None
        }

        pub(super) fn is_of(&self, _: &[&Path]) -> bool {
            match self.0 {}
        }

        pub(super) fn fd(&self) -> Option<BorrowedFd<'_>> {
            match self.0 {}
        }

        pub(super) fn take(&mut self) -> bool {
            match self.0 {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, io, io::Write, os::fd::AsFd, thread, time::Instant};

    use super::*;
    use crate::clock;

    const LONG: Duration = Duration::from_secs(20);
    const SHORT: Duration = Duration::from_millis(1);

    /// Sleeps until `what`, done meanwhile by another thread, wakes; returns whether it did.
    fn wakes(sleeper: &mut Sleeper, watch: &Watch<'_>, what: impl FnOnce() + Send) -> bool {
        sleeper.was_woken = false;
        while !sleeper.changes.as_ref().is_some_and(|changes| changes.is_of(&watch.files)) {
            assert_eq!(sleeper.sleep(watch, SHORT, LONG), Woken::GoOn);
            if sleeper.changes.is_none() {
                println!("skipped: the system tells of no changes here");
                return true;
            }
        }
        let started_at: Instant = clock::now();
        thread::scope(|scope| {
            scope.spawn(what);
            assert_eq!(sleeper.sleep(watch, SHORT, LONG), Woken::GoOn);
        });
        started_at.elapsed() < LONG
    }

    #[test]
    fn what_happens_to_a_file_wakes() {
        let folder = tempfile::tempdir().unwrap();
        let (stop, _go_on) = io::pipe().unwrap();
        let mut sleeper = Sleeper::new(stop);
        let path = folder.path().join("eve.json");
        let mut watch = Watch::default();
        watch.file(&path);
        let append = || {
            let mut file = fs::OpenOptions::new().append(true).create(true).open(&path).unwrap();
            file.write_all(b"a").unwrap();
        };
        assert!(wakes(&mut sleeper, &watch, append), "made");
        assert!(wakes(&mut sleeper, &watch, append), "written");
        let rename = || fs::rename(&path, folder.path().join("1")).unwrap();
        assert!(wakes(&mut sleeper, &watch, rename), "renamed");
        assert!(wakes(&mut sleeper, &watch, append), "made anew");
        assert!(wakes(&mut sleeper, &watch, append), "written anew");
    }

    #[test]
    fn bytes_wake_and_so_does_the_end() {
        let (stop, go_on) = io::pipe().unwrap();
        let (reader, mut writer) = io::pipe().unwrap();
        let mut sleeper = Sleeper::new(stop);
        let mut watch = Watch::default();
        watch.readable(reader.as_fd());
        assert!(wakes(&mut sleeper, &watch, || writer.write_all(b"a").unwrap()));
        assert_eq!(sleeper.wait(Duration::ZERO), Woken::GoOn);
        drop(go_on);
        assert_eq!(sleeper.wait(LONG), Woken::Stop);
        sleeper.was_woken = false;
        assert_eq!(sleeper.sleep(&watch, SHORT, LONG), Woken::Stop);
    }

    #[test]
    fn a_wake_that_gave_nothing_to_do_is_followed_by_a_pause() {
        let (stop, _go_on) = io::pipe().unwrap();
        let (reader, mut writer) = io::pipe().unwrap();
        let mut sleeper = Sleeper::new(stop);
        let mut watch = Watch::default();
        watch.readable(reader.as_fd());
        writer.write_all(b"never read").unwrap();
        assert_eq!(sleeper.sleep(&watch, SHORT, LONG), Woken::GoOn, "has the system tell");
        let started_at = clock::now();
        for _ in 0..20 {
            assert_eq!(sleeper.sleep(&watch, SHORT, LONG), Woken::GoOn);
        }
        assert!(started_at.elapsed() >= 10 * SHORT, "each second one was a pause");
    }
}
