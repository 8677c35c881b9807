//! Connections to other nodes, each for nodes of some role: whoever else answers is not spoken to.

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

/// Connects to nodes of the control plane.
#[derive(Clone, Debug)]
pub(super) struct ToControl(pub(super) Dialer);

impl Dial for ToControl {
    fn connect<'a>(&'a self, endpoint: &'a Endpoint) -> Dialing<'a> {
        Box::pin(async { self.0.connect(endpoint, &Whom::any(Role::Control)).await })
    }

    fn connect_lazy(&self, endpoint: &Endpoint) -> Channel {
        self.0.connect_lazy(endpoint, &Whom::any(Role::Control))
    }
}

fn peer() -> Whom {
    Whom::any_of(&[Role::Gateway, Role::Bridge])
}
