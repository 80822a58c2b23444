//! Class `async_chat` beyond CPython's own tests: what callbacks may do, where its attributes come from,
//! and what it costs. Side by side with CPython it is in `chat_properties`.
#![cfg(unix)]

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::rc::{Rc, Weak};
use std::time::Duration;

use asynchat::{
    AsyncChat, AsyncChatBase, AsyncChatClass, AsyncChatError, Data, Encoding, Fifo, Producer,
    Queued, SimpleProducer, Terminator, find_prefix_at_end,
};
use asyncore::{
    BaseClass, ChannelMap, Dispatcher, DispatcherBase, Error, Quirks, Result, poll, poll2,
};

type Callback = Box<dyn Fn(&Chat, &[u8]) -> Result>;

/// Receives from memory, sends to memory, and does in its callbacks what a test wants.
struct Chat {
    base: AsyncChatBase,
    input: RefCell<VecDeque<Vec<u8>>>,
    sent: RefCell<Vec<Vec<u8>>>,
    calls: RefCell<Vec<String>>,
    on_collect: RefCell<Option<Rc<Callback>>>,
    on_found: RefCell<Option<Rc<Callback>>>,
}

impl Chat {
    fn new(map: &ChannelMap) -> Rc<Chat> {
        let chat = Chat::init_in(map, |base| Chat {
            base,
            input: RefCell::default(),
            sent: RefCell::default(),
            calls: RefCell::default(),
            on_collect: RefCell::default(),
            on_found: RefCell::default(),
        });
        chat.root().connected.set(true);
        chat
    }

    fn on_collect(&self, callback: impl Fn(&Chat, &[u8]) -> Result + 'static) {
        self.on_collect.replace(Some(Rc::new(Box::new(callback))));
    }

    fn on_found(&self, callback: impl Fn(&Chat, &[u8]) -> Result + 'static) {
        self.on_found.replace(Some(Rc::new(Box::new(callback))));
    }

    fn call(&self, callback: &RefCell<Option<Rc<Callback>>>, data: &[u8]) -> Result {
        let callback = callback.borrow().clone();
        callback.map_or(Ok(()), |callback| callback(self, data))
    }

    /// Lets `handle_read` receive these pieces, one after another.
    fn read(&self, pieces: &[&[u8]]) -> Result<Vec<String>> {
        for piece in pieces {
            self.input.borrow_mut().push_back(piece.to_vec());
            self.handle_read()?;
        }
        Ok(self.calls.take())
    }

    /// What has been sent since this was called last, one text for each `send`.
    fn sent(&self) -> Vec<String> {
        let text = |data: Vec<u8>| data.escape_ascii().to_string();
        self.sent.take().into_iter().map(text).collect()
    }

    fn write_until_idle(&self) -> Result<Vec<String>> {
        while !self.base.producer_fifo.is_empty() {
            self.handle_write()?;
        }
        Ok(self.sent())
    }
}

impl Dispatcher for Chat {
    type Base = AsyncChatBase;
    fn base(&self) -> &AsyncChatBase {
        &self.base
    }

    fn recv(&self, size: usize) -> Result<Vec<u8>> {
        let data = self.input.borrow_mut().pop_front().unwrap_or_default();
        assert!(data.len() <= size, "more than {size} bytes");
        Ok(data)
    }

    fn send(&self, data: &[u8]) -> Result<usize> {
        self.sent.borrow_mut().push(data.to_vec());
        Ok(data.len())
    }

    fn handle_close(&self) -> Result {
        self.calls.borrow_mut().push("close".to_owned());
        self.base().handle_close(self)
    }

    fn handle_error(&self, error: Error) -> Result {
        self.calls.borrow_mut().push(format!("error {error}"));
        Ok(())
    }
}

impl AsyncChat for Chat {
    fn collect_incoming_data(&self, data: &[u8]) -> Result {
        // Enough to tell them apart, and not so much that it is what takes the time.
        let start = &data[..data.len().min(100)];
        self.calls
            .borrow_mut()
            .push(start.escape_ascii().to_string());
        self.call(&self.on_collect, data)
    }

