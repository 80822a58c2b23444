//! The HTTP server that the asynchat documentation begins, made whole:
//! `class http_request_handler(asynchat.async_chat)`, one for each connection, and
//! `class http_server(asyncore.dispatcher)`, which makes them.
//!
//! ```text
//! cargo run --example http_server -- --port 8080 --root .
//! ```
//!
//! Serves the files of a directory to GET and HEAD, and sends back what is POSTed. Ends with Ctrl-C.
//! `RUST_LOG=info` shows the requests.

use std::cell::{Cell, RefCell};
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Take};
use std::net::Shutdown;
use std::path::{Component, Path, PathBuf};
use std::process::ExitCode;
use std::rc::Rc;
use std::time::SystemTime;

use asynchat::bytes::Bytes;
use asynchat::{AsyncChat, AsyncChatBase, Data, Producer};
use asyncore::socket2::{Domain, Type};
use asyncore::{Address, Dispatcher, DispatcherBase, Error, Result, Socket};
use clap::Parser;
use examples::{Listen, program};
use http::header::{self, HeaderMap, HeaderName};
use http::{Method, StatusCode, Version};
use http_range_header::{RangeUnsatisfiableError, parse_range_header};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

/// A request and its body.
type Request = http::Request<Bytes>;

const END_OF_HEADERS: &[u8; 4] = b"\r\n\r\n";
const MAX_HEADERS_SIZE: usize = 64 * 1024;
const MAX_HEADERS: usize = 100;
const MAX_BODY_SIZE: u64 = 10 * 1024 * 1024;
const PIECE_SIZE: usize = 64 * 1024;

// ---- the connection

struct HttpRequestHandler {
    base: AsyncChatBase,
    directory: Rc<Path>,
    reading: Cell<Reading>,
    /// The one whose body is read.
    request: Cell<Request>,
    lingering: Cell<bool>,
}

/// What the input is, up to the next terminator.
#[derive(Clone, Copy, PartialEq)]
enum Reading {
    Headers,
    Body,
    /// Nothing that matters: the last response is queued, or sent.
    Nothing,
}

impl HttpRequestHandler {
    fn open(socket: Socket, directory: &Rc<Path>) -> Result {
        let handler = HttpRequestHandler::init_with(socket, |base| HttpRequestHandler {
            base,
            directory: Rc::clone(directory),
            reading: Cell::new(Reading::Headers),
            request: Cell::default(),
            lingering: Cell::new(false),
        })?;
        handler.set_terminator(END_OF_HEADERS)
    }
}

impl Dispatcher for HttpRequestHandler {
    type Base = AsyncChatBase;
    fn base(&self) -> &AsyncChatBase {
        &self.base
    }

    // The next requests are read when the last have been answered: a client that does not read its
    // responses waits at its own expense.
    fn readable(&self) -> bool {
        self.base.producer_fifo.is_empty()
    }

    fn handle_close(&self) -> Result {
        let done = self.reading.get() == Reading::Nothing && self.base.producer_fifo.is_empty();
        if done && self.connected() && !self.lingering.replace(true) {
            // Closing with input unread would reset the connection, and the client might lose the
            // response. It is told of the end, and what it still sends discarded until it closes, too.
            let socket = self.socket()?.socket2()?;
            if socket.shutdown(Shutdown::Write).is_ok() {
                return Ok(());
            }
        }
        self.discard_buffers();
        self.close()
    }
}

impl AsyncChat for HttpRequestHandler {
    const AC_IN_BUFFER_SIZE: usize = 16 * 1024;
    const AC_OUT_BUFFER_SIZE: usize = PIECE_SIZE;

    fn collect_incoming_data(&self, data: &[u8]) -> Result {
        if self.reading.get() == Reading::Nothing {
            return Ok(());
        }
        self._collect_incoming_data(data);
        let collected = self.base.incoming_len();
        if self.reading.get() == Reading::Headers && collected > MAX_HEADERS_SIZE {
            return self.handle_request(Err(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE));
        }
        Ok(())
    }

