//! Connections to other nodes, each for nodes of some role: whoever else answers is not spoken to.

use gatemq_node::credentials::{Dialer, Role, Whom};
use gatemq_router::peer::{Dial, Dialing};
use tonic::transport::{Channel, Endpoint};

/// Connects to nodes of some role.
#[derive(Clone, Debug)]
pub(super) struct To {
    dialer: Dialer,
    whom: Whom,
}

impl To {
    /// To gateways and bridges.
    pub(super) fn peers(dialer: Dialer) -> Self {
        let whom = Whom::any_of(&[Role::Gateway, Role::Bridge]);
        Self { dialer, whom }
    }

    /// To nodes of the control plane.
    pub(super) fn control(dialer: Dialer) -> Self {
        let whom = Whom::any(Role::Control);
        Self { dialer, whom }
    }
}

impl Dial for To {
    fn connect<'a>(&'a self, endpoint: &'a Endpoint) -> Dialing<'a> {
        Box::pin(self.dialer.connect(endpoint, &self.whom))
    }

    fn connect_lazy(&self, endpoint: &Endpoint) -> Channel {
        self.dialer.connect_lazy(endpoint, &self.whom)
    }
}