    fn found_terminator(&self) -> Result {
        self.calls.borrow_mut().push("found".to_owned());
        self.call(&self.on_found, b"")
    }
}

fn chat() -> Rc<Chat> {
    Chat::new(&ChannelMap::new())
}

// ---- input

#[test]
fn what_may_be_the_beginning_of_the_terminator_is_held_back() -> Result {
    let chat = chat();
    chat.set_terminator(b"\r\n.\r\n")?;
    assert_eq!(chat.read(&[b"one\r\n."])?, ["one"]);
    assert_eq!(chat.base.ac_in_buffer(), b"\r\n.");
    assert_eq!(
        chat.read(&[b"\r", b"x", b"\r\n", b".\r", b"\ntwo"])?,
        ["\\r\\n.\\rx", "found", "two"]
    );
    assert_eq!(chat.base.ac_in_buffer_len(), 0);
    Ok(())
}

#[test]
fn what_was_held_back_is_searched_for_a_new_terminator() -> Result {
    let chat = chat();
    chat.set_terminator(b"\r\n")?;
    assert_eq!(chat.read(&[b"a\r"])?, ["a"]);
    chat.set_terminator(b"\rb")?;
    assert_eq!(chat.read(&[b"b", b"\r"])?, ["found"]);
    chat.set_terminator(None)?;
    assert_eq!(chat.read(&[b"c"])?, ["\\rc"]);
    Ok(())
}

#[test]
fn the_end_of_the_stream_brings_what_was_held_back_for_a_terminator_replaced_since() -> Result {
    let chat = chat();
    chat.set_terminator(b"\r\n")?;
    assert_eq!(chat.read(&[b"a\r", b""])?, ["a"]);
    chat.set_terminator(5)?;
    assert_eq!(chat.read(&[b""])?, ["\\r"]);
    assert_eq!(chat.get_terminator(), Terminator::Count(4));
    Ok(())
}

#[test]
fn an_error_of_a_callback_leaves_what_it_was_given_in_the_buffer() -> Result {
    let chat = chat();
    chat.set_terminator(b"\n")?;
    chat.on_collect(|_, _| Err(Error::msg("not now")));
    chat.read(&[b"a\nb"])
        .expect_err("collect_incoming_data fails");
    assert_eq!(chat.base.ac_in_buffer(), b"a\nb");
    chat.calls.take();
    chat.on_collect(|_, _| Ok(()));
    assert_eq!(chat.read(&[b"c\n"])?, ["a", "found", "bc", "found"]);
    Ok(())
}

#[test]
fn a_callback_finds_the_buffer_and_may_change_it() -> Result {
    let chat = chat();
    chat.set_terminator(b"\n")?;
    chat.on_collect(|chat, data| {
        if data == b"a" {
            assert_eq!(chat.base.ac_in_buffer(), b"a\nb\n");
            chat.base.set_ac_in_buffer(b"123456\n".to_vec());
        }
        Ok(())
    });
    // The line and its terminator are cut off what the buffer is by then.
    assert_eq!(chat.read(&[b"a\nb\n"])?, ["a", "found", "3456", "found"]);
    Ok(())
}

#[test]
fn what_replaces_the_buffer_while_its_end_is_held_back_is_no_beginning_of_the_terminator() -> Result
{
    let chat = chat();
    chat.set_terminator(b"\r\n")?;
    chat.on_collect(|chat, data| {
        if data == b"a" {
            chat.base.set_ac_in_buffer(b"wxyz".to_vec());
        }
        Ok(())
    });
    // As many bytes are kept as were held back.
    assert_eq!(chat.read(&[b"a\r"])?, ["a"]);
    assert_eq!(chat.base.ac_in_buffer(), b"z");
    assert_eq!(chat.read(&[b"\n"])?, ["z\\n"]);
    Ok(())
}

#[test]
fn data_after_a_close_in_found_terminator_is_still_delivered() -> Result {
    let chat = chat();
    chat.set_terminator(b"\n")?;
    chat.on_found(|chat, _| chat.close());
    assert_eq!(chat.read(&[b"a\nb\n"])?, ["a", "found", "b", "found"]);
    Ok(())
}

