//! The store on real servers. They need `redis-server`: `apt-get install -y redis-server`.

mod asker;
mod cluster;
mod copies;
mod damaged;
mod ended;
mod erase;
mod failures;
mod fixture;
mod full;
mod gateway;
mod held;
mod home;
mod hung_up;
mod late;
mod measure;
mod proxy;
mod refused;
mod reserved;
mod retained;
mod retained_bytes;
mod secret;
mod sentinel;
mod sessions;
mod stolen;
mod tls;
mod writes;
