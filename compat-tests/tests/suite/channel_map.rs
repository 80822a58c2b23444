//! The channel map: a dictionary that keeps its order and may change at any time.

use std::cell::{Cell, RefCell};
use std::io::Write;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::rc::{Rc, Weak};
use std::time::Duration;

use asyncore::{
    ChannelMap, Descriptor, Dispatcher, DispatcherBase, Result, poll, poll2, set_socket_map,
    socket_map,
};

/// A hand-written channel, which is no dispatcher: it tells its name in each of its events.
struct Named {
    name: usize,
    told: Rc<RefCell<Vec<usize>>>,
    on_event: RefCell<Option<Box<dyn Fn() -> Result>>>,
}

impl asyncore::Channel for Named {
    fn readable(&self) -> bool {
        true
    }
    fn writable(&self) -> bool {
        false
    }
    fn handle_read_event(&self) -> Result {
        self.told.borrow_mut().push(self.name);
        let on_event = self.on_event.take();
        on_event.map_or(Ok(()), |on_event| on_event())
    }
    fn handle_write_event(&self) -> Result {
        Ok(())
    }
    fn handle_expt_event(&self) -> Result {
        Ok(())
    }
    fn handle_close(&self) -> Result {
        Ok(())
    }
    fn close(&self) -> Result {
        Ok(())
    }
}

/// Channels that all have input, and the order in which they are called.
struct Fixture {
    map: ChannelMap,
    told: Rc<RefCell<Vec<usize>>>,
    channels: Vec<Rc<Named>>,
    descriptors: Vec<Descriptor>,
    _sockets: Vec<UnixStream>,
}

impl Fixture {
    fn new(count: usize) -> Result<Fixture> {
        let mut fixture = Fixture {
            map: ChannelMap::new(),
            told: Rc::default(),
            channels: Vec::new(),
            descriptors: Vec::new(),
            _sockets: Vec::new(),
        };
        for _ in 0..count {
            let (near, mut far) = UnixStream::pair()?;
            far.write_all(b"x")?;
            fixture.descriptors.push(near.as_raw_fd());
            fixture._sockets.extend([near, far]);
        }
        // Neither in the order of the descriptors nor against it.
        for at in (0..count).step_by(2).chain((0..count).skip(1).step_by(2)) {
            let channel = fixture.channel(fixture.channels.len());
            fixture.map.insert(fixture.descriptors[at], channel.clone());
            fixture.channels.push(channel);
        }
        fixture.descriptors = fixture.map.keys();
        Ok(fixture)
    }

    fn channel(&self, name: usize) -> Rc<Named> {
        Rc::new(Named {
            name,
            told: Rc::clone(&self.told),
            on_event: RefCell::default(),
        })
    }

    fn pass(&self) -> Result<Vec<usize>> {
        poll(Duration::ZERO, Some(&self.map))?;
        let select = self.told.take();
        Ok(select)
    }
}

#[test]
fn events_come_in_the_order_of_insertion_however_many() -> Result {
    let fixture = Fixture::new(300)?;
    let order: Vec<usize> = (0..300).collect();
    assert_eq!(fixture.pass()?, order);
    poll2(Duration::ZERO, Some(&fixture.map))?;
    assert_eq!(fixture.told.take(), order);
    Ok(())
}

#[test]
fn replacing_a_channel_keeps_its_place_and_reinserting_does_not() -> Result {
    let fixture = Fixture::new(4)?;
    let fd = fixture.descriptors[1];
    let replaced = fixture.map.insert(fd, fixture.channel(7));
    assert!(
        replaced.is_some_and(|old| old.downcast_ref::<Named>().is_some_and(|old| old.name == 1))
    );
    assert_eq!(fixture.pass()?, [0, 7, 2, 3]);
    let removed = fixture.map.remove(fd).expect("it is there");
    fixture.map.insert(fd, removed);
    assert_eq!(fixture.pass()?, [0, 2, 3, 7]);
    assert_eq!(fixture.map.len(), 4);
    Ok(())
}