    fn found_terminator(&self) -> Result {
        match self.reading.get() {
            Reading::Headers => self.parse_headers(),
            Reading::Body => {
                let request = self.request.take();
                self.handle_request(Ok(request.map(|_| self._get_data().into())))
            }
            Reading::Nothing => Ok(()),
        }
    }
}

impl HttpRequestHandler {
    fn parse_headers(&self) -> Result {
        let mut headers = self._get_data();
        if headers.is_empty() {
            return Ok(()); // Some clients end a request with a line too many.
        }
        headers.extend(END_OF_HEADERS);
        let (request, length) = match parse_request(&headers) {
            Ok((request, length)) if length > 0 => (request, length),
            // As a terminator, 0 would be none.
            parsed => return self.handle_request(parsed.map(|(request, _)| request)),
        };
        let expected = request.headers().get(header::EXPECT).cloned();
        self.request.set(request);
        self.reading.set(Reading::Body);
        self.set_terminator(length)?;
        if expected.is_some_and(|it| it == "100-continue") {
            self.push("HTTP/1.1 100 Continue\r\n\r\n")?;
        }
        Ok(())
    }

    /// Queues the response to a request, or to what is none. Where the next one would begin after that
    /// cannot be told.
    fn handle_request(&self, request: Result<Request, StatusCode>) -> Result {
        let keep_alive = request.as_ref().is_ok_and(keeps_alive);
        if keep_alive {
            self.reading.set(Reading::Headers);
            self.set_terminator(END_OF_HEADERS)?;
        } else {
            self.reading.set(Reading::Nothing);
            self.set_terminator(None)?;
        }
        self.push_with_producer(ResponseProducer {
            client: self.addr(),
            directory: Rc::clone(&self.directory),
            request,
            keep_alive,
            body: RefCell::new(None),
        })?;
        if !keep_alive {
            self.close_when_done()?;
        }
        Ok(())
    }
}

// ---- requests

/// Parses all up to the body, and tells its length.
fn parse_request(head: &[u8]) -> Result<(Request, u64), StatusCode> {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut parsed = httparse::Request::new(&mut headers);
    match parsed.parse(head) {
        // Shorter is one that ends with bare line feeds, with something else after them.
        Ok(httparse::Status::Complete(length)) if length == head.len() => {}
        Err(httparse::Error::TooManyHeaders) => {
            return Err(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE);
        }
        Err(httparse::Error::Version) if names_http(head) => {
            return Err(StatusCode::HTTP_VERSION_NOT_SUPPORTED);
        }
        _ => return Err(StatusCode::BAD_REQUEST),
    }
    let (method, path) = (parsed.method.unwrap_or(""), parsed.path.unwrap_or(""));
    let mut request = http::Request::builder().method(method).uri(path);
    if parsed.version == Some(0) {
        request = request.version(Version::HTTP_10);
    }
    for header in parsed.headers {
        request = request.header(header.name, header.value);
    }
    let request = request.body(Bytes::new());
    let request = request.map_err(|_| StatusCode::BAD_REQUEST)?;

    let headers = request.headers();
    let hosts = headers.get_all(header::HOST).iter().count();
    if hosts > 1 || hosts == 0 && request.version() == Version::HTTP_11 {
        return Err(StatusCode::BAD_REQUEST);
    }
    if headers.contains_key(header::TRANSFER_ENCODING) {
        return Err(StatusCode::NOT_IMPLEMENTED);
    }
    match content_length(headers)? {
        Some(length) if length > MAX_BODY_SIZE => Err(StatusCode::PAYLOAD_TOO_LARGE),
        None if request.method() == Method::POST => Err(StatusCode::LENGTH_REQUIRED),
        length => Ok((request, length.unwrap_or(0))),
    }
}

/// Whether the third word says that this is HTTP, of whatever version.
fn names_http(head: &[u8]) -> bool {
    let mut words = head.split(|&byte| byte == b' ');
    words.nth(2).is_some_and(|word| word.starts_with(b"HTTP/"))
}