#[test]
fn discarding_the_buffers_in_a_callback_ends_what_was_received() -> Result {
    let chat = chat();
    chat.set_terminator(b"\n")?;
    chat.on_found(|chat, _| {
        chat.discard_buffers();
        Ok(())
    });
    assert_eq!(chat.read(&[b"a\nb\nc"])?, ["a", "found"]);
    Ok(())
}

#[test]
fn found_terminator_finds_what_came_after_it_and_sets_what_ends_that() -> Result {
    let chat = chat();
    chat.set_terminator(b"\n")?;
    chat.on_found(|chat, _| match chat.get_terminator() {
        // A header, whose body is three bytes long; and after that, which is 0 by then, the next.
        Terminator::Bytes(_) => {
            assert_eq!(chat.base.ac_in_buffer()[..3], *b"abc");
            chat.set_terminator(3)
        }
        terminator => {
            assert_eq!(terminator, Terminator::Count(0));
            chat.set_terminator(b"\n")
        }
    });
    let calls = chat.read(&[b"1\nabc2\nabc"])?;
    assert_eq!(
        calls,
        ["1", "found", "abc", "found", "2", "found", "abc", "found"]
    );
    Ok(())
}

#[test]
fn a_count_replaced_while_counting_is_counted_down_in_its_place() -> Result {
    let chat = chat();
    chat.set_terminator(10)?;
    chat.on_collect(|chat, _| chat.set_terminator(7));
    assert_eq!(chat.read(&[b"abc"])?, ["abc"]);
    assert_eq!(chat.get_terminator(), Terminator::Count(4));
    chat.on_collect(|chat, _| chat.set_terminator(b"\n"));
    let error = chat.read(&[b"def"]).expect_err("nothing to count down");
    assert_eq!(
        error.downcast_ref::<AsyncChatError>(),
        Some(&AsyncChatError::CountReplaced)
    );
    Ok(())
}

#[test]
fn a_would_block_is_no_event_and_another_system_error_goes_to_handle_error() -> Result {
    struct Failing {
        base: AsyncChatBase,
        kind: Cell<io::ErrorKind>,
        errors: Cell<u32>,
    }
    impl Dispatcher for Failing {
        type Base = AsyncChatBase;
        fn base(&self) -> &AsyncChatBase {
            &self.base
        }
        fn recv(&self, _size: usize) -> Result<Vec<u8>> {
            Err(io::Error::from(self.kind.get()).into())
        }
        fn handle_error(&self, _error: Error) -> Result {
            self.errors.set(self.errors.get() + 1);
            Ok(())
        }
    }
    impl AsyncChat for Failing {}

    let failing = Failing::init(|base| Failing {
        base,
        kind: Cell::new(io::ErrorKind::WouldBlock),
        errors: Cell::new(0),
    });
    failing.handle_read()?;
    assert_eq!(failing.errors.get(), 0);
    failing.kind.set(io::ErrorKind::TimedOut);
    failing.handle_read()?;
    assert_eq!(failing.errors.get(), 1);
    Ok(())
}

#[test]
fn without_an_implementation_the_two_methods_say_that_they_need_one() -> Result {
    struct Abstract {
        base: AsyncChatBase,
    }
    impl Dispatcher for Abstract {
        type Base = AsyncChatBase;
        fn base(&self) -> &AsyncChatBase {
            &self.base
        }
    }
    impl AsyncChat for Abstract {}

    let object = Abstract::init(|base| Abstract { base });
    for error in [
        object.collect_incoming_data(b"x"),
        object.found_terminator(),
    ] {
        let error = error.expect_err("it is abstract");
        assert_eq!(error.to_string(), "must be implemented in subclass");
        assert!(error.is::<AsyncChatError>());
    }
    Ok(())
}

