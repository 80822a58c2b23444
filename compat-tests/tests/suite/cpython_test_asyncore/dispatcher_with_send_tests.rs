//! `DispatcherWithSendTests`

use std::io::{self, Read};
use std::net::{Ipv4Addr, TcpListener};
use std::thread;
use std::time::Duration;

use asyncore::socket2::{Domain, Type};
use asyncore::{Dispatcher, DispatcherWithSend, DispatcherWithSendBase, Result};
use compat_tests::{TearDown, until};

struct DispatcherWithSendNoRead {
    base: DispatcherWithSendBase,
}

impl Dispatcher for DispatcherWithSendNoRead {
    type Base = DispatcherWithSendBase;
    fn base(&self) -> &DispatcherWithSendBase {
        &self.base
    }

    fn readable(&self) -> bool {
        false
    }

    fn handle_connect(&self) -> Result {
        Ok(())
    }
}

impl DispatcherWithSend for DispatcherWithSendNoRead {}

#[test]
fn test_send() -> Result {
    let _tear_down = TearDown;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let address = listener.local_addr()?;
    let server = thread::spawn(move || capture(&listener));

    let data = b"A week in Shrewsbury, second class";
    let d = DispatcherWithSendNoRead::init(|base| DispatcherWithSendNoRead { base });
    d.create_socket(Domain::IPV4, Type::STREAM)?;
    d.connect(address)?;
    until(|| d.connected())?;

    d.send(data)?;
    d.send(data)?;
    d.send(b"\n")?;
    until(|| d.base().out_buffer_len() == 0)?;

    let captured = server.join().expect("the server does not panic")?;
    assert_eq!(captured, [*data, *data].concat());
    Ok(())
}

/// Accepts one connection, and returns the first line that comes.
fn capture(listener: &TcpListener) -> io::Result<Vec<u8>> {
    let (mut conn, _) = listener.accept()?;
    conn.set_read_timeout(Some(Duration::from_secs(30)))?;
    let mut captured = Vec::new();
    let mut data = [0; 10];
    loop {
        match conn.read(&mut data)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            received => captured.extend_from_slice(&data[..received]),
        }
        if captured.ends_with(b"\n") {
            captured.pop();
            return Ok(captured);
        }
    }
}
