//! A web server with TLS.

use std::sync::Arc;

use gatemq_tests::web::{Act, Web};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use crate::listeners::authority::Identity;

/// Does with each request what the test says.
pub(super) fn start_tls(
    identity: &Identity,
    act: impl Fn(&str) -> Act + Send + Sync + 'static,
) -> Web {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("ring has them")
        .with_no_client_auth()
        .with_single_cert(vec![identity.certificate()], identity.key())
        .expect("they fit");
    let config = Arc::new(config);
    let wrap = move |stream| {
        let connection = ServerConnection::new(Arc::clone(&config)).ok()?;
        Some(Box::new(StreamOwned::new(connection, stream)) as _)
    };
    Web::start_over("https", wrap, act)
}
