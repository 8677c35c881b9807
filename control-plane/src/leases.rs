//! Which gateways have a lease, and what all of them have applied. Pure.