/// Were any part of the work done over for each byte, this would not end: 10^12 steps.
#[test]
fn a_terminator_that_almost_matches_over_and_over_is_searched_in_linear_time() -> Result {
    const LENGTH: usize = 1_000_000;

    let chat = chat();
    let terminator = [vec![b'a'; LENGTH], vec![b'b']].concat();
    chat.set_terminator(terminator.clone())?;
    chat.base.ac_in_buffer_size.set(usize::MAX);
    let collected = Rc::new(Cell::new(0));
    let count = Rc::clone(&collected);
    chat.on_collect(move |chat, data| {
        count.set(count.get() + data.len());
        chat.calls.take();
        Ok(())
    });
    // One byte at a time: half as many again as the terminator begins with, so that nothing but the last
    // of them can be its beginning.
    for _ in 0..LENGTH + LENGTH / 2 {
        chat.read(&[b"a"])?;
    }
    assert_eq!(collected.get(), LENGTH / 2);
    assert_eq!(chat.read(&[b"b"])?, ["found"]);
    // And in large pieces, each of which almost ends with it.
    for _ in 0..20 {
        chat.read(&[&terminator[1..], &terminator[..LENGTH]])?;
    }
    // The beginning that each time had to be held back, and then was none.
    assert_eq!(chat.base.ac_in_buffer_len(), LENGTH);
    Ok(())
}

/// Were the whole buffer searched again with each byte, this would not end: 4 * 10^10 steps.
#[test]
fn what_a_failing_callback_leaves_is_not_searched_again() -> Result {
    const LENGTH: usize = 200_000;

    let chat = chat();
    chat.set_terminator(b"\r\n")?;
    chat.on_collect(|chat, _| {
        chat.calls.take();
        Err(Error::msg("not now"))
    });
    for _ in 0..LENGTH {
        assert!(chat.read(&[b"a"]).is_err());
    }
    assert!(chat.read(&[b"\r\n"]).is_err());
    for _ in 0..LENGTH {
        assert!(chat.read(&[b"b"]).is_err());
    }
    chat.on_collect(|chat, data| {
        chat.calls.replace(vec![data.len().to_string()]);
        Ok(())
    });
    // The first line, whose call the last one's replaces, and then the rest.
    assert_eq!(chat.read(&[b"b"])?, [(LENGTH + 1).to_string()]);
    Ok(())
}

#[test]
fn the_longest_beginning_at_the_end_is_found() {
    for (haystack, needle, expected) in [
        (&b"xabab"[..], &b"ababc"[..], 4),
        (b"xabax", b"ababc", 0),
        (b"aaaa", b"aab", 2),
        (b"ab", b"abcdef", 2),
        (b"", b"abc", 0),
        (b"abc", b"", 0),
        (b"abc", b"c", 0),
    ] {
        assert_eq!(find_prefix_at_end(haystack, needle), expected, "{needle:?}");
    }
}

// ---- output

#[test]
fn push_splits_at_the_size_of_the_out_buffer_and_sends_once() -> Result {
    let chat = chat();
    chat.base.ac_out_buffer_size.set(4);
    chat.push(b"0123456789")?;
    assert_eq!(chat.sent(), ["0123"]);
    assert_eq!(chat.base.producer_fifo.len(), 2);
    chat.push(b"x")?;
    assert_eq!(chat.write_until_idle()?, ["4567", "89", "x"]);
    assert!(!chat.writable());
    Ok(())
}

#[test]
fn data_queued_in_one_piece_is_sent_in_parts() -> Result {
    let chat = chat();
    chat.base.ac_out_buffer_size.set(4);
    chat.push_with_producer(b"0123456789")?;
    assert_eq!(chat.base.producer_fifo.len(), 1);
    assert_eq!(chat.write_until_idle()?, ["0123", "4567", "89"]);
    Ok(())
}

#[test]
fn an_out_buffer_of_nothing_is_an_error_that_says_so() {
    let chat = chat();
    chat.base.ac_out_buffer_size.set(0);
    let error = chat.push(b"x").expect_err("it cannot be split");
    assert_eq!(
        error.to_string(),
        "ac_out_buffer_size must not be 0 to push anything"
    );
}

