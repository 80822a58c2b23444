//! The output buffer of `dispatcher_with_send`.

use std::cell::{Cell, RefCell};
use std::io::Read;
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::time::Duration;

use asyncore::{
    BaseClass, ChannelMap, Dispatcher, DispatcherWithSend, DispatcherWithSendBase, Result, poll,
};
use compat_tests::CapturedLog;

/// Only sends. What it finds in its buffer when closed, and what it adds to it then.
struct Sender {
    base: DispatcherWithSendBase,
    left: RefCell<Vec<u8>>,
    last_words: Cell<&'static [u8]>,
}

impl Dispatcher for Sender {
    type Base = DispatcherWithSendBase;

    fn base(&self) -> &DispatcherWithSendBase {
        &self.base
    }

    fn readable(&self) -> bool {
        false
    }

    fn handle_close(&self) -> Result {
        *self.left.borrow_mut() = self.base.out_buffer();
        let last_words = self.last_words.take();
        if !last_words.is_empty() {
            self.send(last_words)?;
        }
        self.base().handle_close(self)
    }
}

impl DispatcherWithSend for Sender {}

fn sender(map: &ChannelMap) -> Result<(Rc<Sender>, UnixStream)> {
    let (near, far) = UnixStream::pair()?;
    let sender = Sender::init_in(map, |base| Sender {
        base,
        left: RefCell::default(),
        last_words: Cell::default(),
    });
    sender.init_socket(near)?;
    Ok((sender, far))
}

#[test]
fn what_is_sent_arrives_whole_and_in_order_however_slow_the_peer() -> Result {
    let map = ChannelMap::new();
    let (sender, mut far) = sender(&map)?;
    let data: Vec<u8> = (0..4_000_000u32).map(|n| (n % 251) as u8).collect();
    let (first, rest) = data.split_at(1_000_000);
    assert_eq!(sender.send(first)?, first.len());
    assert!(sender.base.out_buffer_len() > 0 && sender.writable());
    let reader = std::thread::spawn(move || {
        let mut all = Vec::new();
        far.read_to_end(&mut all).map(|_| all)
    });
    // More comes when more has been sent than is left, and in between.
    for piece in rest.chunks(100_000) {
        while sender.base.out_buffer_len() > 300_000 {
            poll(Duration::from_secs(10), Some(&map))?;
        }
        sender.send(piece)?;
    }
    while sender.base.out_buffer_len() > 0 {
        poll(Duration::from_secs(10), Some(&map))?;
    }
    assert!(!sender.writable());
    sender.close()?;
    let received = reader.join().expect("no panic")?;
    assert!(
        received == data,
        "{} of {} bytes, or others",
        received.len(),
        data.len()
    );
    Ok(())
}

#[test]
fn a_handler_called_while_sending_finds_the_buffer_whole_and_can_append() -> Result {
    let map = ChannelMap::new();
    let (sender, far) = sender(&map)?;
    drop(far);
    sender.last_words.set(b" and eggs");
    sender.send(b"spam")?;
    // Told by a run of CPython: the inner send appends and fails again, and nothing is taken away.
    assert_eq!(*sender.left.borrow(), b"spam and eggs");
    assert_eq!(sender.base.out_buffer(), b"spam and eggs");
    Ok(())
}

#[test]
fn the_buffer_can_be_looked_at_and_set() -> Result {
    let map = ChannelMap::new();
    let (sender, mut far) = sender(&map)?;
    sender.base.set_out_buffer(b"spam");
    assert_eq!(
        (sender.base.out_buffer(), sender.base.out_buffer_len()),
        (b"spam".to_vec(), 4)
    );
    sender.initiate_send()?;
    assert_eq!(
        (sender.base.out_buffer(), sender.base.out_buffer_len()),
        (Vec::new(), 0)
    );
    let mut received = [0; 4];
    far.read_exact(&mut received)?;
    assert_eq!(&received, b"spam");
    Ok(())
}

#[test]
fn it_wants_to_write_until_connected_and_while_something_is_buffered() -> Result {
    let map = ChannelMap::new();
    let (sender, _far) = sender(&map)?;
    assert!(!sender.writable());
    sender.base.set_out_buffer(b"spam");
    assert!(sender.writable());
    sender.base.set_out_buffer(b"");
    sender.root().connected.set(false);
    assert!(sender.writable());
    Ok(())
}

#[test]
fn with_debug_it_logs_what_it_sends() -> Result {
    let log = CapturedLog::start();
    let map = ChannelMap::new();
    let (sender, _far) = sender(&map)?;
    sender.send(b"quiet")?;
    sender.root().debug.set(true);
    sender.send(b"sp\xe4m\r\n")?;
    assert_eq!(log.lines(), [r"info: sending b'sp\xe4m\r\n'"]);
    Ok(())
}
