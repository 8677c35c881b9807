//! How a connection to a server begins: over TCP, and over TLS where that is asked for. The client
//! library sees the stream only, so that whom to believe is decided as everywhere ([`crate::tls`]).

use std::io;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use arc_swap::ArcSwap;
use redis::aio::MultiplexedConnection;
use redis::{
    AsyncConnectionConfig, Client, ConnectionAddr, IntoConnectionInfo, RedisConnectionInfo,
    RedisError,
};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::AbortHandle;
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::config::{Address, Config};
use super::reply::Trouble;
use crate::config::ClientTls;

/// Requests that may wait for the socket of one connection, before those that make more wait.
const WAITING: usize = 256;

/// An answer to `PING`, or why there is none.
const LONGEST_LINE: usize = 512;

/// A connection that many use.
#[derive(Clone)]
pub(super) struct Connection {
    inner: MultiplexedConnection,
    /// Writes and reads; the client library has its own where it made the stream.
    _driver: Option<Arc<Driver>>,
}

/// A task that ends with the last who uses its connection, whatever it waits for.
struct Driver(AbortHandle);

/// Whom to believe, and who this is; files that can be read again.
#[derive(Debug)]
pub(crate) struct Tls {
    files: ClientTls,
    current: ArcSwap<ClientConfig>,
}

/// A connection does not come about.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoConnection {
    #[error(transparent)]
    Redis(#[from] RedisError),
    /// There is one, but no TLS.
    #[error("TLS: {0}")]
    Tls(io::Error),
}

// === impl Connection ===

impl Connection {
    /// Opens one; all that is asked through it has the timeout.
    pub(super) async fn open(
        address: &Address,
        login: RedisConnectionInfo,
        config: &Config,
    ) -> Result<Self, NoConnection> {
        let login = login.set_skip_set_lib_name();
        let settings = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(config.timeout))
            .set_response_timeout(Some(config.timeout))
            .set_pipeline_buffer_size(WAITING);
        let Some(tls) = &config.tls else {
            let info = ConnectionAddr::Tcp(address.host.to_string(), address.port)
                .into_connection_info()?
                .set_redis_settings(login);
            let client = Client::open(info)?;
            let opening = client.get_multiplexed_async_connection_with_config(&settings);
            return Ok(Self {
                inner: opening.await?,
                _driver: None,
            });
        };
        let deadline = Instant::now() + config.timeout;
        let late = || {
            io::Error::new(
                io::ErrorKind::TimedOut,
                format!("{:?} are over", config.timeout),
            )
        };
        let reaching = TcpStream::connect((&*address.host, address.port));
        let stream = timeout_at(deadline, reaching).await;
        let stream = stream.unwrap_or_else(|_| Err(late()));
        let stream = stream.map_err(RedisError::from)?;
        // A server without TLS may wait for the rest of what it takes for a command.
        let stream = timeout_at(deadline, tls.over(stream, address)).await;
        let stream = stream.unwrap_or_else(|_| Err(late()));
        let stream = stream.map_err(NoConnection::Tls)?;
        let opening = MultiplexedConnection::new_with_config(&login, stream, settings);
        let opened = timeout_at(deadline, opening).await;
        let (inner, driver) = opened.unwrap_or_else(|_| Err(late().into()))?;
        let driver = tokio::spawn(driver).abort_handle();
        Ok(Self {
            inner,
            _driver: Some(Arc::new(Driver(driver))),
        })
    }
}

impl Deref for Connection {
    type Target = MultiplexedConnection;

    fn deref(&self) -> &MultiplexedConnection {
        &self.inner
    }
}

impl DerefMut for Connection {
    fn deref_mut(&mut self) -> &mut MultiplexedConnection {
        &mut self.inner
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

// === impl Tls ===

impl Tls {
    /// Reads the files.
    pub(crate) fn read(files: ClientTls) -> Result<Self, String> {
        let current = ArcSwap::from_pointee(files.read()?);
        Ok(Self { files, current })
    }

    /// Reads the files again, for connections from now on; if they are bad, it goes on with what it
    /// had.
    pub(crate) fn reload(&self) -> Result<(), String> {
        self.current.store(Arc::new(self.files.read()?));
        Ok(())
    }

    /// Begins TLS, until an answer has come through it. A server has to have the name in its
    /// certificate, or the address, by which it is called.
    async fn over(&self, stream: TcpStream, address: &Address) -> io::Result<TlsStream<TcpStream>> {
        let name = ServerName::try_from(address.host.to_string()).map_err(io::Error::other)?;
        stream.set_nodelay(true)?;
        let connector = TlsConnector::from(self.current.load_full());
        let mut stream = connector.connect(name, stream).await?;
        // A server may refuse this end's certificate when the handshake is over here, and what it says
        // then would be lost: of a stream that ends the client library says no more than that.
        stream.write_all(b"PING\r\n").await?;
        let mut n_read = 0;
        while stream.read_u8().await? != b'\n' {
            n_read += 1;
            if n_read == LONGEST_LINE {
                return Err(io::Error::other("it does not speak like redis"));
            }
        }
        Ok(stream)
    }
}

// === impl NoConnection ===

impl NoConnection {
    /// What it means for whoever would have asked.
    pub(super) fn trouble(&self) -> Trouble {
        match self {
            Self::Redis(error) => Trouble::of_error(error),
            Self::Tls(_) => Trouble::Lost(self.to_string()),
        }
    }
}