#[test]
fn every_kind_of_producer_is_asked_until_it_has_no_more() -> Result {
    let chat = chat();
    let pieces = |pieces: &'static [&'static str]| {
        let next = Cell::new(0);
        move || -> Result<Data> {
            let at = next.replace(next.get() + 1);
            Ok(pieces.get(at).copied().unwrap_or_default().into())
        }
    };
    let boxed: Box<dyn Fn() -> Result<Data>> = Box::new(pieces(&["c", "d"]));
    let mut left = 2;
    let mutable = RefCell::new(move || {
        left -= i32::from(left > 0);
        Ok(Data::from(vec![b'e'; left as usize]))
    });
    let shared: Rc<dyn Producer> = Rc::new(SimpleProducer::with_buffer_size(b"fgh", 2));
    chat.root().connected.set(false);
    chat.push_with_producer(pieces(&["a", "b"]))?;
    chat.push_with_producer(boxed)?;
    chat.push_with_producer(mutable)?;
    chat.push_with_producer(shared)?;
    chat.push_with_producer(b"i")?;
    chat.push_with_producer("j")?;
    assert_eq!(chat.base.producer_fifo.len(), 6);
    chat.root().connected.set(true);
    assert_eq!(
        chat.write_until_idle()?,
        ["a", "b", "c", "d", "e", "fg", "h", "i", "j"]
    );
    Ok(())
}

#[test]
fn a_producer_may_push_while_it_makes_more() -> Result {
    struct Pushing {
        channel: Weak<Chat>,
        left: Cell<u32>,
    }
    impl Producer for Pushing {
        fn more(&self) -> Result<Data> {
            if self.left.get() == 0 {
                return Ok(Data::default());
            }
            self.left.set(self.left.get() - 1);
            let channel = self.channel.upgrade().expect("it is sending");
            channel.push(b"pushed")?;
            Ok("made".into())
        }
    }
    let chat = chat();
    chat.push_with_producer(Pushing {
        channel: Rc::downgrade(&chat),
        left: Cell::new(1),
    })?;
    // The push asked the producer, which had no more by then, and so sent what was pushed first.
    assert_eq!(chat.write_until_idle()?, ["pushed", "made"]);
    Ok(())
}

#[test]
fn a_closure_that_asks_itself_for_more_is_an_error_that_says_so() -> Result {
    let chat = chat();
    let channel = Rc::downgrade(&chat);
    let producer = RefCell::new(move || {
        let channel = channel.upgrade().expect("it is sending");
        channel.push(b"x")?;
        Ok(Data::default())
    });
    let error = chat.push_with_producer(producer).expect_err("it runs");
    assert!(matches!(
        error.downcast_ref(),
        Some(AsyncChatError::ProducerRunning)
    ));
    Ok(())
}

#[test]
fn a_producer_that_pushes_each_time_is_an_error_that_says_so() -> Result {
    let chat = chat();
    let channel = Rc::downgrade(&chat);
    let error = chat
        .push_with_producer(move || {
            channel.upgrade().expect("it is sending").push(b"x")?;
            Ok("y".into())
        })
        .expect_err("there is no end to it");
    assert!(matches!(
        error.downcast_ref(),
        Some(AsyncChatError::TooDeep)
    ));
    Ok(())
}

#[test]
fn a_queue_emptied_by_its_own_producer_is_an_error_that_says_so() -> Result {
    let chat = chat();
    let channel = Rc::downgrade(&chat);
    let error = chat
        .push_with_producer(move || {
            channel.upgrade().expect("it is sending").discard_buffers();
            Ok(Data::default())
        })
        .expect_err("nothing to take out");
    assert!(matches!(
        error.downcast_ref(),
        Some(AsyncChatError::FifoEmptied)
    ));
    Ok(())
}

#[test]
fn an_idle_channel_that_is_to_close_when_done_waits_for_the_next_write_event() -> Result {
    let chat = chat();
    chat.close_when_done()?;
    assert!(chat.calls.take().is_empty() && chat.writable());
    chat.handle_write()?;
    assert_eq!(chat.calls.take(), ["close"]);
    // The queue survives a close, and what is pushed to a closed channel stays in it.
    chat.push(b"late")?;
    assert_eq!((chat.sent().len(), chat.base.producer_fifo.len()), (0, 1));
    Ok(())
}

