//! Connections to gateways and bridges, for the road between them: whoever else answers is not spoken to.

use gatemq_node::credentials::{Dialer, Role, Whom};
use gatemq_router::peer::{Dial, Dialing};
use tonic::transport::{Channel, Endpoint};

/// Connects to gateways and bridges.
#[derive(Clone, Debug)]
pub(super) struct ToPeers(pub(super) Dialer);

impl Dial for ToPeers {
    fn connect<'a>(&'a self, endpoint: &'a Endpoint) -> Dialing<'a> {
        Box::pin(async { self.0.connect(endpoint, &peer()).await })
    }

    fn connect_lazy(&self, endpoint: &Endpoint) -> Channel {
        self.0.connect_lazy(endpoint, &peer())
    }
}

fn peer() -> Whom {
    Whom::any_of(&[Role::Gateway, Role::Bridge])
}
