//! What `bind` and `connect` take and `accept` returns.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6, ToSocketAddrs};
#[cfg(unix)]
use std::path::{Path, PathBuf};

use socket2::{Domain, SockAddr};

/// The address of a socket, in the forms that Python takes.
///
/// Made from `("host", port)`, a `SocketAddr`, an IP address with a port, a path (Unix), or a
/// `socket2::SockAddr`; [`bind`](crate::Dispatcher::bind) and [`connect`](crate::Dispatcher::connect)
/// take any of these.
///
/// Displayed as a channel's [`repr`](crate::Dispatcher::repr) shows it: what Python's `'%s:%d' % addr`
/// prints, or where that fails, `repr(addr)`.
///
/// ```
/// use asyncore::Address;
///
/// assert_eq!(Address::from(("localhost", 8080)).to_string(), "localhost:8080");
/// let v6: std::net::SocketAddr = "[::1]:8080".parse()?;
/// assert_eq!(Address::from(v6).to_string(), "('::1', 8080, 0, 0)");
/// # Ok::<(), std::net::AddrParseError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Address {
    /// A host name or address in text, and a port. It is resolved when used, to the socket's own
    /// family. As in Python, `""` is any interface and `"<broadcast>"` the IPv4 broadcast address.
    Host(String, u16),
    /// An IPv4 or IPv6 address.
    Inet(SocketAddr),
    /// The path of a Unix socket. Empty for a socket without a name; one that begins with a NUL byte
    /// is in Linux's abstract namespace.
    #[cfg(unix)]
    Unix(PathBuf),
    /// An address of any other family.
    Other(Box<SockAddr>),
}

impl Address {
    /// The address as the system takes it; `domain` is the family a name resolves to.
    ///
    /// # Errors
    ///
    /// The resolver's own, or `AddrNotAvailable` where the host has no address of that family.
    /// `InvalidInput` for a path the system does not take.
    pub fn resolve(&self, domain: Domain) -> io::Result<SockAddr> {
        match self {
            Address::Host(host, port) => resolve_host(host, *port, domain).map(SockAddr::from),
            Address::Inet(addr) => Ok(SockAddr::from(*addr)),
            #[cfg(unix)]
            Address::Unix(path) => SockAddr::unix(path),
            Address::Other(addr) => Ok((**addr).clone()),
        }
    }

    /// The host, where the address has one, in text: Python's `addr[0]`.
    ///
    /// ```
    /// use asyncore::Address;
    ///
    /// let v6: std::net::SocketAddr = "[::1]:8080".parse()?;
    /// assert_eq!(Address::from(v6).host().as_deref(), Some("::1"));
    /// assert_eq!(Address::from(("localhost", 8080)).host().as_deref(), Some("localhost"));
    /// # Ok::<(), std::net::AddrParseError>(())
    /// ```
    pub fn host(&self) -> Option<String> {
        match self {
            Address::Host(host, _) => Some(host.clone()),
            Address::Inet(addr) => Some(addr.ip().to_string()),
            _ => None,
        }
    }

    /// The port, where the address has one: Python's `addr[1]`.
    pub fn port(&self) -> Option<u16> {
        match self {
            Address::Host(_, port) => Some(*port),
            Address::Inet(addr) => Some(addr.port()),
            _ => None,
        }
    }
}

fn resolve_host(host: &str, port: u16, domain: Domain) -> io::Result<SocketAddr> {
    let v6 = domain == Domain::IPV6;
    if !v6 && domain != Domain::IPV4 {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "a host and port are no address of this socket's family",
        ));
    }
    match host {
        "" if v6 => return Ok((Ipv6Addr::UNSPECIFIED, port).into()),
        "" => return Ok((Ipv4Addr::UNSPECIFIED, port).into()),
        "<broadcast>" if !v6 => return Ok((Ipv4Addr::BROADCAST, port).into()),
        _ => {}
    }
    (host, port)
        .to_socket_addrs()?
        .find(|addr| addr.is_ipv6() == v6)
        .ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::AddrNotAvailable,
                format!("no IPv{} address", if v6 { 6 } else { 4 }),
            )
        })
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Host(host, port) => write!(f, "{host}:{port}"),
            Address::Inet(SocketAddr::V4(addr)) => write!(f, "{addr}"),
            Address::Inet(SocketAddr::V6(addr)) => write!(
                f,
                "('{}', {}, {}, {})",
                addr.ip(),
                addr.port(),
                addr.flowinfo(),
                addr.scope_id()
            ),
            #[cfg(unix)]
            Address::Unix(path) => {
                use std::os::unix::ffi::OsStrExt;
                let bytes = path.as_os_str().as_bytes();
                match bytes.first() {
                    Some(0) => write!(f, "b'{}'", bytes.escape_ascii()),
                    _ => write!(f, "'{}'", path.display()),
                }
            }
            Address::Other(addr) => write!(f, "{addr:?}"),
        }
    }
}

impl From<&Address> for Address {
    fn from(addr: &Address) -> Address {
        addr.clone()
    }
}

impl From<(&str, u16)> for Address {
    fn from((host, port): (&str, u16)) -> Address {
        Address::Host(host.to_owned(), port)
    }
}

impl From<(&String, u16)> for Address {
    fn from((host, port): (&String, u16)) -> Address {
        Address::Host(host.clone(), port)
    }
}

impl From<(String, u16)> for Address {
    fn from((host, port): (String, u16)) -> Address {
        Address::Host(host, port)
    }
}

impl From<SocketAddr> for Address {
    fn from(addr: SocketAddr) -> Address {
        Address::Inet(addr)
    }
}

impl From<SocketAddrV4> for Address {
    fn from(addr: SocketAddrV4) -> Address {
        Address::Inet(addr.into())
    }
}

impl From<SocketAddrV6> for Address {
    fn from(addr: SocketAddrV6) -> Address {
        Address::Inet(addr.into())
    }
}

impl From<(IpAddr, u16)> for Address {
    fn from(pair: (IpAddr, u16)) -> Address {
        Address::Inet(pair.into())
    }
}

impl From<(Ipv4Addr, u16)> for Address {
    fn from(pair: (Ipv4Addr, u16)) -> Address {
        Address::Inet(pair.into())
    }
}

impl From<(Ipv6Addr, u16)> for Address {
    fn from(pair: (Ipv6Addr, u16)) -> Address {
        Address::Inet(pair.into())
    }
}

#[cfg(unix)]
impl From<&Path> for Address {
    fn from(path: &Path) -> Address {
        Address::Unix(path.to_owned())
    }
}

#[cfg(unix)]
impl From<PathBuf> for Address {
    fn from(path: PathBuf) -> Address {
        Address::Unix(path)
    }
}

impl From<SockAddr> for Address {
    fn from(addr: SockAddr) -> Address {
        if let Some(inet) = addr.as_socket() {
            return Address::Inet(inet);
        }
        #[cfg(unix)]
        if addr.is_unix() {
            return Address::Unix(unix_path(&addr));
        }
        Address::Other(Box::new(addr))
    }
}

#[cfg(unix)]
fn unix_path(addr: &SockAddr) -> PathBuf {
    use std::ffi::OsString;
    use std::os::unix::ffi::OsStringExt;

    if let Some(name) = addr.as_abstract_namespace() {
        let bytes = [b"\0", name].concat();
        return OsString::from_vec(bytes).into();
    }
    addr.as_pathname().map(Path::to_owned).unwrap_or_default()
}
