//! `FileWrapperTest`

use std::cell::RefCell;
use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::time::Duration;

use asyncore::{
    Dispatcher, FileDispatcher, FileDispatcherBase, FileWrapper, Loop, Result, SocketLike,
};
use compat_tests::{CapturedLog, TearDown};

const DATA: &[u8; 29] = b"It rests, it is not departed!";

#[test]
fn test_recv() -> Result {
    let test = TestFile::set_up()?;
    let file = File::open(&test.path)?;
    let fd = file.as_raw_fd();
    let w = FileWrapper::new(&file)?;
    drop(file);

    assert_ne!(w.fileno(), Some(fd));
    let mut data = [0; 13];
    assert_eq!(w.recv(&mut data[..8])?, 8);
    assert_eq!(&data[..8], b"It rests");
    assert_eq!(w.read(&mut data)?, 13);
    assert_eq!(&data, b", it is not d");
    w.close()?;
    let refused = w.read(&mut data[..1]).unwrap_err();
    assert_eq!(
        refused.raw_os_error(),
        Some(rustix::io::Errno::BADF.raw_os_error())
    );
    Ok(())
}

#[test]
fn test_send() -> Result {
    let test = TestFile::set_up()?;
    let file = File::options().append(true).open(&test.path)?;
    let w = FileWrapper::new(&file)?;
    drop(file);

    w.write(b"Pardon?")?;
    w.send(b"Red Leicester, please.")?;
    w.close()?;
    let expected = [DATA, &b"Pardon?"[..], b"Red Leicester, please."].concat();
    assert_eq!(fs::read(&test.path)?, expected);
    Ok(())
}

#[test]
fn test_dispatcher() -> Result {
    struct TestDispatcher {
        base: FileDispatcherBase,
        data: RefCell<Vec<u8>>,
    }

    impl Dispatcher for TestDispatcher {
        type Base = FileDispatcherBase;
        fn base(&self) -> &FileDispatcherBase {
            &self.base
        }

        fn handle_read(&self) -> Result {
            let data = self.recv(29)?;
            self.data.borrow_mut().extend(data);
            Ok(())
        }
    }

    impl FileDispatcher for TestDispatcher {}

    let test = TestFile::set_up()?;
    let file = File::open(&test.path)?;
    let s = TestDispatcher::init(|base| TestDispatcher {
        base,
        data: RefCell::default(),
    });
    s.init_file(&file)?;
    drop(file);

    // The first pass reads the file, which is always ready, and the second finds its end.
    let pass = Loop::new()
        .timeout(Duration::from_millis(10))
        .use_poll(true);
    pass.count(2).run()?;
    assert_eq!(*s.data.borrow(), DATA);
    Ok(())
}

/// Dropping one that is open warns (bpo-11453).
#[test]
fn test_resource_warning() -> Result {
    let test = TestFile::set_up()?;
    let file = File::open(&test.path)?;
    let f = FileWrapper::new(&file)?;
    drop(file);

    let log = CapturedLog::start();
    drop(f);
    let lines = log.lines();
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(
        lines[0].starts_with("warning: unclosed file FileWrapper"),
        "{lines:?}"
    );
    Ok(())
}

#[test]
fn test_close_twice() -> Result {
    let test = TestFile::set_up()?;
    let file = File::open(&test.path)?;
    let f = FileWrapper::new(&file)?;
    drop(file);

    f.close()?;
    assert_eq!(f.fileno(), None);
    f.close()?;
    Ok(())
}

/// A file that holds [`DATA`], for one test.
struct TestFile {
    path: PathBuf,
    _tear_down: TearDown,
    _folder: tempfile::TempDir,
}

impl TestFile {
    fn set_up() -> io::Result<TestFile> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("file");
        fs::write(&path, DATA)?;
        Ok(TestFile {
            path,
            _tear_down: TearDown,
            _folder: folder,
        })
    }
}