#[test]
fn the_map_reads_like_a_dictionary() -> Result {
    let fixture = Fixture::new(3)?;
    let (map, fds) = (&fixture.map, &fixture.descriptors);
    assert_eq!(map.len(), 3);
    assert!(!map.is_empty() && map.contains(fds[0]) && !map.contains(-1));
    assert!(map.get(-1).is_none() && map.remove(-1).is_none());
    assert_eq!(map.keys(), *fds);
    let names = map
        .values()
        .into_iter()
        .filter_map(|channel| channel.downcast::<Named>().ok());
    assert_eq!(
        names.map(|channel| channel.name).collect::<Vec<_>>(),
        [0, 1, 2]
    );
    assert_eq!(
        map.items().iter().map(|(fd, _)| *fd).collect::<Vec<_>>(),
        *fds
    );
    map.clear();
    assert!(map.is_empty() && map.get(fds[0]).is_none());
    assert_eq!(fixture.pass()?, [0; 0]);
    Ok(())
}

#[test]
fn a_channel_is_found_again_as_what_it_is() -> Result {
    let fixture = Fixture::new(1)?;
    let channel = fixture
        .map
        .get(fixture.descriptors[0])
        .expect("it is there");
    assert!(channel.is::<Named>() && !channel.is::<Quiet>());
    let Err(channel) = channel.downcast::<Quiet>() else {
        panic!("it is no Quiet");
    };
    let named = channel.downcast::<Named>().expect("it is a Named");
    assert!(Rc::ptr_eq(&named, &fixture.channels[0]));
    Ok(())
}

#[test]
fn a_handler_may_take_out_and_put_in_channels_during_a_pass() -> Result {
    let fixture = Fixture::new(4)?;
    let (map, fds) = (fixture.map.clone(), fixture.descriptors.clone());
    let new = fixture.channel(9);
    *fixture.channels[1].on_event.borrow_mut() = Some(Box::new(move || {
        let first = map.remove(fds[0]);
        map.remove(fds[2]);
        map.insert(fds[2], new.clone());
        drop(first);
        Ok(())
    }));
    // What was taken out is not called, and what came waits for the next pass.
    assert_eq!(fixture.pass()?, [0, 1, 3]);
    assert_eq!(fixture.pass()?, [1, 3, 9]);
    Ok(())
}

#[test]
fn a_channel_that_replaces_another_gets_none_of_its_events() -> Result {
    let fixture = Fixture::new(2)?;
    let (map, fds) = (fixture.map.clone(), fixture.descriptors.clone());
    let new = fixture.channel(9);
    *fixture.channels[0].on_event.borrow_mut() = Some(Box::new(move || {
        map.insert(fds[1], new.clone());
        Ok(())
    }));
    assert_eq!(fixture.pass()?, [0]);
    assert_eq!(fixture.pass()?, [0, 9]);
    Ok(())
}

#[test]
fn a_handler_may_clear_the_map() -> Result {
    let fixture = Fixture::new(3)?;
    let map = fixture.map.clone();
    *fixture.channels[0].on_event.borrow_mut() = Some(Box::new(move || {
        map.clear();
        Ok(())
    }));
    assert_eq!(fixture.pass()?, [0]);
    Ok(())
}

#[test]
fn what_a_handler_puts_into_a_cleared_map_waits_for_the_next_pass() -> Result {
    let fixture = Fixture::new(3)?;
    let (map, fds) = (fixture.map.clone(), fixture.descriptors.clone());
    let new: Vec<_> = (7..10).map(|name| fixture.channel(name)).collect();
    *fixture.channels[0].on_event.borrow_mut() = Some(Box::new(move || {
        map.clear();
        for (&fd, new) in fds.iter().zip(&new) {
            map.insert(fd, new.clone());
        }
        Ok(())
    }));
    assert_eq!(fixture.pass()?, [0]);
    assert_eq!(fixture.pass()?, [7, 8, 9]);
    Ok(())
}

#[test]
fn the_order_holds_while_many_come_and_go() -> Result {
    let map = ChannelMap::new();
    let told = Rc::default();
    let mut expected = Vec::new();
    for fd in 0..1000 {
        let name = fd as usize;
        let told = Rc::clone(&told);
        map.insert(
            fd,
            Rc::new(Named {
                name,
                told,
                on_event: RefCell::default(),
            }),
        );
        expected.push(fd);
        // Two of three leave again, from the middle.
        if fd % 3 != 0 {
            let gone = expected.remove(expected.len() / 2);
            assert!(map.remove(gone).is_some());
        }
    }
    assert_eq!(map.keys(), expected);
    let names = map
        .values()
        .into_iter()
        .filter_map(|channel| channel.downcast::<Named>().ok());
    let names: Vec<Descriptor> = names.map(|channel| channel.name as Descriptor).collect();
    assert_eq!(names, expected);
    Ok(())
}

