//! The gRPC service that gateways and other nodes of the control plane call.