fn content_length(headers: &HeaderMap) -> Result<Option<u64>, StatusCode> {
    let mut values = headers.get_all(header::CONTENT_LENGTH).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    let digits = value.to_str().unwrap_or("");
    let is_number = !digits.is_empty() && digits.bytes().all(|digit| digit.is_ascii_digit());
    if !is_number || values.any(|other| other != value) {
        return Err(StatusCode::BAD_REQUEST);
    }
    Ok(Some(digits.parse().unwrap_or(u64::MAX)))
}

fn keeps_alive(request: &Request) -> bool {
    let values = request.headers().get_all(header::CONNECTION);
    let says = |option: &str| {
        let values = values.iter().filter_map(|value| value.to_str().ok());
        let mut options = values.flat_map(|value| value.split(','));
        options.any(|said| said.trim().eq_ignore_ascii_case(option))
    };
    !says("close") && (request.version() == Version::HTTP_11 || says("keep-alive"))
}

// ---- responses

/// `class response_producer`: finds the response when its turn in the queue has come, so that of many
/// requests in a row only one has a file open.
struct ResponseProducer {
    client: Option<Address>,
    directory: Rc<Path>,
    request: Result<Request, StatusCode>,
    keep_alive: bool,
    /// What is left of it, once the head has been sent.
    body: RefCell<Option<Take<Box<dyn Read>>>>,
}

impl Producer for ResponseProducer {
    fn more(&self) -> Result<Data> {
        if let Some(body) = &mut *self.body.borrow_mut() {
            let mut piece = vec![0; body.limit().min(PIECE_SIZE as u64) as usize];
            // Fails where a file has become shorter. Its length has been told, so the end of the
            // connection is all that can tell the client.
            body.read_exact(&mut piece)?;
            return Ok(piece.into());
        }
        let (mut response, is_head) = match &self.request {
            Ok(request) => (
                respond(&self.directory, request).unwrap_or_else(Response::error),
                request.method() == Method::HEAD,
            ),
            Err(status) => (Response::error(*status), false),
        };
        self.log_request(response.status);
        let head = response.head(self.keep_alive);
        if is_head {
            response.body.set_limit(0);
        }
        *self.body.borrow_mut() = Some(response.body);
        Ok(head.into())
    }
}

impl ResponseProducer {
    fn log_request(&self, status: StatusCode) {
        let client = self.client.as_ref().map(Address::to_string);
        let line = self.request.as_ref().map(|request| {
            let (method, uri, version) = (request.method(), request.uri(), request.version());
            format!("{method} {uri} {version:?}")
        });
        let (client, line) = (client.unwrap_or_default(), line.unwrap_or("-".into()));
        log::info!("{client} \"{line}\" {}", status.as_u16());
    }
}

struct Response {
    status: StatusCode,
    headers: Vec<u8>,
    body: Take<Box<dyn Read>>,
}

impl Response {
    fn new(
        status: StatusCode,
        content_type: impl AsRef<[u8]>,
        body: impl Read + 'static,
        length: u64,
    ) -> Response {
        let body: Box<dyn Read> = Box::new(body);
        let (headers, body) = (Vec::new(), body.take(length));
        let response = Response {
            status,
            headers,
            body,
        };
        response.header(header::CONTENT_TYPE, content_type)
    }

    fn page(
        status: StatusCode,
        content_type: impl AsRef<[u8]>,
        page: impl Into<Bytes>,
    ) -> Response {
        let page = page.into();
        let length = page.len() as u64;
        Response::new(status, content_type, io::Cursor::new(page), length)
    }

    fn error(status: StatusCode) -> Response {
        Response::page(status, "text/plain", format!("{status}\n"))
    }

    fn header(mut self, name: HeaderName, value: impl AsRef<[u8]>) -> Response {
        let line = [name.as_str().as_bytes(), b": ", value.as_ref(), b"\r\n"];
        self.headers.extend(line.concat());
        self
    }

    fn head(&self, keep_alive: bool) -> Vec<u8> {
        let status = self.status;
        let version = env!("CARGO_PKG_VERSION");
        let date = httpdate::fmt_http_date(SystemTime::now());
        let connection = if keep_alive { "keep-alive" } else { "close" };
        let length = self.body.limit();
        let head = format!(
            "HTTP/1.1 {status}\r\nserver: asynchat/{version}\r\ndate: {date}\r\n\
             connection: {connection}\r\ncontent-length: {length}\r\n"
        );
        [head.as_bytes(), &self.headers, b"\r\n"].concat()
    }
}