#[test]
fn a_handler_may_run_a_loop_of_its_own_over_the_same_map() -> Result {
    let fixture = Fixture::new(3)?;
    let map = fixture.map.clone();
    *fixture.channels[1].on_event.borrow_mut() =
        Some(Box::new(move || poll(Duration::ZERO, Some(&map))));
    assert_eq!(fixture.pass()?, [0, 1, 0, 1, 2, 2]);
    Ok(())
}

/// Asks for nothing.
struct Quiet {
    base: DispatcherBase,
    dropped: Rc<Cell<bool>>,
}

impl Dispatcher for Quiet {
    type Base = DispatcherBase;

    fn base(&self) -> &DispatcherBase {
        &self.base
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        // The map can be used while its channels go.
        if let Ok(map) = self.map() {
            assert!(map.is_empty());
        }
        self.dropped.set(true);
    }
}

fn quiet(map: &ChannelMap) -> Result<(Rc<Cell<bool>>, Weak<Quiet>, UnixStream)> {
    let dropped = Rc::new(Cell::new(false));
    let (near, far) = UnixStream::pair()?;
    let quiet = Quiet::init_in(map, |base| Quiet {
        base,
        dropped: Rc::clone(&dropped),
    });
    quiet.init_socket(near)?;
    Ok((dropped, Rc::downgrade(&quiet), far))
}

#[test]
fn the_map_keeps_its_channels_alive_and_releases_them_with_itself() -> Result {
    let map = ChannelMap::new();
    let (dropped, weak, mut far) = quiet(&map)?;
    assert!(weak.upgrade().is_some_and(|quiet| quiet.fileno().is_some()));
    drop(map);
    assert!(dropped.get() && weak.upgrade().is_none());
    // Its socket with it.
    assert_eq!(std::io::Read::read(&mut far, &mut [0])?, 0);
    Ok(())
}

#[test]
fn a_cleared_channel_is_released() -> Result {
    let map = ChannelMap::new();
    let (dropped, _weak, _far) = quiet(&map)?;
    poll(Duration::ZERO, Some(&map))?;
    map.clear();
    assert!(dropped.get());
    Ok(())
}

#[test]
fn a_removed_channel_is_released_at_once() -> Result {
    let map = ChannelMap::new();
    let (dropped, weak, _far) = quiet(&map)?;
    poll(Duration::ZERO, Some(&map))?;
    let fd = weak.upgrade().and_then(|quiet| quiet.fileno());
    drop(fd.and_then(|fd| map.remove(fd)));
    assert!(dropped.get());
    Ok(())
}

/// Answers what it is told to, and counts its events.
struct Answering {
    answer: Box<dyn Fn() -> bool>,
    events: Cell<usize>,
}

impl asyncore::Channel for Answering {
    fn readable(&self) -> bool {
        (self.answer)()
    }
    fn writable(&self) -> bool {
        false
    }
    fn handle_read_event(&self) -> Result {
        self.events.set(self.events.get() + 1);
        Ok(())
    }
    fn handle_write_event(&self) -> Result {
        Ok(())
    }
    fn handle_expt_event(&self) -> Result {
        Ok(())
    }
    fn handle_close(&self) -> Result {
        Ok(())
    }
    fn close(&self) -> Result {
        Ok(())
    }
}

fn answering(
    map: &ChannelMap,
    answer: impl Fn() -> bool + 'static,
) -> Result<(Rc<Answering>, [UnixStream; 2])> {
    let (near, mut far) = UnixStream::pair()?;
    far.write_all(b"x")?;
    let channel = Rc::new(Answering {
        answer: Box::new(answer),
        events: Cell::new(0),
    });
    map.insert(near.as_raw_fd(), channel.clone());
    Ok((channel, [near, far]))
}

#[test]
fn every_pass_waits_for_what_is_answered_in_it() -> Result {
    let map = ChannelMap::new();
    let wants = Rc::new(Cell::new(true));
    let answer = Rc::clone(&wants);
    let (channel, _sockets) = answering(&map, move || answer.get())?;
    let (always, _others) = answering(&map, || true)?;
    for (pass, (answer, events)) in [(true, 1), (true, 2), (false, 2), (false, 2), (true, 3)]
        .into_iter()
        .enumerate()
    {
        wants.set(answer);
        poll(Duration::ZERO, Some(&map))?;
        assert_eq!(
            (channel.events.get(), always.events.get()),
            (events, pass + 1)
        );
    }
    Ok(())
}

