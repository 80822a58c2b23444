//! Class `PureProxy`: hands every message on to the next server.

use std::rc::{Rc, Weak};

use asynchat::Data;
use asyncore::{Address, BaseClass, Dispatcher, Error, Result};

use super::server::{Options, Settings, SmtpServer, SmtpServerBase, SmtpServerClass};
use super::smtp_client::{Refused, Reply, SmtpClient, SmtpError};

/// Class `smtpd.PureProxy` itself, to derive from: hands messages on to `remoteaddr`.
///
/// As in Python, all other connections wait meanwhile, and the client is told `250 OK` whatever the next
/// server says; what was refused is logged, with the target `smtpd`. For another answer derive from it,
/// and call [`_deliver`](PureProxyBase::_deliver) in a
/// [`process_message`](SmtpServer::process_message) of your own.
#[doc(alias = "smtpd.PureProxy")]
#[derive(Debug)]
pub struct PureProxyBase {
    smtp_server: SmtpServerBase,
}

impl PureProxyBase {
    /// Hands a message on, and returns the recipients that were refused, each with what the next server
    /// said, or the code -1 if it said nothing.
    ///
    /// # Errors
    ///
    /// [`SmtpError::Unsendable`], and when the server was given no `remoteaddr`.
    pub fn _deliver(&self, mailfrom: &str, rcpttos: &[String], data: &[u8]) -> Result<Refused> {
        let remoteaddr = self.smtp_server.remoteaddr();
        let (host, port) = remoteaddr.ok_or_else(|| Error::msg("the server has no remoteaddr"))?;
        let delivered = SmtpClient::connect((&host, port)).and_then(|mut client| {
            let refused = client.sendmail(mailfrom, rcpttos, data);
            // The message has been handed on, or has not, whatever comes of this.
            let _ = client.quit();
            refused
        });
        let reply = match delivered {
            Ok(refused) | Err(SmtpError::RecipientsRefused(refused)) => return Ok(refused),
            Err(error @ SmtpError::Unsendable(_)) => return Err(error.into()),
            Err(SmtpError::Reply(reply)) => reply,
            Err(SmtpError::Io(error)) => Reply {
                code: -1,
                text: format!("{host}:{port}: {error}"),
            },
        };
        let refuse = |rcptto: &String| (rcptto.clone(), reply.clone());
        Ok(rcpttos.iter().map(refuse).collect())
    }
}

impl<T: SmtpServer> BaseClass<T> for PureProxyBase {
    type Super = SmtpServerBase;

    fn new(this: &Weak<T>) -> PureProxyBase {
        PureProxyBase {
            smtp_server: BaseClass::new(this),
        }
    }

    fn superclass(&self) -> &SmtpServerBase {
        &self.smtp_server
    }
}

impl<T: SmtpServer> SmtpServerClass<T> for PureProxyBase {
    type SmtpServerSuper = SmtpServerBase;

    fn smtp_server_super(&self) -> &SmtpServerBase {
        &self.smtp_server
    }

    fn process_message(
        &self,
        _this: &T,
        peer: &Address,
        mailfrom: &str,
        rcpttos: &[String],
        data: &Data,
        _options: Option<&Options>,
    ) -> Result<Option<String>> {
        let mut lines: Vec<&[u8]> = data.as_bytes().split(|byte| *byte == b'\n').collect();
        let end_of_headers = lines.iter().position(|line| line.is_empty());
        let peerheader = format!("X-Peer: {}", peer.host().unwrap_or_default());
        lines.insert(end_of_headers.unwrap_or(lines.len()), peerheader.as_bytes());
        let refused = self._deliver(mailfrom, rcpttos, &lines.join(&b'\n'))?;
        // What is to be done with them?
        for (rcptto, reply) in refused {
            log::warn!(target: "smtpd", "{rcptto} was refused: {reply}");
        }
        Ok(None)
    }
}

/// A [`PureProxyBase`] as it is.
#[derive(Debug)]
pub struct PureProxy {
    base: PureProxyBase,
}

impl PureProxy {
    /// `PureProxy(localaddr, remoteaddr, …)`
    ///
    /// # Errors
    ///
    /// When `enable_SMTPUTF8` is set, and those of [`init_smtp_server`](SmtpServer::init_smtp_server).
    pub fn new(
        localaddr: (&str, u16),
        remoteaddr: (&str, u16),
        settings: Settings,
    ) -> Result<Rc<PureProxy>> {
        if settings.enable_SMTPUTF8 {
            return Err(Error::msg("PureProxy does not support SMTPUTF8."));
        }
        let server = PureProxy::init(|base| PureProxy { base });
        server.init_smtp_server(localaddr, Some(remoteaddr), settings)?;
        Ok(server)
    }
}

impl Dispatcher for PureProxy {
    type Base = PureProxyBase;
    fn base(&self) -> &PureProxyBase {
        &self.base
    }
}

impl SmtpServer for PureProxy {}
