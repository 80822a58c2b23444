//! Every method, called from inside every callback.
//!
//! `probes/reentrancy.py` is the same in Python, and says more; `recorded/reentrancy.txt` has the digests
//! of what CPython 3.11 said.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::net::{TcpListener, TcpStream};
use std::rc::Rc;
use std::time::Duration;

use asynchat::{AsyncChat, AsyncChatBase};
use asyncore::socket2::{Domain, Type};
use asyncore::{
    Dispatcher, DispatcherBase, DispatcherWithSend, DispatcherWithSendBase, Loop,
    PollFlags as Flags, Result, Socket, socket_map,
};

use crate::situation::{PollFlags, Semantics, reset, send_all, settle_channel, tcp_pair};
use crate::traced::{Raised, Traced, TracedProducer, name_of, take_lines, tell, tell_state};

type Channel<B> = Rc<Traced<B>>;

/// A class whose methods are called.
trait Class: Sized + 'static
where
    Traced<Self>: Dispatcher<Base = Self>,
{
    const NAME: &'static str;

    /// How each of its callbacks comes to be called.
    fn callbacks() -> Vec<(&'static str, Make<Self>)>;

    /// What is called on the target.
    fn methods() -> Vec<(&'static str, Method<Self>)>;

    /// What is done to a new channel.
    fn prepare(_channel: &Channel<Self>) {}
}

type Make<B> = fn(&Setting<B>) -> Made<B>;
type Method<B> = fn(&Channel<B>, &Setting<B>) -> Result;

impl Class for DispatcherBase {
    const NAME: &'static str = "dispatcher";

    fn callbacks() -> Vec<(&'static str, Make<Self>)> {
        callbacks()
    }

    fn methods() -> Vec<(&'static str, Method<Self>)> {
        methods()
    }
}

impl Class for DispatcherWithSendBase {
    const NAME: &'static str = "dispatcher_with_send";

    fn callbacks() -> Vec<(&'static str, Make<Self>)> {
        let mut callbacks = callbacks();
        callbacks.push(("initiate_send", Setting::sending));
        callbacks
    }

    fn methods() -> Vec<(&'static str, Method<Self>)> {
        let mut methods = methods::<Self>();
        methods.push(("initiate_send", |t, _| t.initiate_send()));
        methods
    }
}

impl Class for AsyncChatBase {
    const NAME: &'static str = "async_chat";

    /// Those of class `dispatcher` that it overrides or calls, and its own.
    fn callbacks() -> Vec<(&'static str, Make<Self>)> {
        const OF_DISPATCHER: [&str; 9] = [
            "readable",
            "writable",
            "handle_read",
            "recv",
            "handle_write",
            "send",
            "handle_close",
            "close",
            "handle_error",
        ];
        let mut callbacks = callbacks();
        callbacks.retain(|(name, _)| OF_DISPATCHER.contains(name));
        callbacks.extend([
            ("collect_incoming_data", Setting::input as Make<Self>),
            ("found_terminator", Setting::input),
            ("get_terminator", Setting::input),
            ("initiate_send", Setting::output),
            ("push_with_producer", Setting::producing),
            ("more", Setting::producing),
        ]);
        callbacks
    }

    fn methods() -> Vec<(&'static str, Method<Self>)> {
        let mut methods = methods::<Self>();
        methods.extend::<[(&str, Method<Self>); 12]>([
            ("push", |t, _| t.push(b"eggs")),
            ("push_with_producer", |t, _| {
                t.push_with_producer(TracedProducer::new(t)?)
            }),
            ("close_when_done", |t, _| t.close_when_done()),
            ("initiate_send", |t, _| t.initiate_send()),
            ("discard_buffers", |t, _| {
                t.discard_buffers();
                Ok(())
            }),
            ("set_terminator_bytes", |t, _| t.set_terminator(b"e")),
            ("set_terminator_count", |t, _| t.set_terminator(2)),
            ("set_terminator_none", |t, _| t.set_terminator(None)),
            ("get_terminator", |t, _| {
                t.get_terminator();
                Ok(())
            }),
            ("set_ac_in_buffer", |t, _| {
                t.base().set_ac_in_buffer(*b"xcy");
                Ok(())
            }),
            ("producer_fifo_append", |t, _| {
                t.base().producer_fifo.push(b"bacon");
                Ok(())
            }),
            ("producer_fifo_clear", |t, _| {
                t.base().producer_fifo.clear();
                Ok(())
            }),
        ]);
        methods
    }

    fn prepare(channel: &Channel<Self>) {
        channel.chunk.set(None);
        channel.details.set(Traced::chat_details);
        channel.base().replace_terminator(b"c");
    }
}

/// One step of a script that leads to a callback.
type Step = Box<dyn Fn() -> Result>;

/// What a case is made of.
struct Setting<B: 'static> {
    semantics: Semantics,
    listener: TcpListener,
    peers: RefCell<Vec<TcpStream>>,
    /// The handles that the program has. The map has others.
    channels: RefCell<BTreeMap<&'static str, Channel<B>>>,
}

/// The first channel, and what to do with it before the passes.
type Made<B> = Result<(Channel<B>, Vec<Step>)>;

impl Setting<AsyncChatBase> {
    fn producing(&self) -> Made<AsyncChatBase> {
        let (a, script) = self.output()?;
        a.react("handle_write", |a| {
            a.push_with_producer(TracedProducer::new(a)?).map(|()| true)
        });
        Ok((a, script))
    }
}

impl<B: Class> Setting<B>
where
    Traced<B>: Dispatcher<Base = B>,
{
    fn new(semantics: Semantics) -> Result<Setting<B>> {
        Ok(Setting {
            semantics,
            listener: TcpListener::bind(("127.0.0.1", 0))?,
            peers: RefCell::default(),
            channels: RefCell::default(),
        })
    }

    fn create(&self, name: &'static str) -> Channel<B> {
        let channel = Traced::create(name);
        B::prepare(&channel);
        self.channels.borrow_mut().insert(name, Rc::clone(&channel));
        channel
    }

    fn handles(&self) -> Vec<Channel<B>> {
        self.channels.borrow().values().cloned().collect()
    }

    fn connected(&self, name: &'static str) -> Result<Channel<B>> {
        let (near, far) = tcp_pair();
        let channel = self.create(name);
        channel.init_socket(near)?;
        self.peers.borrow_mut().push(far);
        Ok(channel)
    }

    fn asked(&self) -> Made<B> {
        Ok((self.connected("a")?, Vec::new()))
    }

    fn input(&self) -> Made<B> {
        let a = self.connected("a")?;
        send_all(&self.peers.borrow()[0], b"abcdef");
        settle_channel(&*a, PollFlags::IN);
        Ok((a, Vec::new()))
    }

    fn output(&self) -> Made<B> {
        let a = self.connected("a")?;
        a.wants_write.set(Some(true));
        settle_channel(&*a, PollFlags::OUT);
        Ok((a, Vec::new()))
    }

    fn sending(&self) -> Made<B> {
        let (a, script) = self.output()?;
        a.react("handle_write", |a| a.send(b"spam").map(|_| true));
        Ok((a, script))
    }

    fn out_of_band(&self) -> Made<B> {
        let a = self.connected("a")?;
        socket2::SockRef::from(&self.peers.borrow()[0]).send_out_of_band(b"!")?;
        settle_channel(&*a, PollFlags::PRI);
        Ok((a, Vec::new()))
    }

    fn connecting(&self) -> Made<B> {
        let a = self.create("a");
        a.wants_write.set(Some(true));
        a.create_socket(Domain::IPV4, Type::STREAM)?;
        a.connect(self.listener.local_addr()?)?;
        settle_channel(&*a, PollFlags::OUT);
        Ok((a, Vec::new()))
    }

    fn accepting(&self) -> Made<B> {
        let a = self.create("a");
        a.create_socket(Domain::IPV4, Type::STREAM)?;
        a.bind(("127.0.0.1", 0))?;
        a.listen(5)?;
        let Some(addr) = a.socket()?.socket2()?.local_addr()?.as_socket() else {
            return Err(Raised.into());
        };
        self.peers.borrow_mut().push(TcpStream::connect(addr)?);
        settle_channel(&*a, PollFlags::IN);
        Ok((a, Vec::new()))
    }

    fn ended(&self) -> Made<B> {
        let a = self.connected("a")?;
        self.peers.borrow_mut().clear();
        // Or thousands of connections would wait for their time to pass.
        a.socket()?.socket2()?.set_linger(Some(Duration::ZERO))?;
        settle_channel(&*a, PollFlags::IN | PollFlags::RDHUP);
        Ok((a, Vec::new()))
    }

    fn failing(&self) -> Made<B> {
        let (a, script) = self.input()?;
        a.react("handle_read", |_| Err(Raised.into()));
        Ok((a, script))
    }

    fn listens(&self) -> Made<B> {
        let a = self.create("a");
        let steps: [fn(&Channel<B>) -> Result; 3] = [
            |a| a.create_socket(Domain::IPV4, Type::STREAM),
            |a| a.bind(("127.0.0.1", 0)),
            |a| a.listen(5),
        ];
        let script = steps.map(|step| {
            let a = Rc::clone(&a);
            Box::new(move || step(&a)) as Step
        });
        Ok((a, script.into()))
    }

    fn connects(&self) -> Made<B> {
        let a = self.create("a");
        let addr = self.listener.local_addr()?;
        let (creating, connecting) = (Rc::clone(&a), Rc::clone(&a));
        let script: Vec<Step> = vec![
            Box::new(move || creating.create_socket(Domain::IPV4, Type::STREAM)),
            Box::new(move || connecting.connect(addr)),
        ];
        Ok((a, script))
    }
}

/// How each callback of class `dispatcher` comes to be called.
fn callbacks<B: Class>() -> Vec<(&'static str, Make<B>)>
where
    Traced<B>: Dispatcher<Base = B>,
{
    vec![
        ("readable", Setting::asked),
        ("writable", Setting::asked),
        ("handle_read_event", Setting::input),
        ("handle_read", Setting::input),
        ("recv", Setting::input),
        ("handle_write_event", Setting::output),
        ("handle_write", Setting::output),
        ("log_info", Setting::output),
        ("send", Setting::sending),
        ("handle_expt_event", Setting::out_of_band),
        ("handle_expt", Setting::out_of_band),
        ("handle_connect_event", Setting::connecting),
        ("handle_connect", Setting::connecting),
        ("handle_accept", Setting::accepting),
        ("accept", Setting::accepting),
        ("handle_accepted", Setting::accepting),
        ("handle_close", Setting::ended),
        ("close", Setting::ended),
        ("del_channel", Setting::ended),
        ("handle_error", Setting::failing),
        ("create_socket", Setting::listens),
        ("set_socket", Setting::listens),
        ("add_channel", Setting::listens),
        ("bind", Setting::listens),
        ("listen", Setting::listens),
        ("connect", Setting::connects),
    ]
}

/// The methods of class `dispatcher`, and the functions of the module.
fn methods<B: Class>() -> Vec<(&'static str, Method<B>)>
where
    Traced<B>: Dispatcher<Base = B>,
{
    vec![
        ("repr", |t, _| {
            t.repr();
            Ok(())
        }),
        ("add_channel", |t, _| t.add_channel(None)),
        ("del_channel", |t, _| {
            t.del_channel(None);
            Ok(())
        }),
        ("create_socket", |t, _| {
            t.create_socket(Domain::IPV4, Type::STREAM)
        }),
        ("set_socket", |t, _| t.set_socket(t.socket()?, None)),
        ("set_reuse_addr", |t, _| t.set_reuse_addr()),
        ("readable", |t, _| {
            t.readable();
            Ok(())
        }),
        ("writable", |t, _| {
            t.writable();
            Ok(())
        }),
        ("listen", |t, _| t.listen(5)),
        ("bind", |t, _| t.bind(("127.0.0.1", 0))),
        ("connect", |t, s| t.connect(s.listener.local_addr()?)),
        ("accept", |t, _| t.accept().map(drop)),
        ("send", |t, _| t.send(b"ham").map(drop)),
        ("recv", |t, _| t.recv(2).map(drop)),
        ("close", |t, _| t.close()),
        ("log", |t, _| {
            t.log("message");
            Ok(())
        }),
        ("log_info", |t, _| {
            t.log_info("message", "info");
            Ok(())
        }),
        ("handle_read_event", |t, _| t.handle_read_event()),
        ("handle_write_event", |t, _| t.handle_write_event()),
        ("handle_expt_event", |t, _| t.handle_expt_event()),
        ("handle_connect_event", |t, _| t.handle_connect_event()),
        ("handle_error", |t, _| t.handle_error(Raised.into())),
        ("handle_expt", |t, _| t.handle_expt()),
        ("handle_read", |t, _| t.handle_read()),
        ("handle_write", |t, _| t.handle_write()),
        ("handle_connect", |t, _| t.handle_connect()),
        ("handle_accept", |t, _| t.handle_accept()),
        ("handle_accepted", |t, _| {
            let socket = Socket::open(Domain::IPV4, Type::STREAM)?;
            t.handle_accepted(socket, ("127.0.0.1", 1).into())
        }),
        ("handle_close", |t, _| t.handle_close()),
        ("drop", |t, s| {
            // Left to whoever still holds it.
            s.channels.borrow_mut().remove(t.name);
            for (fd, channel) in socket_map().items() {
                let channel = channel.downcast_ref::<Traced<B>>();
                if channel.is_some_and(|channel| std::ptr::eq(channel, &**t)) {
                    socket_map().remove(fd);
                }
            }
            Ok(())
        }),
        ("read", |t, _| asyncore::read(&**t)),
        ("write", |t, _| asyncore::write(&**t)),
        ("exception", |t, _| asyncore::exception(&**t)),
        ("readwrite", |t, _| {
            asyncore::readwrite(&**t, Flags::IN | Flags::OUT | Flags::PRI | Flags::HUP)
        }),
        ("poll", |_, s| s.semantics.pass()),
        ("loop", |_, s| {
            let use_poll = s.semantics == Semantics::Poll;
            Loop::new()
                .timeout(Duration::ZERO)
                .use_poll(use_poll)
                .count(2)
                .run()
        }),
        ("close_all", |_, _| asyncore::close_all(None, false)),
        ("clear", |_, _| {
            socket_map().clear();
            Ok(())
        }),
    ]
}

const TARGETS: [&str; 2] = ["itself", "another"];

/// The trace of one case; `None` if there is no such case.
///
/// # Errors
///
/// What making the situation failed with.
pub fn trace(
    class: &str,
    callback: &str,
    method: &str,
    target: &str,
    semantics: Semantics,
) -> Result<Option<Vec<String>>> {
    match class {
        DispatcherBase::NAME => trace_of::<DispatcherBase>(callback, method, target, semantics),
        DispatcherWithSendBase::NAME => {
            trace_of::<DispatcherWithSendBase>(callback, method, target, semantics)
        }
        AsyncChatBase::NAME => trace_of::<AsyncChatBase>(callback, method, target, semantics),
        _ => Ok(None),
    }
}

fn trace_of<B: Class>(
    callback: &str,
    method: &str,
    target: &str,
    semantics: Semantics,
) -> Result<Option<Vec<String>>>
where
    Traced<B>: Dispatcher<Base = B>,
{
    let callback = B::callbacks()
        .into_iter()
        .find(|(name, _)| *name == callback);
    let method = B::methods().into_iter().find(|(name, _)| *name == method);
    match (callback, method) {
        (Some((callback, make)), Some((_, method))) if TARGETS.contains(&target) => {
            trace_case(callback, make, method, target, semantics).map(Some)
        }
        _ => Ok(None),
    }
}

fn trace_case<B: Class>(
    callback: &'static str,
    make: Make<B>,
    method: Method<B>,
    target: &str,
    semantics: Semantics,
) -> Result<Vec<String>>
where
    Traced<B>: Dispatcher<Base = B>,
{
    take_lines();
    let setting = Rc::new(Setting::new(semantics)?);
    let (a, script) = make(&setting)?;
    let b = setting.connected("b")?;
    let target = if target == "itself" { &a } else { &b };
    react_on_first_call(&a, callback, target, method, &setting);
    drop((a, b));

    for step in &script {
        if let Err(error) = step() {
            tell(format!("  the script fails: {}", name_of(&error)));
        }
    }
    drop(script);
    for number in 1..=3 {
        for channel in setting.handles() {
            if channel.connecting() && !channel.accepting() && is_open(&*channel) {
                settle_channel(&*channel, PollFlags::OUT);
            }
        }
        tell(format!(" pass {number}"));
        if let Err(error) = semantics.pass() {
            tell(format!("  the loop ends: {}", name_of(&error)));
        }
        for name in ["a", "b"] {
            let channel = setting.channels.borrow().get(name).cloned();
            match channel {
                Some(channel) => tell_state(&*channel),
                None => tell(format!("  {name}: dropped")),
            }
        }
    }
    let lines = take_lines();
    for peer in setting.peers.take() {
        // So that no connection is left to wait for its time to pass.
        reset(peer);
    }
    for channel in setting.handles() {
        channel.stop_reacting();
    }
    asyncore::close_all(None, true)?;
    Ok(lines)
}

/// Calls a method of the target the first time that a callback is called; what that fails with is told,
/// and does not leave the callback. A reaction that the callback has already is for the other times.
fn react_on_first_call<B>(
    channel: &Channel<B>,
    callback: &'static str,
    target: &Channel<B>,
    method: Method<B>,
    setting: &Rc<Setting<B>>,
) {
    let first = Cell::new(true);
    let otherwise = channel.reaction(callback);
    let target = Rc::downgrade(target);
    let setting = Rc::clone(setting);
    channel.react(callback, move |channel| {
        if !first.take() {
            return otherwise.as_ref().map_or(Ok(false), |react| react(channel));
        }
        tell("   calls");
        let called = target
            .upgrade()
            .map_or(Ok(()), |target| method(&target, &setting));
        if let Err(error) = called {
            tell(format!("    raises {}", name_of(&error)));
        }
        tell("   goes on");
        Ok(false)
    });
}

fn is_open(channel: &impl Dispatcher) -> bool {
    channel
        .socket()
        .is_ok_and(|socket| socket.fileno().is_some())
}

/// The digests of all cases: for each class a line of its methods, then one for each callback, target and
/// semantics.
///
/// # Errors
///
/// What making a situation failed with.
pub fn digests() -> Result<String> {
    let mut table = String::new();
    add_digests::<DispatcherBase>(&mut table)?;
    add_digests::<DispatcherWithSendBase>(&mut table)?;
    add_digests::<AsyncChatBase>(&mut table)?;
    Ok(table)
}

fn add_digests<B: Class>(table: &mut String) -> Result
where
    Traced<B>: Dispatcher<Base = B>,
{
    let methods = B::methods();
    let names: Vec<&str> = methods.iter().map(|(name, _)| *name).collect();
    let _ = writeln!(table, "[{}] {}", B::NAME, names.join(" "));
    for (callback, make) in B::callbacks() {
        for target in TARGETS {
            for semantics in Semantics::BOTH {
                let _ = write!(table, "{callback} {target} {semantics}");
                for (_, method) in &methods {
                    let lines = trace_case(callback, make, *method, target, semantics)?;
                    let _ = write!(table, " {}", digest(&lines));
                }
                table.push('\n');
            }
        }
    }
    Ok(())
}

/// FNV-1a, so that both sides have it without a library.
fn digest(lines: &[String]) -> String {
    let mut value: u64 = 0xcbf2_9ce4_8422_2325;
    for byte in (lines.join("\n") + "\n").bytes() {
        value = (value ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    format!("{:08x}", value >> 32)
}