#[test]
fn a_pass_inside_an_answer_does_not_change_what_the_outer_one_waits_for() -> Result {
    let map = ChannelMap::new();
    let (wants, runs_a_pass) = (Rc::new(Cell::new(true)), Rc::new(Cell::new(false)));
    let answer = Rc::clone(&wants);
    let (channel, _sockets) = answering(&map, move || answer.get())?;
    let (inner_map, inner, inner_wants) = (map.clone(), runs_a_pass.clone(), wants.clone());
    let (_running, _others) = answering(&map, move || {
        if inner.take() {
            inner_wants.set(false);
            poll(Duration::ZERO, Some(&inner_map)).expect("a pass over two sockets");
            inner_wants.set(true);
        }
        true
    })?;
    poll(Duration::ZERO, Some(&map))?;
    assert_eq!(channel.events.get(), 1);
    runs_a_pass.set(true);
    poll(Duration::ZERO, Some(&map))?;
    assert_eq!(
        channel.events.get(),
        2,
        "it wanted to read when the outer pass asked it"
    );
    // Nor does the outer one change what the inner one's answers are taken for.
    wants.set(false);
    poll(Duration::ZERO, Some(&map))?;
    assert_eq!(channel.events.get(), 2, "it does not want to read");
    Ok(())
}

#[test]
fn a_channel_whose_map_has_gone_says_so() -> Result {
    let map = ChannelMap::new();
    let (_, weak, _far) = quiet(&map)?;
    let quiet = weak.upgrade().expect("the map has it");
    drop(map);
    assert!(quiet.map().is_err());
    let error = quiet.add_channel(None).expect_err("there is no map");
    assert_eq!(error.to_string(), "the channel's map has been dropped");
    quiet.close()
}

#[test]
fn every_thread_has_its_own_default_map() -> Result {
    let (_, _weak, _far) = quiet(&socket_map())?;
    assert!(!socket_map().is_empty());
    let other_is_empty = std::thread::spawn(|| socket_map().is_empty()).join();
    assert!(other_is_empty.expect("no panic"));
    asyncore::close_all(None, false)?;
    assert!(socket_map().is_empty());
    Ok(())
}

#[test]
fn the_default_map_can_be_replaced() -> Result {
    let mine = ChannelMap::new();
    let before = set_socket_map(mine.clone());
    assert!(socket_map().ptr_eq(&mine));
    let (_, weak, _far) = quiet(&socket_map())?;
    assert!(set_socket_map(before).ptr_eq(&mine));
    assert!(
        weak.upgrade()
            .is_some_and(|quiet| quiet.map().is_ok_and(|map| map.ptr_eq(&mine)))
    );
    Ok(())
}

/// A descriptor that was closed while watched stays in the kernel's set if a duplicate keeps its file
/// open, and no call can take it out any more.
#[test]
fn a_file_left_behind_in_the_kernel_neither_reaches_another_channel_nor_spins() -> Result {
    let map = ChannelMap::new();
    let told = Rc::new(RefCell::new(Vec::new()));
    let (near, mut far) = UnixStream::pair()?;
    let channel = Rc::new(Named {
        name: 1,
        told: Rc::clone(&told),
        on_event: RefCell::default(),
    });
    let duplicate = near.try_clone()?;
    map.insert(near.as_raw_fd(), channel);
    poll(Duration::ZERO, Some(&map))?;
    // Closed behind the map's back, and taken out too late.
    let fd = near.as_raw_fd();
    drop(near);
    map.remove(fd);

    let (other, _peer) = UnixStream::pair()?;
    let named = Rc::new(Named {
        name: 2,
        told: Rc::clone(&told),
        on_event: RefCell::default(),
    });
    map.insert(other.as_raw_fd(), named);
    far.write_all(b"x")?;
    for _ in 0..3 {
        poll(Duration::from_millis(1), Some(&map))?;
    }
    assert_eq!(*told.borrow(), [0; 0]);
    drop(duplicate);
    Ok(())
}