fn respond(directory: &Path, request: &Request) -> Result<Response, StatusCode> {
    match request.method().as_str() {
        "GET" | "HEAD" => do_get(directory, request),
        "POST" => Ok(do_post(request)),
        "PUT" | "DELETE" | "PATCH" | "OPTIONS" | "TRACE" | "CONNECT" => {
            let response = Response::error(StatusCode::METHOD_NOT_ALLOWED);
            Ok(response.header(header::ALLOW, "GET, HEAD, POST"))
        }
        _ => Err(StatusCode::NOT_IMPLEMENTED),
    }
}

fn do_post(request: &Request) -> Response {
    let content_type = request.headers().get(header::CONTENT_TYPE);
    let content_type = content_type.map_or(&b"application/octet-stream"[..], |it| it.as_bytes());
    Response::page(StatusCode::OK, content_type, request.body().clone())
}

fn do_get(directory: &Path, request: &Request) -> Result<Response, StatusCode> {
    let url_path = request.uri().path();
    let path = translate_path(directory, url_path).ok_or(StatusCode::NOT_FOUND)?;
    if !path.is_dir() {
        return send_file(&path, request);
    }
    if !url_path.ends_with('/') {
        return Ok(redirect_to_directory(request));
    }
    match translate_path(directory, &format!("{url_path}index.html")) {
        Some(index) if index.is_file() => send_file(&index, request),
        _ => list_directory(&path, url_path),
    }
}

/// The file or directory that the path of a URL leads to, unless it leads out of `directory`.
fn translate_path(directory: &Path, url_path: &str) -> Option<PathBuf> {
    let url_path = url_path.strip_prefix('/')?;
    let decoded = percent_decode_str(url_path).decode_utf8().ok()?;
    let relative = Path::new(decoded.trim_start_matches('/'));
    let mut components = relative.components();
    if !components.all(|it| matches!(it, Component::Normal(_) | Component::CurDir)) {
        return None;
    }
    // Canonical, to see where symbolic links lead.
    let path = directory.join(relative).canonicalize().ok()?;
    path.starts_with(directory).then_some(path)
}

fn send_file(path: &Path, request: &Request) -> Result<Response, StatusCode> {
    // Asked before it is opened: opening a named pipe would wait for someone to write to it.
    if !path.is_file() {
        return Err(StatusCode::NOT_FOUND);
    }
    let mut file = File::open(path).map_err(status_of)?;
    let length = file.metadata().map_err(status_of)?.len();
    let content_type = mime_guess::from_path(path).first_or_octet_stream();
    let respond = |status, file, length| {
        let response = Response::new(status, content_type.as_ref(), file, length);
        response.header(header::ACCEPT_RANGES, "bytes")
    };
    let headers = request.headers();
    let ranges = match headers.get(header::RANGE).map(|range| range.to_str()) {
        Some(Ok(range))
            if request.method() == Method::GET && !headers.contains_key(header::IF_RANGE) =>
        {
            parse_range_header(range).and_then(|ranges| ranges.validate(length))
        }
        _ => Ok(Vec::new()),
    };
    match ranges.as_deref() {
        Ok([range]) => {
            let (start, end) = (*range.start(), *range.end());
            file.seek(SeekFrom::Start(start)).map_err(status_of)?;
            let response = respond(StatusCode::PARTIAL_CONTENT, file, end + 1 - start);
            let content_range = format!("bytes {start}-{end}/{length}");
            Ok(response.header(header::CONTENT_RANGE, content_range))
        }
        Err(RangeUnsatisfiableError::Unsatisfiable) => {
            let response = Response::error(StatusCode::RANGE_NOT_SATISFIABLE);
            Ok(response.header(header::CONTENT_RANGE, format!("bytes */{length}")))
        }
        // All of it may be sent whatever the range, and is for several ones and for what is none.
        _ => Ok(respond(StatusCode::OK, file, length)),
    }
}