#[test]
fn the_queue_can_be_looked_into_and_changed() -> Result {
    let chat = chat();
    chat.root().connected.set(false);
    let fifo = &chat.base.producer_fifo;
    chat.push(b"b")?;
    fifo.push_front(b"a");
    fifo.push(SimpleProducer::new(b"c"));
    fifo.push(Queued::Close);
    assert!(matches!(fifo.get(2), Some(Queued::Producer(_))));
    assert!(matches!(fifo.pop_back(), Some(Queued::Close)));
    assert!(fifo.remove(7).is_none() && fifo.replace(7, b"x").is_err());
    assert!(matches!(fifo.replace(1, b"B"), Ok(Queued::Data(data)) if data == Data::from(b"b")));
    chat.root().connected.set(true);
    assert_eq!(chat.write_until_idle()?, ["a", "B", "c"]);
    Ok(())
}

#[test]
fn a_fifo_is_that_of_earlier_pythons() {
    let fifo = Fifo::from_iter([1, 2]);
    fifo.push(3);
    assert_eq!(
        (fifo.len(), fifo.is_empty(), fifo.first()),
        (3, false, Some(1))
    );
    assert_eq!(
        [fifo.pop(), fifo.pop(), fifo.pop(), fifo.pop()],
        [Some(1), Some(2), Some(3), None]
    );
    assert!(fifo.is_empty() && fifo.first().is_none());
}

/// Makes pieces, and is false to Python all the while.
struct Falsy {
    pieces: Fifo<&'static str>,
}

impl Producer for Falsy {
    fn more(&self) -> Result<Data> {
        Ok(self.pieces.pop().unwrap_or_default().into())
    }
    fn truth(&self) -> bool {
        false
    }
}

#[test]
fn falsy_producer_ends() -> Result {
    for (quirks, pieces, expected) in [
        (
            Quirks::default(),
            &["a", "b"][..],
            &["a", "b", "next", "last"][..],
        ),
        (Quirks::CPYTHON, &["a", "b"], &["a", "next", "last"]),
        (Quirks::default(), &[], &["next", "last"]),
        (Quirks::CPYTHON, &[], &["last"]),
    ] {
        let map = ChannelMap::with_quirks(quirks);
        let chat = Chat::new(&map);
        chat.root().connected.set(false);
        chat.push_with_producer(Falsy {
            pieces: pieces.iter().copied().collect(),
        })?;
        chat.push(b"next")?;
        chat.push(b"last")?;
        chat.root().connected.set(true);
        assert_eq!(chat.write_until_idle()?, expected, "{quirks:?} {pieces:?}");
    }
    Ok(())
}

// ---- text

#[test]
fn text_becomes_utf_8_unless_an_encoding_is_used() -> Result {
    let chat = chat();
    chat.push("é")?;
    chat.base.use_encoding.set(true);
    chat.push("é")?;
    chat.push_with_producer("é")?;
    chat.push_with_producer(SimpleProducer::new("é"))?;
    assert_eq!(
        chat.write_until_idle()?,
        ["\\xc3\\xa9", "\\xe9", "\\xe9", "\\xe9"]
    );
    chat.base.encoding.set(Encoding::Utf8);
    chat.push("é")?;
    assert_eq!(chat.sent(), ["\\xc3\\xa9"]);
    chat.base.encoding.set(Encoding::Ascii);
    let error = chat.push("né").expect_err("no ASCII");
    assert_eq!(
        error.to_string(),
        "the encoding ascii does not have the character 'é'"
    );
    assert!(chat.set_terminator("é").is_err());
    chat.base.encoding.set(Encoding::Latin1);
    chat.set_terminator("é")?;
    assert_eq!(chat.read(&[b"a\xe9b"])?, ["a", "found", "b"]);
    // As one from an overridden `get_terminator` would be.
    chat.base.replace_terminator("è");
    assert_eq!(chat.read(&[b"a\xe8b"])?, ["a", "found", "b"]);
    Ok(())
}

