//! Overriding and super calls, through a hierarchy of two levels below `dispatcher`.

use std::cell::RefCell;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::rc::{Rc, Weak};
use std::time::Duration;

use asyncore::{
    BaseClass, ChannelMap, Dispatcher, DispatcherWithSend, DispatcherWithSendBase,
    DispatcherWithSendClass, Loop, Result,
};

/// The methods that class `line_channel(dispatcher_with_send)` adds.
trait LineChannel: DispatcherWithSend<Base: LineChannelClass<Self>> {
    /// A line has come, without its end.
    fn handle_line(&self, line: &[u8]) -> Result {
        self.base().handle_line(self, line)
    }
}

trait LineChannelClass<T: LineChannel>: DispatcherWithSendClass<T> {
    type LineChannelSuper: LineChannelClass<T>;

    fn line_channel_super(&self) -> &Self::LineChannelSuper;

    fn handle_line(&self, this: &T, line: &[u8]) -> Result {
        self.line_channel_super().handle_line(this, line)
    }
}

/// Class `line_channel`: overrides `handle_read` and `send` of the class it derives from.
struct LineChannelBase {
    with_send: DispatcherWithSendBase,
    line: RefCell<Vec<u8>>,
}

impl<T: LineChannel> BaseClass<T> for LineChannelBase {
    type Super = DispatcherWithSendBase;

    fn new(this: &Weak<T>) -> LineChannelBase {
        LineChannelBase {
            with_send: BaseClass::new(this),
            line: RefCell::default(),
        }
    }

    fn superclass(&self) -> &DispatcherWithSendBase {
        &self.with_send
    }

    fn handle_read(&self, this: &T) -> Result {
        for byte in this.recv(1024)? {
            if byte == b'\n' {
                let line = self.line.take();
                this.handle_line(&line)?;
            } else {
                self.line.borrow_mut().push(byte);
            }
        }
        Ok(())
    }

    /// Every message is a line.
    fn send(&self, this: &T, data: &[u8]) -> Result<usize> {
        self.with_send.send(this, &[data, b"\n"].concat())
    }
}

impl<T: LineChannel> DispatcherWithSendClass<T> for LineChannelBase {
    type DispatcherWithSendSuper = DispatcherWithSendBase;

    fn dispatcher_with_send_super(&self) -> &DispatcherWithSendBase {
        &self.with_send
    }
}

impl<T: LineChannel> LineChannelClass<T> for LineChannelBase {
    type LineChannelSuper = LineChannelBase;

    fn line_channel_super(&self) -> &LineChannelBase {
        self
    }

    fn handle_line(&self, this: &T, line: &[u8]) -> Result {
        this.log_info(
            &format!("unhandled line {}", line.escape_ascii()),
            "warning",
        );
        Ok(())
    }
}

/// Class `shouter(line_channel)`: overrides methods of all three classes above it.
struct Shouter {
    base: LineChannelBase,
    log: RefCell<Vec<String>>,
}

impl Dispatcher for Shouter {
    type Base = LineChannelBase;

    fn base(&self) -> &LineChannelBase {
        &self.base
    }

    fn log_info(&self, message: &str, kind: &str) {
        self.log.borrow_mut().push(format!("{kind}: {message}"));
    }

    /// Of class `dispatcher_with_send`, changed by `line_channel`.
    fn send(&self, data: &[u8]) -> Result<usize> {
        self.base().send(self, &data.to_ascii_uppercase())
    }

    /// Of class `dispatcher`.
    fn handle_close(&self) -> Result {
        self.log_info("bye", "info");
        self.base().handle_close(self)
    }
}

impl DispatcherWithSend for Shouter {
    fn initiate_send(&self) -> Result {
        self.log_info("initiate_send", "info");
        self.base().initiate_send(self)
    }
}

impl LineChannel for Shouter {
    fn handle_line(&self, line: &[u8]) -> Result {
        self.base().handle_line(self, line)?;
        self.send(line).map(drop)
    }
}

#[test]
fn a_method_is_looked_up_class_by_class_and_super_calls_climb() -> Result {
    let map = ChannelMap::new();
    let (near, mut far) = UnixStream::pair()?;
    let shouter = Shouter::init_in(&map, |base| Shouter {
        base,
        log: RefCell::default(),
    });
    shouter.init_socket(near)?;

    far.write_all(b"spam\neggs")?;
    asyncore::poll(Duration::from_secs(10), Some(&map))?;
    let mut answer = [0; 5];
    far.read_exact(&mut answer)?;
    assert_eq!(&answer, b"SPAM\n");

    drop(far);
    Loop::new().map(&map).run()?;
    assert_eq!(
        *shouter.log.borrow(),
        [
            "warning: unhandled line spam",
            "info: initiate_send",
            "info: bye",
            "warning: unhandled close event"
        ]
    );
    Ok(())
}

/// `initiate_send` of `dispatcher_with_send` calls `send` of `dispatcher`, not the object's own, or the
/// line end would be added twice.
#[test]
fn a_class_can_call_past_what_is_overridden() -> Result {
    let map = ChannelMap::new();
    let (near, mut far) = UnixStream::pair()?;
    let shouter = Shouter::init_in(&map, |base| Shouter {
        base,
        log: RefCell::default(),
    });
    shouter.init_socket(near)?;
    shouter.send(b"ham")?;
    shouter.close()?;
    let mut all = String::new();
    far.read_to_string(&mut all)?;
    assert_eq!(all, "HAM\n");
    Ok(())
}

#[test]
fn an_object_is_released_with_its_last_handle() {
    let shouter = Shouter::init(|base| Shouter {
        base,
        log: RefCell::default(),
    });
    let weak: Weak<Shouter> = Rc::downgrade(&shouter);
    drop(shouter);
    assert!(weak.upgrade().is_none());
}