fn status_of(error: io::Error) -> StatusCode {
    match error.kind() {
        io::ErrorKind::NotFound => StatusCode::NOT_FOUND,
        io::ErrorKind::PermissionDenied => StatusCode::FORBIDDEN,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// What stands for something else in the path of a URL.
const PATH: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'/')
    .remove(b'-')
    .remove(b'.')
    .remove(b'_');

/// Relative links on the page of a directory need the slash at the end of its URL.
fn redirect_to_directory(request: &Request) -> Response {
    let path = percent_decode_str(request.uri().path()).decode_utf8_lossy();
    // With two slashes at its beginning, it would lead to another host.
    let path = utf8_percent_encode(path.trim_start_matches('/'), PATH);
    let query = request.uri().query();
    let query = query.map(|query| format!("?{query}")).unwrap_or_default();
    Response::error(StatusCode::MOVED_PERMANENTLY)
        .header(header::LOCATION, format!("/{path}/{query}"))
}

fn list_directory(path: &Path, url_path: &str) -> Result<Response, StatusCode> {
    let mut names = Vec::new();
    for entry in fs::read_dir(path).map_err(status_of)? {
        let entry = entry.map_err(status_of)?;
        // A name that is no UTF-8 could not be asked for.
        if let Ok(name) = entry.file_name().into_string() {
            let slash = if entry.path().is_dir() { "/" } else { "" };
            names.push(name + slash);
        }
    }
    names.sort();
    let items = names.iter().map(|name| {
        let (link, name) = (utf8_percent_encode(name, PATH), escape_html(name));
        format!("<li><a href=\"./{link}\">{name}</a></li>\n")
    });
    let items: String = items.collect();
    let title = escape_html(&percent_decode_str(url_path).decode_utf8_lossy());
    let page = format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n\
         <head><meta charset=\"utf-8\"><title>{title}</title></head>\n\
         <body>\n<h1>{title}</h1>\n<ul>\n{items}</ul>\n</body>\n</html>\n"
    );
    Ok(Response::page(
        StatusCode::OK,
        "text/html; charset=utf-8",
        page,
    ))
}

fn escape_html(text: &str) -> String {
    let text = text.replace('&', "&amp;").replace('<', "&lt;");
    text.replace('>', "&gt;")
}

// ---- the server

struct HttpServer {
    base: DispatcherBase,
    directory: Rc<Path>,
}

impl HttpServer {
    fn new(host: &str, port: u16, root: &Path) -> Result<Rc<HttpServer>> {
        let directory = root.canonicalize();
        let directory = directory
            .map_err(|error| Error::msg(format!("{}: {error}", root.display())))?
            .into();
        let server = HttpServer::init(|base| HttpServer { base, directory });
        server.create_socket(Domain::IPV4, Type::STREAM)?;
        server.set_reuse_addr()?;
        server.bind((host, port))?;
        server.listen(1024)?;
        Ok(server)
    }
}

impl Dispatcher for HttpServer {
    type Base = DispatcherBase;
    fn base(&self) -> &DispatcherBase {
        &self.base
    }

    fn handle_accepted(&self, socket: Socket, _addr: Address) -> Result {
        // Nagle's algorithm would hold back a short body, which follows its head.
        socket.socket2()?.set_tcp_nodelay(true)?;
        // An urgent byte that nobody reads would be reported in every pass.
        socket.socket2()?.set_out_of_band_inline(true)?;
        HttpRequestHandler::open(socket, &self.directory)
    }

    // The default closes the listener, and accept(2) fails for the troubles of one connection, too.
    fn handle_error(&self, error: Error) -> Result {
        self.log_info(&error.to_string(), "error");
        Ok(())
    }
}

/// Serves the files of a directory over HTTP.
#[derive(Parser)]
struct Args {
    #[command(flatten)]
    listen: Listen<8080>,

    /// The directory to serve
    #[arg(long, default_value = ".")]
    root: PathBuf,
}

fn main() -> ExitCode {
    program(|args: &Args| {
        let server = HttpServer::new(&args.listen.host, args.listen.port, &args.root)?;
        args.listen.serve(&*server)
    })
}