// ---- where attributes and methods come from

#[test]
fn the_sizes_of_the_buffers_are_those_of_the_class_unless_set_for_an_object() -> Result {
    struct Sized {
        base: AsyncChatBase,
    }
    impl Dispatcher for Sized {
        type Base = AsyncChatBase;
        fn base(&self) -> &AsyncChatBase {
            &self.base
        }
    }
    impl AsyncChat for Sized {
        const AC_IN_BUFFER_SIZE: usize = 100;
        const AC_OUT_BUFFER_SIZE: usize = 200;
        const USE_ENCODING: bool = true;
    }
    let (sized, plain) = (Sized::init(|base| Sized { base }), chat());
    assert_eq!(sized.base.ac_in_buffer_size.get(), 100);
    assert_eq!(sized.base.ac_out_buffer_size.get(), 200);
    assert!(sized.base.use_encoding.get());
    assert_eq!(plain.base.ac_in_buffer_size.get(), 4096);
    assert_eq!(plain.base.ac_out_buffer_size.get(), 4096);
    assert!(!plain.base.use_encoding.get());
    Ok(())
}

/// Class `upper(async_chat)`: found by way of a class that overrides nothing.
struct UpperBase {
    chat: AsyncChatBase,
}

impl<T: AsyncChat> BaseClass<T> for UpperBase {
    type Super = AsyncChatBase;
    fn new(this: &Weak<T>) -> UpperBase {
        UpperBase {
            chat: BaseClass::new(this),
        }
    }
    fn superclass(&self) -> &AsyncChatBase {
        &self.chat
    }
}

impl<T: AsyncChat> AsyncChatClass<T> for UpperBase {
    type AsyncChatSuper = AsyncChatBase;
    const AC_IN_BUFFER_SIZE: usize = 1000;
    fn async_chat_super(&self) -> &AsyncChatBase {
        &self.chat
    }

    fn push(&self, this: &T, data: Data) -> Result {
        match data.as_str() {
            Some(text) => self.chat.push(this, text.to_uppercase().into()),
            None => self.chat.push(this, data),
        }
    }
}

/// Class `plain(upper)`: overrides nothing.
struct PlainBase {
    upper: UpperBase,
}

impl<T: AsyncChat> BaseClass<T> for PlainBase {
    type Super = UpperBase;
    fn new(this: &Weak<T>) -> PlainBase {
        PlainBase {
            upper: BaseClass::new(this),
        }
    }
    fn superclass(&self) -> &UpperBase {
        &self.upper
    }
}

impl<T: AsyncChat> AsyncChatClass<T> for PlainBase {
    type AsyncChatSuper = UpperBase;
    fn async_chat_super(&self) -> &UpperBase {
        &self.upper
    }
}

/// Class `counting(plain)`.
struct Counting {
    base: PlainBase,
    pushes: Cell<u32>,
}

impl Dispatcher for Counting {
    type Base = PlainBase;
    fn base(&self) -> &PlainBase {
        &self.base
    }
}

impl AsyncChat for Counting {
    fn push(&self, data: impl Into<Data>) -> Result {
        self.pushes.set(self.pushes.get() + 1);
        self.base().push(self, data.into())
    }
}

#[test]
fn methods_are_looked_up_one_class_at_a_time() -> Result {
    let object = Counting::init(|base| Counting {
        base,
        pushes: Cell::new(0),
    });
    let chat = object.async_chat();
    assert_eq!(chat.ac_in_buffer_size.get(), 1000);
    assert_eq!(chat.ac_out_buffer_size.get(), 4096);
    object.push("loud")?;
    assert_eq!(object.pushes.get(), 1);
    let queued = object.async_chat().producer_fifo.first();
    assert!(matches!(queued, Some(Queued::Data(data)) if data == Data::from(b"LOUD")));
    Ok(())
}

// ---- in the loop

