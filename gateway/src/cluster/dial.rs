//! Connections to other gateways, for the road between them: whoever else answers is not spoken to.

use gatemq_node::credentials::{Dialer, Role, Whom};
use gatemq_router::peer::{Dial, Dialing};
use tonic::transport::{Channel, Endpoint};

/// Connects to gateways.
#[derive(Clone, Debug)]
pub(super) struct ToGateways(pub(super) Dialer);

impl Dial for ToGateways {
    fn connect<'a>(&'a self, endpoint: &'a Endpoint) -> Dialing<'a> {
        Box::pin(async { self.0.connect(endpoint, &gateway()).await })
    }

    fn connect_lazy(&self, endpoint: &Endpoint) -> Channel {
        self.0.connect_lazy(endpoint, &gateway())
    }
}

fn gateway() -> Whom {
    Whom::any(Role::Gateway)
}
