//! `HelperFunctionTests`
//!
//! The dummies are channels that are no dispatchers. What Python's do not have is not called on them.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use asyncore::{
    ChannelMap, Error, ExitNow, PollFlags, Result, close_all, compact_traceback, exception, read,
    readwrite, set_socket_map, write,
};

#[test]
fn test_readwriteexc() -> Result {
    for call in [read, write, exception] {
        let passed = call(&ExitingDummy).unwrap_err();
        assert!(passed.is::<ExitNow>());
    }
    for call in [read, write, exception] {
        let tr2 = CrashingDummy::default();
        call(&tr2)?;
        assert!(tr2.error_handled.get());
    }
    Ok(())
}

#[test]
fn test_readwrite() -> Result {
    let expected = [
        (PollFlags::IN, "read"),
        (PollFlags::PRI, "expt"),
        (PollFlags::OUT, "write"),
        (PollFlags::ERR, "closed"),
        (PollFlags::HUP, "closed"),
        (PollFlags::NVAL, "closed"),
    ];
    for (flag, expected) in expected {
        let tobj = TestObj::default();
        readwrite(&tobj, flag)?;
        assert_eq!(*tobj.called.borrow(), [expected], "{flag:?}");

        let passed = readwrite(&ExitingDummy, flag).unwrap_err();
        assert!(passed.is::<ExitNow>(), "{flag:?}");

        let tr2 = CrashingDummy::default();
        readwrite(&tr2, flag)?;
        assert!(tr2.error_handled.get(), "{flag:?}");
    }
    Ok(())
}

#[test]
fn test_closeall() -> Result {
    closeall_check(false)
}

#[test]
fn test_closeall_default() -> Result {
    closeall_check(true)
}

fn closeall_check(use_default: bool) -> Result {
    let testmap = ChannelMap::new();
    let channels: [Rc<DummyChannel>; 10] = Default::default();
    for (fd, channel) in (0..).zip(&channels) {
        testmap.insert(fd, channel.clone());
    }

    if use_default {
        let socketmap = set_socket_map(testmap.clone());
        let closed = close_all(None, false);
        set_socket_map(socketmap);
        closed?;
    } else {
        close_all(Some(&testmap), false)?;
    }

    assert!(testmap.is_empty());
    assert!(channels.iter().all(|channel| channel.closed.get()));
    Ok(())
}

#[test]
fn test_compact_traceback() {
    let (error, line) = (Error::msg("no spam!"), line!());
    let traceback = compact_traceback(&error);

    assert_eq!(traceback.file, file!());
    assert_eq!(traceback.line, line);
    assert!(
        traceback.type_name.ends_with("Exception"),
        "{}",
        traceback.type_name
    );
    assert_eq!(traceback.value, "no spam!");
    assert_eq!(traceback.info, format!("[{}|{line}]", file!()));
}

#[derive(Default)]
struct DummyChannel {
    closed: Cell<bool>,
}

impl asyncore::Channel for DummyChannel {
    fn readable(&self) -> bool {
        unreachable!()
    }

    fn writable(&self) -> bool {
        unreachable!()
    }

    fn handle_read_event(&self) -> Result {
        unreachable!()
    }

    fn handle_write_event(&self) -> Result {
        unreachable!()
    }

    fn handle_expt_event(&self) -> Result {
        unreachable!()
    }

    fn handle_close(&self) -> Result {
        unreachable!()
    }

    fn handle_error(&self, _error: Error) -> Result {
        unreachable!()
    }

    fn close(&self) -> Result {
        self.closed.set(true);
        Ok(())
    }
}

struct ExitingDummy;

impl asyncore::Channel for ExitingDummy {
    fn readable(&self) -> bool {
        unreachable!()
    }

    fn writable(&self) -> bool {
        unreachable!()
    }

    fn handle_read_event(&self) -> Result {
        Err(ExitNow.into())
    }

    fn handle_write_event(&self) -> Result {
        Err(ExitNow.into())
    }

    fn handle_expt_event(&self) -> Result {
        Err(ExitNow.into())
    }

    fn handle_close(&self) -> Result {
        Err(ExitNow.into())
    }

    fn handle_error(&self, _error: Error) -> Result {
        unreachable!()
    }

    fn close(&self) -> Result {
        unreachable!()
    }
}

#[derive(Default)]
struct CrashingDummy {
    error_handled: Cell<bool>,
}

impl asyncore::Channel for CrashingDummy {
    fn readable(&self) -> bool {
        unreachable!()
    }

    fn writable(&self) -> bool {
        unreachable!()
    }

    fn handle_read_event(&self) -> Result {
        Err(Error::msg("crash"))
    }

    fn handle_write_event(&self) -> Result {
        Err(Error::msg("crash"))
    }

    fn handle_expt_event(&self) -> Result {
        Err(Error::msg("crash"))
    }

    fn handle_close(&self) -> Result {
        Err(Error::msg("crash"))
    }

    fn handle_error(&self, _error: Error) -> Result {
        self.error_handled.set(true);
        Ok(())
    }

    fn close(&self) -> Result {
        unreachable!()
    }
}

/// Remembers what is called.
#[derive(Default)]
struct TestObj {
    called: RefCell<Vec<&'static str>>,
}

impl TestObj {
    fn remember(&self, method: &'static str) -> Result {
        self.called.borrow_mut().push(method);
        Ok(())
    }
}

impl asyncore::Channel for TestObj {
    fn readable(&self) -> bool {
        unreachable!()
    }

    fn writable(&self) -> bool {
        unreachable!()
    }

    fn handle_read_event(&self) -> Result {
        self.remember("read")
    }

    fn handle_write_event(&self) -> Result {
        self.remember("write")
    }

    fn handle_expt_event(&self) -> Result {
        self.remember("expt")
    }

    fn handle_close(&self) -> Result {
        self.remember("closed")
    }

    fn handle_error(&self, _error: Error) -> Result {
        self.remember("error_handled")
    }

    fn close(&self) -> Result {
        unreachable!()
    }
}