/// Tells a peer of each line, and pushes what it is told.
struct Relay {
    base: AsyncChatBase,
    peer: RefCell<Weak<Relay>>,
}

impl Relay {
    fn pair(map: &ChannelMap) -> Result<([Rc<Relay>; 2], [UnixStream; 2])> {
        let relay = || -> Result<(Rc<Relay>, UnixStream)> {
            let (near, far) = UnixStream::pair()?;
            let relay = Relay::init_in(map, |base| Relay {
                base,
                peer: RefCell::default(),
            });
            relay.init_socket(near)?;
            relay.set_terminator("\n")?;
            far.set_read_timeout(Some(Duration::from_secs(30)))?;
            Ok((relay, far))
        };
        let ((one, far_one), (two, far_two)) = (relay()?, relay()?);
        one.peer.replace(Rc::downgrade(&two));
        two.peer.replace(Rc::downgrade(&one));
        Ok(([one, two], [far_one, far_two]))
    }
}

impl Dispatcher for Relay {
    type Base = AsyncChatBase;
    fn base(&self) -> &AsyncChatBase {
        &self.base
    }
}

impl AsyncChat for Relay {
    fn collect_incoming_data(&self, data: &[u8]) -> Result {
        self._collect_incoming_data(data);
        Ok(())
    }

    fn found_terminator(&self) -> Result {
        let line = self._get_data();
        let peer = self.peer.borrow().upgrade();
        match (peer, &line[..]) {
            (Some(peer), b"close") => {
                peer.close()?;
                self.close()
            }
            (Some(peer), b"panic") => {
                drop(peer);
                panic!("told to")
            }
            (Some(peer), line) => {
                peer.push([line, b"\n"].concat())?;
                // It pushes back.
                self.push("ok\n")
            }
            (None, _) => Ok(()),
        }
    }
}

/// A channel of the other class, in the same map.
struct Listening {
    base: DispatcherBase,
    read: Cell<usize>,
}

impl Dispatcher for Listening {
    type Base = DispatcherBase;
    fn base(&self) -> &DispatcherBase {
        &self.base
    }
    fn writable(&self) -> bool {
        false
    }
    fn handle_read(&self) -> Result {
        self.read.set(self.read.get() + self.recv(100)?.len());
        Ok(())
    }
}

#[test]
fn chat_channels_push_to_one_another_and_share_a_map_with_dispatchers() -> Result {
    let map = ChannelMap::new();
    let (_relays, [mut one, mut two]) = Relay::pair(&map)?;
    let (near, mut far) = UnixStream::pair()?;
    let listening = Listening::init_in(&map, |base| Listening {
        base,
        read: Cell::new(0),
    });
    listening.init_socket(near)?;
    one.write_all(b"hello\n")?;
    far.write_all(b"12345")?;
    poll2(None, Some(&map))?;
    let mut line = [0; 6];
    two.read_exact(&mut line)?;
    assert_eq!(line, *b"hello\n");
    one.read_exact(&mut line[..3])?;
    assert_eq!(line[..3], *b"ok\n");
    assert_eq!((listening.read.get(), map.len()), (5, 3));
    Ok(())
}

#[test]
fn a_callback_may_close_its_own_channel_and_its_peer() -> Result {
    let map = ChannelMap::new();
    let (_relays, [mut one, mut two]) = Relay::pair(&map)?;
    one.write_all(b"close\n")?;
    two.write_all(b"close\n")?;
    poll(None, Some(&map))?;
    assert!(map.is_empty());
    assert_eq!(
        (one.read(&mut [0])?, two.read(&mut [0]).unwrap_or(0)),
        (0, 0)
    );
    Ok(())
}

#[test]
fn a_panic_in_a_callback_closes_its_own_channel_only() -> Result {
    let map = ChannelMap::new();
    let (relays, [mut one, _two]) = Relay::pair(&map)?;
    one.write_all(b"panic\n")?;
    poll(None, Some(&map))?;
    assert_eq!(map.len(), 1);
    assert!(!relays[0].connected() && relays[1].connected());
    Ok(())
}
