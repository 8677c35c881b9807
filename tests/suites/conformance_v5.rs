//! Every statement of MQTT 5.0 that concerns a server, by chapter. A test has the name of the
//! statement that it proves; where it proves more, a tag stands at the line that does.

mod scene;

mod acknowledge;
mod auth;
mod connack;
mod connect;
mod connect_properties;
mod connect_session;
mod connect_will;
mod data;
mod delivery;
mod disconnect;
mod errors;
mod expiry;
mod flow;
mod limits;
mod order;
mod publish;
mod publish_alias;
mod publish_properties;
mod qos;
mod retain;
mod session;
mod shared;
mod subscribe;
mod topics;
mod unsubscribe;
mod websocket;
